"""How long the engine's answers take while spans come in, taken in by itself or by a collector of its own.

    uv run python -m bench.collecting [--spans 60000] [--rounds 3]

One process sends spans as fast as they are taken (see `bench.ingest`), another asks the engine for /livez all the
time, a request every 5 ms: what a halt waits for. Memory is RSS of engine and collector after it.
"""

from __future__ import annotations

import multiprocessing
import socket
import time
from urllib.parse import urlsplit

import psutil

from bench.figures import median, options, percentile, where
from bench.home import fresh
from bench.ingest import requests, sent


def main() -> None:
    parser = options(__doc__, 3)
    parser.add_argument("--spans", type=int, default=60_000, help="per round")
    given = parser.parse_args()
    print(where(given.rounds))
    print(f"{'':32}{'p50 ms':>9}{'p99 ms':>9}{'max ms':>9}{'spans/s':>10}{'MB':>8}")
    for name, environment in (("engine", {}), ("collector of its own", {"TEAMWRIGHT_COLLECTOR": "process"})):
        with fresh(environment) as home:
            print(f"{name + ', nothing comes in':32}{_row(_ask(home.engine_url, 2.0))}")
            waits: list[float] = []
            rates = []
            for _ in range(given.rounds):
                bodies = requests(given.spans, ended=False)
                found: multiprocessing.Queue[list[float]] = multiprocessing.Queue()
                over = multiprocessing.Event()
                asking = multiprocessing.Process(target=_until, args=(home.engine_url, over, found))
                asking.start()
                rates.append(sent(home, bodies, given.spans)[0])
                over.set()
                waits += found.get()
                asking.join()
            pids = {home.collector[0], home.engine}
            memory = sum(psutil.Process(pid).memory_info().rss for pid in pids) / 1e6
            print(f"{name + ', spans come in':32}{_row(waits)}{median(rates):10,.0f}{memory:8.0f}")


def _row(waits: list[float]) -> str:
    return "".join(f"{percentile(waits, part) * 1e3:9.1f}" for part in (0.5, 0.99, 1))


def _until(url: str, over: object, found: multiprocessing.Queue[list[float]]) -> None:
    waits: list[float] = []
    while not over.is_set():  # type: ignore[attr-defined]
        waits += _ask(url, 0.1)
    found.put(waits)


def _ask(url: str, seconds: float) -> list[float]:
    """How long each answer took, one request after the other."""
    place = urlsplit(url)
    request = f"GET /livez HTTP/1.1\r\nhost: {place.netloc}\r\n\r\n".encode()
    waits = []
    with socket.create_connection((str(place.hostname), int(place.port or 0))) as connection:
        until = time.perf_counter() + seconds
        while time.perf_counter() < until:
            began = time.perf_counter()
            connection.sendall(request)
            answer = b""
            while not answer.endswith(b"\r\n\r\nok"):
                if not (part := connection.recv(4096)):
                    raise SystemExit(answer.decode())
                answer += part
            waits.append(time.perf_counter() - began)
            time.sleep(0.005)
    return waits


if __name__ == "__main__":
    main()

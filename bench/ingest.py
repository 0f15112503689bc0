"""How many spans a second the collector takes in over HTTP, each committed before it is acknowledged.

    uv run python -m bench.ingest [--spans 60000] [--rounds 3]

Spans of about 1 KB, as agents make and ship them, in requests of 256, over a few connections, from one process (which
only sends bytes that were made before) to the real one: the engine as it always is, or a collector of its own. Rates
are from the first byte sent to the last acknowledgement. `running`: their roots are not among them. `ended`: whole
traces of ten spans with their roots, so that the file of each is due two seconds later: written in the same process.
"""

from __future__ import annotations

import asyncio
import os
import sqlite3
import time
from collections.abc import Sequence
from contextlib import closing
from urllib.parse import urlsplit

import uvloop

from bench.copies import SPANS, Original
from bench.figures import cpu, median, options, where
from bench.home import Home, fresh
from teamwright.safety.tokens import Issuer

BATCH = 256
CONNECTIONS = 4


def main() -> None:
    parser = options(__doc__, 3)
    parser.add_argument("--spans", type=int, default=60_000, help="per round")
    given = parser.parse_args()
    print(where(given.rounds))
    print(f"{'':44}{'spans/s':>9}{'CPU us a span':>15}{'bytes a span':>14}")
    for name, environment in (
        ("engine", {}),
        ("collector of its own", {"TEAMWRIGHT_COLLECTOR": "process"}),
    ):
        with fresh(environment) as home:
            for ended in (False, True):
                rates, costs, size = [], [], 0.0
                for _ in range(given.rounds):
                    bodies = requests(given.spans, ended=ended)
                    rate, cost = sent(home, bodies, given.spans)
                    rates.append(rate)
                    costs.append(cost)
                    size = sum(map(len, bodies)) / given.spans
                print(
                    f"{name + (', ended traces' if ended else ', running traces'):44}{median(rates):9,.0f}"
                    f"{median(costs):15.1f}{size:14.0f}"
                )


def requests(count: int, *, ended: bool) -> list[bytes]:
    """That many spans as the bodies of requests."""
    original = Original(ended=ended)
    made = [payload for _ in range(count // SPANS) for payload in original.copy(os.urandom(16))]
    return [b"".join(made[at : at + BATCH]) for at in range(0, len(made), BATCH)]


def sent(home: Home, bodies: Sequence[bytes], count: int) -> tuple[float, float]:
    """Spans a second, and CPU microseconds a span of whoever takes them in."""
    token = Issuer.load(home.state).mint("bench", "engine", role="operator")
    pid, url = home.collector
    before, had = cpu([pid]), stored(home)
    seconds = uvloop.run(_send(f"{url}/v1/traces", bodies, token))
    spent = cpu([pid]) - before
    if (found := stored(home) - had) != count:
        raise SystemExit(f"{found} spans are in the store, not {count}")
    return count / seconds, spent / count * 1e6


def stored(home: Home) -> int:
    with closing(sqlite3.connect(f"file:{home.state.spans_db}?mode=ro", uri=True)) as db:
        return int(db.execute("select count(*) from span where job = 'team'").fetchone()[0])


async def _send(url: str, bodies: Sequence[bytes], token: str) -> float:
    place = urlsplit(url)
    waiting = list(reversed(bodies))

    async def line() -> None:
        reader, writer = await asyncio.open_connection(place.hostname, place.port)
        while waiting:
            body = waiting.pop()
            writer.write(
                f"POST {place.path} HTTP/1.1\r\nhost: {place.netloc}\r\nauthorization: Bearer {token}\r\n"
                f"content-type: application/x-protobuf\r\ncontent-length: {len(body)}\r\n\r\n".encode()
            )
            writer.write(body)
            head = await reader.readuntil(b"\r\n\r\n")
            if b" 200 " not in head[:16]:
                raise SystemExit(head.decode())
            at = head.lower().index(b"content-length:") + len(b"content-length:")
            await reader.readexactly(int(head[at : head.index(b"\r", at)]))
        writer.close()

    began = time.perf_counter()
    await asyncio.gather(*(line() for _ in range(CONNECTIONS)))
    return time.perf_counter() - began


if __name__ == "__main__":
    main()

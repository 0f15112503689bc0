"""A peer on a raw socket that misbehaves in every way: errors within deadlines, spans that say so, and life goes on."""

from __future__ import annotations

import json
import re
import socket
import struct
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from typing import TYPE_CHECKING, Any

import httpx
import pytest

from teamwright.agents.calling.breaker import INCIDENT
from teamwright.agents.spec import PeerSpec
from teamwright.backends.api import Limits
from teamwright.tracing.propagation import RUN_EXT
from tests.agents.conftest import wait_for

if TYPE_CHECKING:
    from .conftest import Span, Team

CODE = """
    from teamwright import Agent

    class Asker(Agent):
        async def run(self, turn):
            return (await turn.ask_peer("raw", turn.text)).text
"""
#: Seconds that a query to `brief` may take; those to `a` may take long.
DURATION = 2.5

HEAD = b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: %d\r\n\r\n"
WORDS = {"messageId": "m", "role": "ROLE_AGENT", "parts": [{"text": "pong"}]}
PONG = json.dumps({"jsonrpc": "2.0", "id": 1, "result": {"message": WORDS}}).encode()


class Raw:
    """A peer made of sockets; `mode` is how it treats whoever connects or sends."""

    def __init__(self) -> None:
        self.mode = "good"
        self.asked = 0
        self.connections: set[socket.socket] = set()
        self.listener = socket.create_server(("127.0.0.1", 0), backlog=64)
        self.port = self.listener.getsockname()[1]
        self.over = threading.Event()
        threading.Thread(target=self._accept, args=(self.listener,), daemon=True).start()

    @property
    def peer(self) -> PeerSpec:
        return PeerSpec(id="raw", job="team", agent="raw", url=f"http://127.0.0.1:{self.port}/")

    def refuse(self) -> None:
        """Close the port, as a process that ends does: connections too."""
        self.listener.shutdown(socket.SHUT_RDWR)
        self.listener.close()
        for connection in list(self.connections):
            with suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)

    def listen(self) -> None:
        """Open it again."""
        self.listener = socket.create_server(("127.0.0.1", self.port), backlog=64)
        threading.Thread(target=self._accept, args=(self.listener,), daemon=True).start()

    def close(self) -> None:
        self.over.set()
        with suppress(OSError):
            self.refuse()

    def _accept(self, listener: socket.socket) -> None:
        while True:
            try:
                connection, _ = listener.accept()
            except OSError:
                return
            threading.Thread(target=self._serve, args=(connection,), daemon=True).start()

    def _serve(self, connection: socket.socket) -> None:
        self.connections.add(connection)
        with connection, suppress(OSError):
            while data := connection.recv(1 << 16):
                if data.startswith(b"POST"):
                    self.asked += 1
                getattr(self, f"_{self.mode}")(connection)
        self.connections.discard(connection)

    def _good(self, connection: socket.socket) -> None:
        connection.sendall(HEAD % len(PONG) + PONG)

    def _reset(self, connection: socket.socket) -> None:
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        connection.close()

    def _reset_in_body(self, connection: socket.socket) -> None:
        connection.sendall(HEAD % len(PONG) + PONG[:20])
        time.sleep(0.05)
        self._reset(connection)

    def _closed_in_headers(self, connection: socket.socket) -> None:
        connection.sendall(b"HTTP/1.1 200 OK\r\ncontent-le")
        connection.close()

    def _hole(self, _: socket.socket) -> None:
        self.over.wait(100)

    def _slow(self, connection: socket.socket) -> None:
        connection.sendall(HEAD % len(PONG))
        for byte in PONG:
            connection.sendall(bytes([byte]))
            if self.over.wait(0.2):
                return

    def _noise(self, connection: socket.socket) -> None:
        connection.sendall(bytes(range(256)) * 4)

    def _not_a2a(self, connection: socket.socket) -> None:
        connection.sendall(HEAD % 2 + b"{}")

    def _not_json(self, connection: socket.socket) -> None:
        connection.sendall(HEAD % 4 + b"\xff\x00{[")

    def _server_error(self, connection: socket.socket) -> None:
        connection.sendall(b"HTTP/1.1 500 Oops\r\ncontent-length: 4\r\n\r\noops")


FAULTS = {
    "reset": "broken_connection",
    "reset_in_body": "broken_connection",
    "closed_in_headers": "broken_connection",
    "hole": "timeout",
    "slow": "timeout",
    "noise": "broken_connection",
    "not_a2a": "bad_answer",
    "not_json": "bad_answer",
    "server_error": "bad_answer",
    "refused": "unreachable",
}


@pytest.fixture
def raw() -> Iterator[Raw]:
    made = Raw()
    yield made
    made.close()


@pytest.fixture
def ask(team: Team, raw: Raw) -> Callable[..., tuple[str, str | None]]:
    """Asks an agent that has one slot and asks the raw peer; what it answers, and why not."""
    team.write("asker.py", CODE)
    asker: dict[str, Any] = {"module": "asker", "type": "Asker", "peers": (raw.peer,), "max_concurrent": 1}
    team.launch("brief", limits=Limits(duration=DURATION), **asker)
    team.start("a", **asker)
    httpx.get(f"{team.url('brief')}/readyz", timeout=180).raise_for_status()

    def one(text: str, agent: str = "a") -> tuple[str, str | None]:
        task: dict[str, Any] = team.ask(agent, text)["task"]
        if task["status"]["state"] == "TASK_STATE_COMPLETED":
            return task["artifacts"][0]["parts"][0]["text"], None
        return task["status"]["message"]["parts"][0]["text"], task["metadata"][RUN_EXT]["reason"]

    return one


def calls(team: Team, agent: str = "a") -> list[Span]:
    return [span for span in team.spans(agent) if span["name"] == "invoke_agent raw" and span["kind"] == 3]


@pytest.mark.parametrize("warm", [True, False], ids=["kept connection", "first call"])
def test_every_fault_is_an_error_in_time_and_the_next_call_works(
    team: Team, raw: Raw, ask: Callable[..., tuple[str, str | None]], warm: bool
) -> None:
    if warm:
        assert {ask("hello", agent) for agent in ("a", "brief")} == {("pong", None)}
    for fault, reason in FAULTS.items():
        agent = "brief" if reason == "timeout" else "a"  # all others are told long before their time is up
        if fault == "refused":
            raw.refuse()
        raw.mode = fault
        for _ in range(5):  # on a busy machine the whole query may be over before its call of the peer is
            before = len(calls(team, agent))
            text, why = ask(f"with {fault}", agent)
            if (why, reason) != ("duration", "timeout"):
                break
        assert why == reason, (fault, text)
        (span,) = calls(team, agent)[before:]
        assert (span["status"], span.attributes["error.type"]) == (2, reason), fault
        assert span["message"] == text
        assert text.startswith("raw ") or text.startswith("the connection to raw broke"), text
        if fault == "refused":
            raw.listen()
        raw.mode = "good"
        assert ask("hello", agent) == ("pong", None), fault


@pytest.mark.parametrize("fault", ["hole", "reset", "slow"])
def test_twenty_at_once_all_end_and_the_next_call_works(
    raw: Raw, ask: Callable[..., tuple[str, str | None]], fault: str
) -> None:
    assert ask("hello", "brief") == ("pong", None)
    raw.mode = fault
    began = time.monotonic()
    with ThreadPoolExecutor(20) as pool:
        ends = [why for _, why in pool.map(lambda number: ask(f"number {number}", "brief"), range(20))]
    assert time.monotonic() - began < 15 * DURATION  # one after the other would be twenty times DURATION
    # On a busy machine they fail one after the other, which is more than one incident.
    assert set(ends) <= {FAULTS[fault], "duration", "circuit_open"}, ends
    raw.mode = "good"
    wait_for(lambda: ask("hello", "brief") == ("pong", None))


def test_a_peer_that_keeps_failing_is_left_alone_for_a_while(
    team: Team, raw: Raw, ask: Callable[..., tuple[str, str | None]]
) -> None:
    raw.mode = "reset"
    for _ in range(5):
        assert ask("hello")[1] == "broken_connection"
        time.sleep(INCIDENT)
    for _ in range(10):  # on a busy machine the pause may be over; the call that then tries doubles it
        asked = raw.asked
        text, why = ask("hello")
        if why == "circuit_open":
            break
    assert why == "circuit_open"
    assert re.match(
        r"raw is not asked: it has failed \d+ times in a row, the last time because the connection to raw", text
    )
    assert raw.asked == asked
    span = calls(team)[-1]
    assert (span["status"], span["message"], span.attributes["error.type"]) == (2, text, "circuit_open")
    raw.mode = "good"
    wait_for(lambda: ask("hello") == ("pong", None))
    assert [ask("hello") for _ in range(3)] == [("pong", None)] * 3

"""An A2A server of raw sockets that misbehaves on request: the path says which agent it is, the message what it does.

`/reset/rpc` with the text `go on` answers; with any other text it does what its first path part says.
"""

from __future__ import annotations

import json
import socket
import struct
import threading
from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from typing import Any

JSON = b"content-type: application/json\r\n"
SSE = b"content-type: text/event-stream\r\n"
#: Seconds that a black hole stays one, and between two bytes of a slow body.
HOLE, SLOW = 600.0, 0.2


class Rude:
    """The server. `close()` it at the end; `away` = what it answers to those who want a card: nothing;
    `let_go` ends what hangs in its black hole."""

    def __init__(self) -> None:
        self.away = False
        self.card: dict[str, Any] = {}
        self.asked: Counter[str] = Counter()
        self._connections: set[socket.socket] = set()
        self._over = threading.Event()
        self.let_go = threading.Event()
        self._listener = socket.create_server(("127.0.0.1", 0), backlog=64)
        self.url = f"http://127.0.0.1:{self._listener.getsockname()[1]}"
        threading.Thread(target=self._accept, daemon=True).start()

    def close(self) -> None:
        """End all connections, and refuse new ones."""
        self._over.set()
        self.let_go.set()
        for connection in list(self._connections):
            with suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)
        with suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()

    def _accept(self) -> None:
        while True:
            try:
                connection, _ = self._listener.accept()
            except OSError:
                return
            self._connections.add(connection)
            threading.Thread(target=self._serve, args=(connection,), daemon=True).start()

    def _serve(self, connection: socket.socket) -> None:
        with connection, suppress(OSError), connection.makefile("rb") as lines:
            while line := lines.readline():
                verb, path, _ = line.decode().split()
                headers = {}
                while (header := lines.readline()) not in (b"\r\n", b""):
                    name, _, value = header.decode().partition(":")
                    headers[name.lower()] = value.strip()
                body = lines.read(int(headers.get("content-length", 0)))
                fault = path.split("/")[1]
                if verb == "GET":
                    self._show(connection, fault)
                else:
                    self._answer(connection, fault, json.loads(body))

    def _show(self, connection: socket.socket, fault: str) -> None:
        if self.away:
            _reset(connection)
            return
        face = {"url": f"{self.url}/{fault}/rpc", "protocolBinding": "JSONRPC", "protocolVersion": "1.0"}
        card = {"name": fault, "description": "Rude", "version": "1", "skills": [], "capabilities": {}}
        self._say(connection, {**card, "supportedInterfaces": [face], **self.card})

    def _answer(self, connection: socket.socket, fault: str, call: dict[str, Any]) -> None:
        self.asked[fault] += 1
        text = call["params"]["message"]["parts"][0]["text"]
        if text == "go on" or fault == "good":
            answer: dict[str, Any] = {"messageId": "1", "role": "ROLE_AGENT", "parts": [{"text": f"{fault} goes on"}]}
            self._say(connection, {"jsonrpc": "2.0", "id": call["id"], "result": {"message": answer}})
        else:
            FAULTS[fault][0](self, connection, call)

    @staticmethod
    def _say(connection: socket.socket, value: Any, status: bytes = b"200 OK", headers: bytes = b"") -> None:
        body = json.dumps(value).encode()
        connection.sendall(_head(JSON + headers, len(body), status) + body)

    # --- the faults ---------------------------------------------------------------------------------

    def reset(self, connection: socket.socket, call: dict[str, Any]) -> None:
        _reset(connection)

    def reset_in_headers(self, connection: socket.socket, call: dict[str, Any]) -> None:
        connection.sendall(b"HTTP/1.1 200 OK\r\ncontent-le")
        _reset(connection)

    def reset_in_body(self, connection: socket.socket, call: dict[str, Any]) -> None:
        connection.sendall(_head(JSON, 500) + b'{"jsonrpc": "2.0", "result": {"mess')
        threading.Event().wait(0.05)
        _reset(connection)

    def reset_in_stream(self, connection: socket.socket, call: dict[str, Any]) -> None:
        task = {"id": "t1", "contextId": "c1", "status": {"state": "TASK_STATE_WORKING"}}
        event = json.dumps({"jsonrpc": "2.0", "id": call["id"], "result": {"task": task}}).encode()
        connection.sendall(b"HTTP/1.1 200 OK\r\n" + SSE + b"\r\ndata: " + event + b"\r\n\r\ndata: {")
        threading.Event().wait(0.05)
        _reset(connection)

    def hole(self, connection: socket.socket, call: dict[str, Any]) -> None:
        self.let_go.wait(HOLE)
        _reset(connection)

    def slow(self, connection: socket.socket, call: dict[str, Any]) -> None:
        connection.sendall(_head(JSON, 1000))
        while not self._over.wait(SLOW):
            connection.sendall(b" ")

    def wrong_bytes(self, connection: socket.socket, call: dict[str, Any]) -> None:
        connection.sendall(bytes(range(256)) * 4)

    def not_json(self, connection: socket.socket, call: dict[str, Any]) -> None:
        connection.sendall(_head(JSON, 4) + b"\xff\x00{[")

    def not_a2a(self, connection: socket.socket, call: dict[str, Any]) -> None:
        self._say(connection, [{"result": {"task": 5}}])

    def wrong_types(self, connection: socket.socket, call: dict[str, Any]) -> None:
        self._say(connection, {"jsonrpc": "2.0", "id": 1, "result": {"task": {"status": 7, "artifacts": 5}}})

    def rpc_error(self, connection: socket.socket, call: dict[str, Any]) -> None:
        self._say(connection, {"jsonrpc": "2.0", "id": call["id"], "error": {"code": -32603, "message": "not today"}})

    def server_error(self, connection: socket.socket, call: dict[str, Any]) -> None:
        self._say(connection, {"oops": 1}, b"500 Oops")

    def forbidden(self, connection: socket.socket, call: dict[str, Any]) -> None:
        self._say(connection, {}, b"403 Forbidden")

    def overloaded(self, connection: socket.socket, call: dict[str, Any]) -> None:
        self._say(connection, {}, b"503 Later", b"retry-after: 1\r\n")

    def redirect(self, connection: socket.socket, call: dict[str, Any]) -> None:
        self._say(connection, {}, b"307 There", f"location: {self.url}/good/rpc\r\n".encode())

    def endless(self, connection: socket.socket, call: dict[str, Any]) -> None:
        connection.sendall(b"HTTP/1.1 200 OK\r\n" + JSON + b"transfer-encoding: chunked\r\n\r\n")
        piece = b"x" * (1 << 20)
        while not self._over.is_set():
            connection.sendall(b"100000\r\n" + piece + b"\r\n")


def _head(headers: bytes, length: int, status: bytes = b"200 OK") -> bytes:
    return b"HTTP/1.1 " + status + b"\r\n" + headers + b"content-length: %d\r\n\r\n" % length


def _reset(connection: socket.socket) -> None:
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    connection.close()
    raise ConnectionResetError


Fault = Callable[[Rude, socket.socket, dict[str, Any]], None]

#: fault: (how, the reason a peer gets to see, the one at the front door)
FAULTS: dict[str, tuple[Fault, str, str]] = {
    "reset": (Rude.reset, "broken_connection", "broken_connection"),
    "reset_in_headers": (Rude.reset_in_headers, "broken_connection", "broken_connection"),
    "reset_in_body": (Rude.reset_in_body, "broken_connection", "broken_connection"),
    "reset_in_stream": (Rude.reset_in_stream, "broken_connection", "broken_connection"),
    "hole": (Rude.hole, "timeout", "timeout"),
    "slow": (Rude.slow, "timeout", "timeout"),
    "wrong_bytes": (Rude.wrong_bytes, "broken_connection", "broken_connection"),
    "not_json": (Rude.not_json, "bad_answer", "bad_answer"),
    "not_a2a": (Rude.not_a2a, "bad_answer", "bad_answer"),
    "wrong_types": (Rude.wrong_types, "bad_answer", "bad_answer"),
    "rpc_error": (Rude.rpc_error, "refused", "error"),
    "server_error": (Rude.server_error, "bad_answer", "refused"),
    "forbidden": (Rude.forbidden, "forbidden", "refused"),
    "overloaded": (Rude.overloaded, "busy", "refused"),
    "redirect": (Rude.redirect, "bad_answer", "refused"),
    "endless": (Rude.endless, "bad_answer", "bad_answer"),
}

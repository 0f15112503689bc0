"""A stand-in engine: takes lines of JSON on its listener and passes them on to the guard; collects the guard's events.

{"ask": "events"} is answered with them, {"ask": "pid"} with its pid and order, {"ask": "child"} starts a child in its
own process session, {"die": code} ends it at once. Everything else goes to the guard as it is.
"""

from __future__ import annotations

import json
import os
import selectors
import signal
import socket
import subprocess
import sys
from typing import Any


def main() -> None:
    order: dict[str, Any] = json.loads(sys.argv[1])
    if (flag := order.get("entry", {}).get("engine_dies")) is not None:
        sys.exit(flag)
    listener, control = socket.socket(fileno=order["listener"]), socket.socket(fileno=order["control"])
    signal.signal(signal.SIGTERM, lambda *_: os._exit(0))
    events: list[dict[str, Any]] = []
    fds = os.listdir("/proc/self/fd")
    with selectors.DefaultSelector() as selector:
        selector.register(listener, selectors.EVENT_READ)
        selector.register(control, selectors.EVENT_READ)
        while True:
            for key, _ in selector.select():
                if key.fileobj is control:
                    data = control.recv(65536)
                    if not data:
                        os._exit(1)
                    events += [json.loads(line) for line in data.splitlines()]
                    if order.get("on_demand") and events[-1]["event"] == "client_gone":
                        control.sendall(b'{"op": "leave"}\n')
                else:
                    _serve(listener, control, order, events, fds)


def _serve(
    listener: socket.socket, control: socket.socket, order: dict[str, Any], events: list[Any], fds: list[str]
) -> None:
    connection, _ = listener.accept()
    with connection:
        line = connection.recv(65536)
        if not line:
            return
        message = json.loads(line)
        answer: Any = {}
        if message.get("ask") == "events":
            answer = events
        elif message.get("ask") == "pid":
            answer = {"pid": os.getpid(), "order": order, "environ": dict(os.environ), "fds": fds}
        elif message.get("ask") == "child":
            answer = subprocess.Popen(["/bin/sleep", "300"], start_new_session=True).pid
        elif "die" in message:
            os._exit(message["die"])
        else:
            control.sendall(line)
        connection.sendall(json.dumps(answer).encode())


if __name__ == "__main__":
    main()

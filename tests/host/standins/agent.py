"""A stand-in agent: answers /livez and /readyz, starts children that are hard to find, does as it is told.

Config: children (bool), ready_after (seconds), exit_at_start (code), crash_after (seconds), deaf (ignores SIGTERM),
slow_end (seconds from SIGTERM to the end).
GET: /environ, /fds, /random, /umask, /tokens, /burn/SECONDS (computes, answering nobody), /until/FILE (the same),
/eat/MEGABYTES, /exit/CODE, /stat.
"""

from __future__ import annotations

import json
import os
import random
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from teamwright.agents.spec import AgentSpec

_SLEEP = ["/bin/sleep", "300"]
_eaten: list[bytearray] = []


def serve(spec: AgentSpec, sock: socket.socket) -> None:
    """Be that agent until SIGTERM."""
    os.environ.update({**spec.environment, **spec.secrets})
    config: dict[str, Any] = dict(spec.config)
    _say(f"{spec.agent} starts")
    if config.get("deaf"):
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
    elif config.get("slow_end"):
        signal.signal(signal.SIGTERM, lambda *_: _end_slowly(config["slow_end"]))
    fds = {name: _target(f"/proc/self/fd/{name}") for name in os.listdir("/proc/self/fd")}
    children = _children() if config.get("children") else []
    for pid in children:
        _say(f"child {pid}")
    if "exit_at_start" in config:
        _say("I can't go on")
        sys.exit(config["exit_at_start"])
    time.sleep(config.get("ready_after", 0))
    if config.get("crash_after"):
        signal.setitimer(signal.ITIMER_REAL, config["crash_after"])  # SIGALRM ends us
    umask = os.umask(0)
    os.umask(umask)
    environ, number = dict(os.environ), random.random()
    facts = {"environ": environ, "fds": fds, "random": number, "umask": umask, "tokens": dict(spec.tokens)}
    while True:
        connection, _ = sock.accept()
        with connection:
            _answer(connection, facts)


def _answer(connection: socket.socket, facts: dict[str, Any]) -> None:
    try:
        request = connection.recv(65536).split(b" ")[1].decode()
    except (OSError, IndexError):
        return
    what, _, value = request.strip("/").partition("/")
    if what == "exit":
        _say("told to exit")
        os._exit(int(value))
    if what == "burn":
        end = time.monotonic() + float(value)
        while time.monotonic() < end:
            pass
    while what == "until" and not Path("/", value).exists():
        pass
    if what == "eat":
        _eaten.append(bytearray(os.urandom(1024) * 1024 * int(value)))
    found = {"nice": os.nice(0), "name": Path("/proc/self/comm").read_text().strip()} if what == "stat" else {}
    body = json.dumps(facts.get(what, found)).encode()
    head = f"HTTP/1.1 200 OK\r\nContent-Length: {len(body)}\r\nConnection: close\r\n\r\n"
    try:
        connection.sendall(head.encode() + body)
    except OSError:
        return


def _end_slowly(seconds: float) -> None:
    time.sleep(seconds)
    os._exit(0)


def _say(text: str) -> None:
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()


def _children() -> list[int]:
    """One in our session, one in its own, one without an environment, and two that are nobody's children any more."""
    plain = subprocess.Popen(_SLEEP)
    session = subprocess.Popen(_SLEEP, start_new_session=True)
    bare = subprocess.Popen(_SLEEP, start_new_session=True, env={})
    return [plain.pid, session.pid, bare.pid, _daemon(execs=True), _daemon(execs=False)]


def _daemon(*, execs: bool) -> int:
    """A process that was forked twice, with a session of its own."""
    read, write = os.pipe()
    if os.fork() == 0:
        os.setsid()
        if (pid := os.fork()) == 0:
            os.close(write)
            if execs:
                os.execv(_SLEEP[0], _SLEEP)
            time.sleep(300)
            os._exit(0)
        os.write(write, str(pid).encode())
        os._exit(0)
    os.close(write)
    with open(read) as pipe:
        return int(pipe.read())


def _target(path: str) -> str:
    try:
        return str(Path(path).readlink())
    except OSError:
        return "gone"


def main() -> None:
    sock = socket.socket(fileno=int(sys.argv[1]))
    with open(int(sys.argv[2])) as pipe:
        spec = AgentSpec.from_dict(json.load(pipe))
    serve(spec, sock)


if __name__ == "__main__":
    main()

"""The zygote: preloads everything an agent needs, once, and forks agents from that.

Single-threaded, a poll loop and pidfds, nothing else. Exec'ed by the host: `python -I -m teamwright.host.zygote ORDER`
(JSON: control, entry, warm). Over the control socket (SOCK_SEQPACKET, one JSON object a packet):
    host → zygote: {"ref", "mark", "name", "nice", "umask"} + descriptors [listener, spec, log]
    zygote → host: {"ready": true, "ms"} once; {"ref", "pid"} + a pidfd, or {"ref", "error"}; {"pid", "code"} at its end
The spec (it holds secrets) is read by the child alone. When the control socket ends, so does the zygote.
"""

from __future__ import annotations

import atexit
import gc
import importlib.util
import json
import os
import random
import select
import signal
import socket
import sys
import time
import traceback
from array import array
from collections.abc import Callable, Mapping
from importlib import import_module
from typing import Any, NoReturn

from teamwright.host.proc import MARK
from teamwright.host.spawn import close_all_but, die_with_parent, set_name, spawn, take_standard_files

ENTRY = "teamwright.agents.main:serve"
WARM = "teamwright.agents.warm:warm"
_PACKET = 65_536

Entry = Callable[[Any, socket.socket], None]


def start(python: str, environment: Mapping[str, str], order: Mapping[str, Any]) -> tuple[int, socket.socket]:
    """Exec a zygote; its pid and our end of the control socket. In the host, from its main thread."""
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    ours.setblocking(False)
    with theirs:
        argument = json.dumps({**order, "control": theirs.fileno()})
        pid = spawn(
            [python, "-I", "-m", "teamwright.host.zygote", argument],
            env=environment,
            output=2,
            keep=[theirs.fileno()],
            death_signal=signal.SIGKILL,
        )
    return pid, ours


def load(reference: str) -> Callable[..., Any]:
    """The function that `module:name` or `/path/to/file.py:name` means."""
    place, _, name = reference.rpartition(":")
    if place.endswith(".py"):
        spec = importlib.util.spec_from_file_location("teamwright_entry", place)
        assert spec is not None and spec.loader is not None
        module = importlib.util.module_from_spec(spec)
        sys.modules[spec.name] = module
        spec.loader.exec_module(module)
    else:
        module = import_module(place)
    found: Callable[..., Any] = getattr(module, name)
    return found


def tasks() -> int:
    """How many threads this process really has: native ones are unknown to `threading`."""
    return len(os.listdir("/proc/self/task"))


class Zygote:
    """The loop that forks. `entry(spec, socket)` is what a child runs."""

    def __init__(self, control: socket.socket, entry: Entry) -> None:
        self._control = control
        self._entry = entry
        self._poll = select.poll()
        self._poll.register(control, select.POLLIN)
        self._children: dict[int, int] = {}
        self._environment = {name: text for name, text in os.environ.items() if name != MARK}

    def run(self) -> None:
        """Fork on order until the host hangs up."""
        while True:
            for fd, _ in self._poll.poll():
                if fd in self._children:
                    self._bury(fd)
                elif not self._serve():
                    return

    def _serve(self) -> bool:
        data, ancillary, _, _ = self._control.recvmsg(_PACKET, socket.CMSG_SPACE(16), socket.MSG_CMSG_CLOEXEC)
        fds = array("i")
        for level, kind, content in ancillary:
            if level == socket.SOL_SOCKET and kind == socket.SCM_RIGHTS:
                fds.frombytes(content[: len(content) - len(content) % fds.itemsize])
        if not data:
            return False
        order = json.loads(data)
        try:
            if tasks() != 1:
                raise RuntimeError(f"the zygote has {tasks()} threads and can't fork")
            self._fork(order, *fds)
        except (OSError, RuntimeError) as error:
            self._say({"ref": order["ref"], "error": str(error)})
        finally:
            for fd in fds:
                os.close(fd)
        return True

    def _fork(self, order: dict[str, Any], listener: int, spec: int, log: int) -> None:
        zygote = os.getpid()
        pid = os.fork()
        if pid == 0:
            self._child(order, zygote, listener, spec, log)
        handle = os.pidfd_open(pid)  # it can't have been reaped: only we do that
        self._children[handle] = pid
        self._poll.register(handle, select.POLLIN)
        self._say({"ref": order["ref"], "pid": pid}, [handle])

    def _bury(self, handle: int) -> None:
        pid = self._children.pop(handle)
        self._poll.unregister(handle)
        os.close(handle)
        _, status = os.waitpid(pid, 0)
        self._say({"pid": pid, "code": os.waitstatus_to_exitcode(status)})

    def _say(self, message: dict[str, Any], fds: list[int] | None = None) -> None:
        socket.send_fds(self._control, [json.dumps(message).encode()], fds or [])

    def _child(self, order: dict[str, Any], zygote: int, listener: int, spec: int, log: int) -> NoReturn:
        code = 1
        try:
            os.setsid()
            die_with_parent(zygote, signal.SIGKILL)
            take_standard_files(log)
            self._control.detach()
            close_all_but((0, 1, 2, listener, spec))
            set_name(order["name"])
            signal.signal(signal.SIGINT, signal.default_int_handler)
            for number in (signal.SIGTERM, signal.SIGCHLD, signal.SIGHUP):
                signal.signal(number, signal.SIG_DFL)
            with open(spec, "rb") as file:
                told = json.load(file)
            self._settle(order, told)
            from teamwright.agents.spec import AgentSpec

            self._entry(AgentSpec.from_dict(told), socket.socket(fileno=listener))
            code = 0
        except SystemExit as ended:
            code = _exit_code(ended)
        except BaseException:
            traceback.print_exc()
        finally:
            _end(code)

    def _settle(self, order: dict[str, Any], told: dict[str, Any]) -> None:
        """Make this process the agent's own: environment, priority, randomness, output. `entry` sees to its folder."""
        environment = told.get("environment") or {}
        os.environ.clear()
        os.environ.update({**self._environment, **environment, **(told.get("secrets") or {}), MARK: order["mark"]})
        time.tzset()
        os.umask(order["umask"])
        if order["nice"]:
            os.nice(order["nice"])
        random.seed()
        for stream in (sys.stdout, sys.stderr):
            stream.reconfigure(line_buffering=True)  # type: ignore[union-attr]
        gc.enable()


def _exit_code(ended: SystemExit) -> int:
    if ended.code is None or isinstance(ended.code, int):
        return ended.code or 0
    sys.stderr.write(f"{ended.code}\n")
    return 1


def _end(code: int) -> NoReturn:
    """What the interpreter does at its end, without taking the preloaded modules apart (that would copy them)."""
    try:
        atexit._run_exitfuncs()
        sys.stdout.flush()
        sys.stderr.flush()
    finally:
        os._exit(code & 0xFF)


def main(argument: str) -> None:
    """Warm up, say so, and fork until the host hangs up."""
    begin = time.monotonic()
    order = json.loads(argument)
    os.set_inheritable(order["control"], False)
    control = socket.socket(fileno=order["control"])
    if order["warm"]:
        load(order["warm"])()
    entry = load(order["entry"])
    if tasks() != 1:
        raise SystemExit(f"warming up left {tasks()} threads: agents can't be forked")
    sys.stdout.flush()
    gc.collect()
    gc.disable()
    gc.freeze()
    zygote = Zygote(control, entry)
    control.send(json.dumps({"ready": True, "ms": round((time.monotonic() - begin) * 1000)}).encode())
    zygote.run()


if __name__ == "__main__":
    main(sys.argv[1])

"""The guard: the tiny parent of engine, host and perhaps a collector. It restarts them, and leaves no orphan.

Run by file path, without site-packages: `python -I -S guard.py ORDER`. ORDER is JSON:

    home, home_id, run_dir    where and whose
    python                    what engine and host are run with
    port                      the engine's: a number, 0 = any, null = 8500 or the next free one
    stay, host                `deploy engine start`; start the host at once
    tied                      true: `deploy engine start --foreground`: without our starter we stop everything and leave
    collector                 true: spans are taken in by a process of their own
    version, fingerprint      of the code, for engine.json
    env                       the allow-listed environment of everything below; else the guard's own
    lifeline                  number of an inherited socket to whoever started us
    beat                      seconds between two signs of life of each of ours (3)
    lock_wait                 seconds to wait for a guard that is just leaving (5)
    entry                     for tests. Stand-ins: engine, host, collector: [arguments to python]; more in `main.py`.
                              undying: true: any number of deaths is fine, what died starts again at once

Lifeline: we write one line, {"ok": true, "url", "port", "guard"} once requests can be sent (they wait in the backlog
until the engine takes them) or {"error", "exit"}. "ok" from the other side is a normal end; the end of file without it
means that our starter died or was interrupted, and the engine is told: {"event": "client_gone"}.

Each gets one argument: JSON with the order's keys (not env, lifeline) and url, port, on_demand, guard (pid),
umask (the starter's), collector_url (null: the engine takes in spans itself), and the numbers of the descriptors handed
over: `listener` (its listening socket) and `control` (a socket to the guard: lines of JSON, both ways).
    all → guard: {"op": "beat"}, every few seconds (`pulse.py` has what comes of silence)
    engine → guard: {"op": "host"}, {"op": "leave"}, {"op": "restart", "version", "fingerprint"}
    guard → engine: {"event": "host_started", "pid"}, {"event": "host_exit", "pid", "code", "signal", "planned"},
                    {"event": "collector_started", "pid"}, {"event": "collector_exit", …}, {"event": "client_gone"}
They are ended in the order host, engine, collector. A collector that dies is always started again: nothing but traces
waits for it.
Exit codes: 0, 10 the home can't be used, 11 another guard has it, 12 the port is taken, 13 the engine kept dying.
"""

from __future__ import annotations

import json
import os
import selectors
import signal
import socket
import sys
import time
from contextlib import suppress
from pathlib import Path
from types import FrameType, ModuleType
from typing import Any, NoReturn

if "teamwright" not in sys.modules:  # run by path: make the package importable, without its site-packages
    _package = ModuleType("teamwright")
    _package.__path__ = [str(Path(__file__).resolve().parents[1])]
    sys.modules["teamwright"] = _package

from teamwright.host import proc
from teamwright.host.claim import GAVE_UP, Claim, Refusal
from teamwright.host.pulse import BEAT
from teamwright.host.spawn import become_subreaper, close_all_but, take_standard_files
from teamwright.host.sweep import Records, forget, kill_below, sweep
from teamwright.host.ward import Ward, open_log, say

#: So many deaths of the engine within a minute are too many.
_DEATHS = 5
#: Seconds that host (it ends its agents first), engine and collector have to leave before they are killed.
_HOST_LEAVES, _ENGINE_LEAVES, _COLLECTOR_LEAVES = 20.0, 10.0, 10.0


class Guard:
    """Everything the guard owns. `open()` or a Refusal, then `run()` until it is over."""

    def __init__(self, order: dict[str, Any]) -> None:
        self.order = order
        self.home = Path(order["home"])
        self.collector: Ward | None = None
        self.claim = Claim(self.home, order["home_id"], Path(order["run_dir"]))
        self.selector = selectors.DefaultSelector()
        self.records = Records(self.home, "guard")
        self.exit_code = 0
        self.leaving = False
        self._lifeline: socket.socket | None = None
        self._client_gone = False
        self._signals: list[int] = []

    def catch_signals(self) -> None:
        """From here on a signal only wakes the loop; none is lost in between."""
        woken, self._wake = socket.socketpair()
        woken.setblocking(False)
        self._wake.setblocking(False)
        signal.set_wakeup_fd(self._wake.fileno(), warn_on_full_buffer=False)
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGCHLD):
            signal.signal(number, self._note)
        signal.signal(signal.SIGHUP, signal.SIG_IGN)
        self.selector.register(woken, selectors.EVENT_READ, lambda: woken.recv(4096))

    def _note(self, number: int, frame: FrameType | None) -> None:
        if number != signal.SIGCHLD:
            self._signals.append(number)

    def open(self) -> None:
        """Take the lock, sweep what an earlier life left, bind port and socket, write engine.json."""
        self.claim.lock(float(self.order.get("lock_wait", 5.0)), lambda: bool(self._signals))
        become_subreaper()
        if swept := sweep(self.home, self.claim.home_id):
            self.log(f"swept what an earlier engine left running: {swept}")
        entry = self.order.get("entry") or {}
        beat = self.order.setdefault("beat", BEAT)
        engine = [self.order["python"], *(entry.get("engine") or ["-I", "-m", "teamwright.engine.main"])]
        host = [self.order["python"], *(entry.get("host") or ["-I", "-m", "teamwright.host.main"])]
        listener = self.claim.bind_port(self.order.get("port"))
        self.engine = Ward("engine", engine, listener, self.home / "engine.log", beat)
        self.host = Ward("host", host, self.claim.bind_socket(), self.home / "host.log", beat)
        self.wards = [self.host, self.engine]
        url = None
        if self.order.get("collector"):
            listener = self.claim.bind_any()
            url = f"http://127.0.0.1:{listener.getsockname()[1]}"
            module = ["-I", "-m", "teamwright.engine.telemetry.collecting"]
            command = [self.order["python"], *(entry.get("collector") or module)]
            self.collector = Ward("collector", command, listener, self.home / "collector.log", beat)
            self.wards.append(self.collector)
        self.order.update(url=self.claim.url, port=self.claim.port, guard=os.getpid(), collector_url=url)
        self._publish()

    def _publish(self) -> None:
        stay = bool(self.order.get("stay"))
        self.claim.write(self.order.get("version"), self.order.get("fingerprint"), on_demand=not stay)

    def watch(self, lifeline: socket.socket) -> None:
        """Say that we are listening, and notice when our starter goes."""
        self._lifeline = lifeline
        lifeline.setblocking(False)
        say(lifeline, {"ok": True, "url": self.claim.url, "port": self.claim.port, "guard": os.getpid()})
        self.selector.register(lifeline, selectors.EVENT_READ, self._feel)

    def run(self) -> int:
        """Start everything and keep it running; the exit code."""
        now = time.monotonic()
        if self.order.get("host"):
            self.host.start_at = now
        self.engine.start_at = now
        if self.collector is not None:
            self.collector.start_at = now
        try:
            while True:
                self._tend()
                if self.leaving and all(ward.pid is None for ward in self.wards):
                    return self.exit_code
                for key, _ in self.selector.select(self._pause()):
                    key.data()
        finally:
            self._clear()

    def log(self, text: str) -> None:
        """A line in guard.log; a full disk doesn't stop us."""
        stamp = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
        with suppress(OSError), open_log(self.home / "guard.log") as file:
            file.write(f"{stamp} guard[{os.getpid()}] {text}\n".encode())

    # -- the loop

    def _tend(self) -> None:
        """Do whatever is due."""
        while self._signals:
            self.log(f"got signal {self._signals.pop(0)}")
            self._leave(hurry=self.leaving)
        self._reap()
        for ward in self.wards:
            now = time.monotonic()
            if ward.start_at is not None and now >= ward.start_at:
                self._start(ward)
            if ward.kill_at is not None and now >= ward.kill_at:
                self.log(f"{ward.name} did not leave in time")
                ward.kill_at = None
                ward.signal(signal.SIGKILL)
            if ward.pid is not None and (why := ward.pulse.gone(ward.pid)) is not None:
                self.log(f"{ward.name} (pid {ward.pid}) is killed: {why}")
                ward.signal(signal.SIGKILL)

    def _pause(self) -> float | None:
        due = [at for ward in self.wards for at in (ward.start_at, ward.kill_at) if at is not None]
        due += [ward.pulse.due() for ward in self.wards if ward.pid is not None]
        return max(0.0, min(due) - time.monotonic()) if due else None

    def _start(self, ward: Ward) -> None:
        order = {name: value for name, value in self.order.items() if name not in ("env", "lifeline", "lock_wait")}
        order["on_demand"] = not self.order.get("stay")
        try:
            ward.start(order, {**self.order["env"], proc.MARK: f"{self.claim.home_id}:{ward.name}"})
        except OSError as error:
            self.log(f"can't start the {ward.name}: {error}")
            self._died(ward, None, None)
            return
        assert ward.control is not None
        self.selector.register(ward.control, selectors.EVENT_READ, lambda: self._hear(ward))
        self._record()
        for other in self.wards:
            if other is not self.engine and other.pid is not None and ward in (other, self.engine):
                self.engine.tell({"event": f"{other.name}_started", "pid": other.pid})
        if ward is self.engine and self._client_gone:
            self.engine.tell({"event": "client_gone"})

    def _reap(self) -> None:
        reaped = False
        while True:
            try:
                pid, status = os.waitpid(-1, os.WNOHANG)
            except ChildProcessError:
                break
            if pid == 0:
                break
            reaped = True
            for ward in self.wards:
                if ward.pid == pid:
                    ward.ended()
                    self._hang_up(ward)
                    self._died(ward, pid, os.waitstatus_to_exitcode(status))
        if reaped:
            self._kill_orphans()

    def _died(self, ward: Ward, pid: int | None, code: int | None) -> None:
        # Whatever it had started is ours now, and has to be gone before its successor comes.
        self._kill_orphans()
        self._record()
        planned = self.leaving or ward.replacing or (ward is self.host and code == 0)
        if ward is self.host:
            Records(self.home, "host").remove()
        if ward is not self.engine:
            exited, number = (None, -code) if code is not None and code < 0 else (code, None)
            told = {"event": f"{ward.name}_exit", "pid": pid, "code": exited, "signal": number, "planned": planned}
            self.engine.tell(told)
        if self.leaving:
            self._end_next()
        elif ward.replacing:
            ward.replacing = False
            ward.start_at = time.monotonic()
            if ward is self.engine and self.collector is not None and self.collector.pid is not None:
                # After the old engine's last spans: the new engine comes with a collector of the same code.
                self.collector.replacing = True
                self.collector.terminate(_COLLECTOR_LEAVES)
        elif planned:
            self.log(f"{ward.name} (pid {pid}) left")
        else:
            deaths = ward.died()
            self.log(f"{ward.name} (pid {pid}) ended with {code}, death {deaths} of the last minute")
            if (self.order.get("entry") or {}).get("undying"):
                ward.start_at = time.monotonic()
            elif ward is self.engine and deaths >= _DEATHS:
                self.log(f"the engine died {deaths} times within a minute: stopping everything; see engine.log")
                self.exit_code = GAVE_UP
                self._leave()
            else:
                ward.start_again()

    def _leave(self, *, hurry: bool = False) -> None:
        """Stop everything in order: the host (which ends the agents), the engine, the collector, then we go."""
        for ward in self.wards:
            ward.start_at = None
        self.leaving = True
        self.claim.hide()
        self.engine.listener.close()
        self._end_next(hurry=hurry)

    def _end_next(self, *, hurry: bool = False) -> None:
        times = {"host": _HOST_LEAVES, "engine": _ENGINE_LEAVES, "collector": _COLLECTOR_LEAVES}
        for ward in self.wards:
            if ward.pid is not None:
                if hurry or ward.kill_at is None:
                    ward.terminate(0.0 if hurry else times[ward.name])
                return

    def _kill_orphans(self) -> None:
        """No descendant of ours but engine and host, and what they have themselves, may live."""
        keep = [ward.pid for ward in self.wards if ward.pid is not None]
        if stubborn := kill_below(keep):
            self.log(f"could not kill {[process.pid for process in stubborn]}")

    def _record(self) -> None:
        pids = [os.getpid(), *(ward.pid for ward in self.wards if ward.pid is not None)]
        self.records.write(process.key for process in map(proc.read, pids) if process)

    def _clear(self) -> None:
        for ward in self.wards:
            ward.signal(signal.SIGKILL)
            ward.ended()
        self._kill_orphans()
        forget(self.home)
        self.claim.remove()
        self.log("left, nothing remains")

    # -- who talks to us

    def _feel(self) -> None:
        assert self._lifeline is not None
        try:
            data = self._lifeline.recv(64)
        except BlockingIOError:
            return
        except OSError:
            data = b""
        self.selector.unregister(self._lifeline)
        self._lifeline.close()
        self._lifeline = None
        if not data.startswith(b"ok"):
            self.log("whoever started us has gone without a word")
            if self.order.get("tied"):
                self._leave()
                return
            self._client_gone = self.engine.pid is None  # a later engine has nothing to do with it
            self.engine.tell({"event": "client_gone"})

    def _hear(self, ward: Ward) -> None:
        lines = ward.hear()
        if lines is None:
            self._hang_up(ward)
        for line in lines or ():
            try:
                self._obey(ward, json.loads(line))
            except (ValueError, TypeError, KeyError) as error:
                self.log(f"{ward.name} said something strange: {line[:200]!r} ({error})")

    def _obey(self, ward: Ward, message: dict[str, Any]) -> None:
        op = message["op"]
        if op == "beat":
            ward.pulse.beat()
        elif op == "leave":
            self.log(f"the {ward.name} wants us all to leave")
            self._leave()
        elif op == "host" and self.host.pid is None and not self.leaving:
            self.host.start_at = time.monotonic()
        elif op == "restart" and not self.leaving:
            self.order.update({name: message[name] for name in ("version", "fingerprint") if name in message})
            with suppress(Refusal):
                self._publish()
            self.engine.replacing = True
            self.engine.terminate(_ENGINE_LEAVES)

    def _hang_up(self, ward: Ward) -> None:
        if ward.control is not None:
            self.selector.unregister(ward.control)
            ward.control.close()
            ward.control = None


def main(argument: str) -> int:
    """Guard one home until everybody leaves; the exit code."""
    order = json.loads(argument)
    order["umask"] = os.umask(0o077)
    order["env"] = order.get("env") or dict(os.environ)
    order["python"] = order.get("python") or sys.executable
    lifeline = _keep_only(order.get("lifeline"))
    os.chdir("/")
    guard = Guard(order)
    guard.catch_signals()
    try:
        guard.open()
    except Refusal as refusal:
        sys.stderr.write(f"{refusal}\n")
        if lifeline is not None:
            say(lifeline, {"error": str(refusal), "exit": refusal.code})
        return refusal.code
    # Whoever started us may wait for the end of our output: let go of it.
    with suppress(OSError), open_log(guard.home / "guard.log") as file:
        take_standard_files(file.fileno())
    if lifeline is not None:
        guard.watch(lifeline)
    return guard.run()


def _keep_only(lifeline: int | None) -> socket.socket | None:
    """Close every inherited descriptor but the standard ones (which must exist) and the lifeline."""
    for fd in (0, 1, 2):
        try:
            os.fstat(fd)
        except OSError:
            os.open("/dev/null", os.O_RDWR)
    close_all_but((0, 1, 2) if lifeline is None else (0, 1, 2, lifeline))
    if lifeline is None:
        return None
    os.set_inheritable(lifeline, False)
    return socket.socket(fileno=lifeline)


def _run() -> NoReturn:
    code = main(sys.argv[1])
    sys.stderr.flush()
    os._exit(code)


if __name__ == "__main__":
    _run()

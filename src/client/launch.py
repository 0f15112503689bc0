"""Finding the engine of a home, or starting one: the guard is spawned, and everything else follows from it."""

from __future__ import annotations

import json
import os
import select
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path

from teamwright import __version__
from teamwright.client.client import Client
from teamwright.engine.fingerprint import fingerprint
from teamwright.engine.liveness import EngineFile
from teamwright.errors import EngineError, EngineUnavailable, HomeError, TeamwrightError, VersionMismatch
from teamwright.home import Home
from teamwright.settings import TOKEN, allowed_environment, check, collector_process

#: Seconds for a new guard to listen, and for one that leaves to be gone.
_LISTENS, _LEAVES = 15.0, 40.0
#: Seconds that a new engine may take to answer, on a machine that has not run it before and has other things to do.
_READY = 60.0
_UNUSABLE, _ALREADY_GUARDED, _PORT_TAKEN = 10, 11, 12
#: Our ends of the lifelines of guards that this process has started. Kept here, because an interrupt may come where
#: nobody else holds them, and then a traceback keeps them open: the guard would not learn that we are gone.
_lifelines: set[socket.socket] = set()
_GUARD = Path(__file__).resolve().parent.parent / "host" / "guard.py"


def connect(
    home: Home,
    *,
    port: int | None = None,
    start: bool,
    stay: bool = False,
    host: bool = False,
    tied: bool = False,
    environ: Mapping[str, str] = os.environ,
) -> Client:
    """A client of the home's engine, which is started if need be and `start` is set.

    `port` counts for an engine that is started; `stay` has it stay without jobs; `host` starts its host at once;
    `tied`: it ends with this process, its jobs too.
    Raises EngineUnavailable without an engine, HomeError, or EngineError (the port is taken).
    """
    for _ in range(3):
        found = EngineFile.read(home) if home.exists else None
        if found is not None and (client := _join(home, found, environ, start=start, stay=stay)) is not None:
            return client
        if not start:
            raise EngineUnavailable(f"no engine of {home.path} is running", status=503, hint="deploy engine start")
        home.create()
        if (client := _spawn(home, port, environ, stay=stay, host=host, tied=tied)) is not None:
            return client
    raise EngineUnavailable(f"no engine of {home.path} comes up", status=503, hint=f"see {home.guard_log}")


def lifelines() -> frozenset[socket.socket]:
    """Our ends to the guards that this process has started and not let go of."""
    return frozenset(_lifelines)


def hang_up(*, but: frozenset[socket.socket] = frozenset()) -> None:
    """The command was interrupted, wherever it was: guards it has started leave again, unless they have jobs by now."""
    for line in _lifelines - but:
        _drop(line)


def sweep(home: Home) -> int:
    """End what an engine that is gone has left behind; how many processes that were."""
    from teamwright.host.sweep import sweep_home

    try:
        return len(sweep_home(home.path, home.id, home.run_dir) or ())
    except OSError as error:
        raise HomeError(f"the home {home.path} can't be swept: {error.strerror}") from None


def _join(home: Home, found: EngineFile, environ: Mapping[str, str], *, start: bool, stay: bool) -> Client | None:
    """A client of the running engine; None when it has just left, or was replaced because its code is another."""
    stale = None
    if (found.version, found.fingerprint) != (__version__, fingerprint()):
        stale = VersionMismatch(
            f"the engine runs other code (version {found.version}) than this command ({__version__}), and has jobs",
            status=409,
            hint="deploy engine restart",
        )
    client = Client(
        found.url, _token(home, found.url, environ), gone=lambda: wait_gone(found.guard, found.guard_start), stale=stale
    )
    try:
        if stale is not None and start and not client.status()["jobs"]:
            client.stop_engine()
            return None
        if stay and found.on_demand:
            client.stay()
        elif start and stale is None:
            client.status()  # it may be about to leave: this makes it stay for a while
    except EngineUnavailable:
        client.close()
        wait_gone(found.guard, found.guard_start)
        return None
    except BaseException:
        client.close()
        raise
    return client


def _spawn(
    home: Home, port: int | None, environ: Mapping[str, str], *, stay: bool, host: bool, tied: bool
) -> Client | None:
    """A client of a new engine; None when somebody else's is just coming up."""
    collector = collector_process(environ)
    check(environ)  # what the engine would only say in its log
    ours, theirs = socket.socketpair()
    _lifelines.add(ours)
    order = {
        "home": str(home.path),
        "home_id": home.id,
        "run_dir": str(home.run_dir),
        "python": sys.executable,
        "port": port,
        "stay": stay,
        "host": host,
        "tied": tied,
        "collector": collector,
        "version": __version__,
        "fingerprint": fingerprint(),
        "lifeline": theirs.fileno(),
    }
    with theirs:
        process = subprocess.Popen(
            [sys.executable, "-I", "-S", str(_GUARD), json.dumps(order)],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            pass_fds=[theirs.fileno()],
            env=allowed_environment(environ),
            start_new_session=True,
        )
    answer = _first_line(ours)
    if answer is None:
        _drop(ours)
        raise EngineUnavailable(f"the guard of {home.path} did not come up", status=503, hint=f"see {home.guard_log}")
    if answer.get("ok") is True:
        # It is meant to outlive us: nobody waits for it.
        process.returncode = 0
        pid = process.pid
        started = EngineFile.read(home)
        start = started.guard_start if started else None
        url = str(answer["url"])
        return Client(url, _token(home, url, environ), closed=_lifeline(ours), gone=lambda: wait_gone(pid, start))
    _drop(ours)
    process.wait()
    message, code = str(answer.get("error")), answer.get("exit")
    if code == _ALREADY_GUARDED:
        _wait_for_file(home)
        return None
    if code == _UNUSABLE:
        raise HomeError(message, hint="--home or TEAMWRIGHT_HOME")
    raise EngineError(message, status=409, hint="another --port, or none" if code == _PORT_TAKEN else None)


def _lifeline(ours: socket.socket) -> Callable[[bool], None]:
    def closed(well: bool) -> None:
        with suppress(OSError):
            if well:
                ours.sendall(b"ok")
        _drop(ours)

    return closed


def _drop(ours: socket.socket) -> None:
    _lifelines.discard(ours)
    ours.close()


def _first_line(ours: socket.socket) -> dict[str, object] | None:
    ours.settimeout(_LISTENS)
    data = b""
    try:
        while not data.endswith(b"\n"):
            part = ours.recv(4096)
            if not part:
                return None
            data += part
        found: dict[str, object] = json.loads(data)
    except (OSError, ValueError):
        return None
    return found


def _wait_for_file(home: Home) -> None:
    """Until the guard that was quicker than ours can be found."""
    until = time.monotonic() + _LISTENS
    while EngineFile.read(home) is None and time.monotonic() < until:
        time.sleep(0.02)


def wait_gone(pid: int, start: int | None = None, deadline: float = _LEAVES) -> None:
    """Until that process is gone. Raises EngineError when it isn't after `deadline` seconds."""
    from teamwright.engine.liveness import start_time

    try:
        handle = os.pidfd_open(pid)
    except OSError:
        return
    try:
        now = start_time(pid)
        if now is None or (start is not None and now != start):
            return
        if not select.select([handle], [], [], deadline)[0]:
            raise EngineError(f"the guard (pid {pid}) is still there after {deadline:g} s", status=504)
        with suppress(ChildProcessError):
            os.waitpid(pid, os.WNOHANG)  # it was started by this very process
    finally:
        os.close(handle)


def _token(home: Home, url: str, environ: Mapping[str, str]) -> Callable[[], str]:
    """Reads the operator's token when it is needed; in a new home the engine has to make it first."""

    def read() -> str:
        if given := environ.get(TOKEN.env):
            return given
        if not home.operator_token.exists():
            import httpx

            try:
                httpx.get(f"{url}/readyz", timeout=_READY, trust_env=False, verify=False)
            except httpx.TimeoutException:
                raise EngineUnavailable(
                    f"the engine at {url} is not ready after {_READY:g} s", status=503, hint=f"see {home.engine_log}"
                ) from None
            except httpx.HTTPError:
                pass  # then the token says what is wrong
        try:
            return home.operator_token.read_text().strip()
        except OSError as error:
            raise TeamwrightError(
                f"the operator's token of {home.path} can't be read: {error.strerror}", hint=f"or set {TOKEN.env}"
            ) from None

    return read

"""`deploy engine start --foreground`: an engine that lives as long as this command, for systemd and containers."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Sequence
from typing import TYPE_CHECKING

import click
import httpx

from teamwright.cli.app import Call
from teamwright.cli.following import LogFile, follow_logs
from teamwright.cli.receivers import send_to
from teamwright.cli.service.notify import Notifier
from teamwright.cli.signals import undisturbed
from teamwright.client import launch
from teamwright.engine.liveness import EngineFile
from teamwright.errors import EngineError, EngineUnavailable, TeamwrightError

if TYPE_CHECKING:
    from teamwright.client.client import Client
    from teamwright.tracing.forwarding.endpoints import Endpoint

#: Seconds that an engine may take to say that it lives.
_ALIVE = 5.0


def run(call: Call, port: int | None, receivers: Sequence[Endpoint]) -> None:
    """Start the engine and stay until it ends; SIGTERM or Ctrl-C stops jobs and engine in the normal way.

    The logs of guard, engine and host go to stderr. Raises EngineError when this home has an engine already, and
    EngineUnavailable when the engine ended in another way than by an order.
    """
    if (found := EngineFile.read(call.home)) is not None:
        raise EngineError(
            f"the engine of {call.home.path} runs already (pid {found.guard})", status=409, hint="deploy engine stop"
        )
    systemd = Notifier(call.environ)
    files = [LogFile(path.stem, path) for path in (call.home.guard_log, call.home.engine_log, call.home.host_log)]
    for file in files:
        file.last(0)
    client = None
    try:
        client = launch.connect(call.home, port=port, start=True, stay=True, tied=True, environ=call.environ)
        if not client.brought_engine:
            raise EngineError(f"the engine of {call.home.path} runs already", status=409, hint="deploy engine stop")
        send_to(client, receivers)
        info = EngineFile.read(call.home)
        if info is None:
            raise EngineUnavailable("the engine ended at once", status=503, hint=f"see {call.home.guard_log}")
        client.status()
        systemd.tell("READY=1", f"STATUS=at {client.url}")
        click.echo(f"engine    {client.url}  home {call.home.path}", err=True)
        _follow(files, client.url, info.guard, systemd)
    except KeyboardInterrupt:
        with undisturbed():
            systemd.tell("STOPPING=1")
            _stop(client)
        for file in files:
            for line in file.end():
                _show(file.agent, line)


def _follow(files: Sequence[LogFile], url: str, guard: int, systemd: Notifier) -> None:
    """Show what is logged until the guard ends. Raises EngineUnavailable when that was no order."""
    ended: list[int] = []
    due = time.monotonic()

    def over() -> bool:
        nonlocal due
        if systemd.every is not None and time.monotonic() >= due:
            due = time.monotonic() + systemd.every
            if _alive(url):
                systemd.tell("WATCHDOG=1", patience=0.0)
        if not ended:
            pid, status = os.waitpid(guard, os.WNOHANG)
            if pid:
                ended.append(os.waitstatus_to_exitcode(status))
        return bool(ended)

    follow_logs(files, _show, until=over)
    systemd.tell("STOPPING=1")
    if ended[0] != 0:
        raise EngineUnavailable(f"the engine has ended (its guard with {ended[0]})", status=503)


def _alive(url: str) -> bool:
    try:
        return httpx.get(f"{url}/livez", timeout=_ALIVE, trust_env=False, verify=False).is_success
    except httpx.HTTPError:
        return False


def _stop(client: Client | None) -> None:
    """End jobs and engine, in order; a lifeline that is cut does the same where the engine doesn't listen."""
    if client is not None:
        try:
            client.stop_engine(force=True)
        except TeamwrightError as error:
            click.echo(f"warning: {error.message}", err=True)
    launch.hang_up()


def _show(name: str, line: str) -> None:
    sys.stderr.write(f"{name:<6} | {line}\n")
    sys.stderr.flush()

"""One agent under the host's care, over all its lives: start, ready, healthy, ended, again."""

from __future__ import annotations

import asyncio
import logging
import os
import secrets
import signal
import time
from collections.abc import Callable, Coroutine
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, TypeVar, cast

from teamwright.errors import HostError
from teamwright.host import checks
from teamwright.host.api import AgentState, Cause, ExitInfo, LaunchOrder, Status
from teamwright.host.health import until_hung, until_over_memory
from teamwright.host.launcher import Launcher, niceness
from teamwright.host.logs import open_log, tail
from teamwright.host.nursery import Running, ZygoteLost
from teamwright.host.policy import Backoff
from teamwright.host.ports import Ports
from teamwright.host.proc import read
from teamwright.host.trees import Family, Trees

T = TypeVar("T")

_log = logging.getLogger(__name__)

#: Seconds to wait for a process after SIGKILL; longer is only an uninterruptible sleep.
_UNKILLABLE = 10.0
#: While the wait for the next start is longer than this, callers are refused.
_PATIENCE = 1.0

#: So many zygotes may die under an agent before it counts as not startable.
_TRIES = 3

Report = Callable[[AgentState, Cause], None]


@dataclass(frozen=True, slots=True)
class Means:
    """What agents are looked after with. `report` hears every change of a state."""

    ports: Ports
    launcher: Launcher
    trees: Trees
    report: Report


class Supervised:
    """An agent that was ordered; its port is bound. `state` is what the engine knows of it.

    >>> agent = Supervised(order, means)
    >>> agent.start("launched")
    >>> await agent.stop(grace=5.0)
    """

    def __init__(self, order: LaunchOrder, means: Means) -> None:
        self.order = order
        self.state = AgentState(order.id, "pending", port=means.ports.port(order.id))
        self._means = means
        self._backoff = Backoff(order.restart)
        self._life: asyncio.Task[None] | None = None
        self._running: Running | None = None
        self._verdict: str | None = None
        self._been_ready = False
        self._log_start = 0
        self._stopping = asyncio.Event()
        self.stop_cause: Cause = "stop"
        self._grace = 0.0
        self._drain = 0.0
        self._aside = False

    @property
    def over(self) -> bool:
        """Whether nothing of it runs and nothing will."""
        return self._life is None or self._life.done()

    def start(self, cause: Cause) -> None:
        """Begin its first life; how it fares is reported."""
        self._life = asyncio.get_running_loop().create_task(self._live(cause))

    async def stop(self, grace: float, cause: Cause = "stop", drain: float = 0.0) -> None:
        """SIGTERM, after `grace` seconds SIGKILL; returns when nothing of it is left.

        It may first take `drain` seconds to end what it is working on, with no new connections.
        With the cause `restart` no `stopped` is reported: its successor speaks next. The last cause given counts.
        """
        self.stop_cause = cause
        if self.over:
            if cause == "stop" and self.state.status != "stopped":
                self._finish()
            return
        if not self._stopping.is_set():
            self._grace, self._drain = grace, drain if self._obeys else 0.0
            self._change("stopping", cause)
            self._stopping.set()
        elif grace <= 0 and self._running is not None:
            self._running.signal(signal.SIGKILL)
        assert self._life is not None
        await asyncio.wait([self._life])

    def step_aside(self) -> bool:
        """Take no more connections, for a successor on the same socket; whether it could be told to."""
        self._aside = self._obeys
        if self._aside and self._running is not None:
            self._running.signal(signal.SIGUSR1)
        return self._aside

    def come_back(self) -> None:
        """Take connections again: there is no successor."""
        if self._aside and self._obeys and self._running is not None:
            self._running.signal(signal.SIGUSR2)
        self._aside = False

    def entrust(self, means: Means) -> None:
        """Be looked after by other means from now on."""
        self._means = means

    @property
    def _obeys(self) -> bool:
        """Whether its process, which must run our code for that, is far enough to hear signals."""
        return self.state.status in ("healthy", "busy") and not self.order.foreign

    def renew(self, tokens: dict[str, str]) -> None:
        """Use these tokens when it has to be started again."""
        self.order = replace(self.order, spec=replace(self.order.spec, tokens=tokens))

    # -- its lives

    async def _live(self, cause: Cause) -> None:
        try:
            while not self._stopping.is_set():
                ended = await self._one_life(cause)
                wait = self._consequence(ended)
                if wait is None:
                    break
                await self._unless_stopped(asyncio.sleep(wait))
                cause = "restart"
        except Exception as error:
            _log.exception("looking after %s failed", self.order.id)
            self._change("failed", "spawn_failed", details={"error": f"internal error: {error!r}; see host.log"})
        if self._stopping.is_set():
            self._finish()

    def _finish(self) -> None:
        """It was stopped, whatever it was in the middle of."""
        self._means.ports.shut(self.order.id)
        if self.stop_cause == "stop":
            self._change("stopped", "stop", pid=None)

    def _consequence(self, ended: ExitInfo | None) -> float | None:
        """What follows from the end of a life: seconds until the next, or None."""
        if ended is None:
            return None
        found: dict[str, Any] = {
            "pid": None,
            "last_exit": ended,
            "tail": tail(Path(self.order.log_file), self._log_start),
        }
        if self._stopping.is_set():
            self.state = replace(self.state, **found)
            return None
        cause = cast(Cause, "exited" if ended.reason == "signal" else ended.reason)
        clean = ended.reason == "exited" and ended.code == 0
        # What doesn't come up at all is not going to by trying; a crash may have come from outside.
        hopeless = not self._been_ready and ended.reason != "signal"
        wait = None if hopeless else self._backoff.wait(clean=clean)
        if wait is None or wait > _PATIENCE:
            self._means.ports.shut(self.order.id)
        if wait is not None:
            found["details"] = {**self.state.details, "retry_s": round(wait, 3)}
            self._change("backing_off", cause, **found)
        elif hopeless or not self._backoff.wanted(clean=clean):
            self._change("stopped" if clean and not hopeless else "failed", cause, **found)
        else:
            self._change("failed", "gave_up", **found)
        return wait

    async def _one_life(self, cause: Cause) -> ExitInfo | None:
        """From the start to its end, with nothing left of it; None when it was stopped before."""
        first = self.order.spec.incarnation if cause == "launched" else ""
        family = self._means.launcher.family(self.order, first or secrets.token_hex(4))
        self._means.trees.add(family)
        self._verdict = None
        try:
            started = await self._launch(family, cause)
        except (OSError, HostError) as error:
            _log.error("can't start %s: %s", self.order.id, error)
            self.state = replace(self.state, details={"error": str(error)})
            await self._means.trees.clean(family)
            return ExitInfo(None, None, "spawn_failed", time.time_ns())
        if not started:
            await self._means.trees.clean(family)
            return None
        try:
            await self._look_after(family)
        finally:
            ended = await self._end(family)
        return ended

    async def _launch(self, family: Family, cause: Cause) -> bool:
        """Start its process; False when it was stopped before. Raises OSError or HostError."""
        for attempt in range(_TRIES):
            if not await self._unless_stopped(self._means.launcher.prepared(self.order)):
                return False
            try:
                await self._start_process(family, cause)
                break
            except ZygoteLost:
                if attempt == _TRIES - 1:
                    raise
        return True

    async def _start_process(self, family: Family, cause: Cause) -> None:
        launched_ns = time.time_ns()
        self._aside = False
        order, ports = self.order, self._means.ports
        if order.foreign:
            # It binds the port itself, beside our socket (both with SO_REUSEADDR), which keeps others away from it.
            ports.shut(order.id)
        else:
            ports.open(order.id)
        log, self._log_start = open_log(Path(order.log_file))
        try:
            if order.foreign:
                launched = self._means.launcher.start_command(order, family, ports.port(order.id), log)
            else:
                launched = await self._means.launcher.start(order, family, ports.listener(order.id), log)
        finally:
            os.close(log)
        self._running = launched.running
        details: dict[str, Any] = {"spawn": launched.way}
        if nice := niceness(order.cpu):
            details["nice"] = nice
        known: dict[str, Any] = {
            "pid": launched.running.pid,
            "incarnation": family.mark.rpartition(":")[2],
            "launched_ns": launched_ns,
            "ready_ns": None,
            "restarts": self.state.restarts + (self.state.incarnation != ""),
            "tail": (),
            "details": details,
        }
        if self._stopping.is_set():
            self.state = replace(self.state, **known)
        else:
            self._change("starting", cause, **known)

    async def _look_after(self, family: Family) -> None:
        """Until it has ended, or is to end: by order, or by our verdict."""
        order, port = self.order, self._means.ports.port(self.order.id)
        (question,) = await self._race(checks.ready(port, foreign=order.foreign), timeout=order.timeout)
        if self._ending():
            return
        problem = f"not ready after {order.timeout:g} s" if question.cancelled() else question.result()
        if problem is not None:
            self._verdict = "not_ready"
            self.state = replace(self.state, details={**self.state.details, "error": problem})
            return
        self._been_ready = True
        self._backoff.healthy()
        self._means.trees.settled()
        self._change("healthy", "ready", ready_ns=time.time_ns())
        watches: dict[Cause, Coroutine[Any, Any, None]] = {}
        if order.health.enabled:
            watches["hung"] = until_hung(order, port, family, self._means.trees, self._busy, lambda: self._aside)
        if order.memory is not None:
            watches["memory_limit"] = until_over_memory(family, self._means.trees, order.memory)
        tasks = await self._race(*watches.values())
        if self._ending():
            return
        for cause, task in zip(watches, tasks, strict=True):
            if not task.cancelled():
                task.result()
                self._verdict = cause
                self._change("unhealthy", cause)
                return

    def _busy(self, busy: bool) -> None:
        if busy:
            self._change("busy", "busy")
        else:
            self._change("healthy", "recovered")

    async def _end(self, family: Family) -> ExitInfo:
        """Make sure that it has ended, and everything it had started with it."""
        running = self._running
        assert running is not None
        if not running.ended.done():
            self._means.trees.note(family)
            if self._verdict is None:
                await self._terminate(running)
            running.signal(signal.SIGKILL)
            await asyncio.wait([running.ended], timeout=_UNKILLABLE)
        await self._means.trees.clean(family)
        self._running = None
        running.close()
        if not running.ended.done():
            _log.error("%s (pid %d) can't be killed", self.order.id, running.pid)
            return ExitInfo(None, None, self._verdict or "stop", time.time_ns())
        code = running.ended.result()
        reason = self._verdict or ("stop" if self._stopping.is_set() else "signal" if code < 0 else "exited")
        return ExitInfo(code if code >= 0 else None, -code if code < 0 else None, reason, time.time_ns())

    async def _terminate(self, running: Running) -> None:
        """Ask it to end, and give it the time it was granted; one that is stopped can't hear us."""
        process = read(running.pid)
        if process is not None and process.state not in "Tt" and self._grace > 0:
            if self._drain > 0:
                running.signal(signal.SIGHUP)
                await asyncio.wait([running.ended], timeout=self._drain)
            running.signal(signal.SIGTERM)
            await asyncio.wait([running.ended], timeout=self._grace)

    # -- waiting

    def _ending(self) -> bool:
        return self._stopping.is_set() or self._running is None or self._running.ended.done()

    async def _race(
        self,
        *watches: Coroutine[Any, Any, T],
        timeout: float | None = None,  # noqa: ASYNC109 - not a deadline
    ) -> list[asyncio.Task[T]]:
        """Run these until one is done, the process has ended, or is to stop. Those not done are cancelled."""
        assert self._running is not None
        tasks = [asyncio.ensure_future(watch) for watch in watches]
        stop = asyncio.ensure_future(self._stopping.wait())
        try:
            waited: list[asyncio.Future[Any]] = [self._running.ended, stop, *tasks]
            await asyncio.wait(waited, timeout=timeout, return_when=asyncio.FIRST_COMPLETED)
        finally:
            await _cancel(stop, *tasks)
        return tasks

    async def _unless_stopped(self, work: Coroutine[Any, Any, None]) -> bool:
        """Wait for `work`, but not beyond an order to stop; whether it came to its end. Raises what it raises."""
        task = asyncio.ensure_future(work)
        stop = asyncio.ensure_future(self._stopping.wait())
        try:
            await asyncio.wait([task, stop], return_when=asyncio.FIRST_COMPLETED)
        finally:
            await _cancel(stop, task)
        if not task.cancelled():
            task.result()
        return not self._stopping.is_set()

    def _change(self, status: Status, cause: Cause, **values: Any) -> None:
        self.state = replace(self.state, status=status, changed_ns=time.time_ns(), **values)
        self._means.report(self.state, cause)


async def _cancel(*tasks: asyncio.Task[Any]) -> None:
    for task in tasks:
        task.cancel()
    await asyncio.wait(tasks)

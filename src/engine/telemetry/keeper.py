"""Everything that is done with stored spans: the store, trace files, retention, forwarding, metrics.

One per home writes spans.db: in the engine, or in a collector process that the engine asks over HTTP.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Iterable, Mapping
from typing import Any, Protocol

from teamwright import __version__
from teamwright.engine.liveness import Incarnation
from teamwright.engine.telemetry.receivers import Receivers
from teamwright.errors import UserError
from teamwright.home import Home
from teamwright.settings import TRACE_DAYS, TRACE_SIZE, Setting, number
from teamwright.tracing import vocabulary as v
from teamwright.tracing.forwarding.endpoints import Endpoint, endpoints
from teamwright.tracing.forwarding.forward import Forwarding
from teamwright.tracing.metrics import otlp as metrics_otlp
from teamwright.tracing.metrics import text as metrics_text
from teamwright.tracing.metrics.counts import Metrics
from teamwright.tracing.metrics.instruments import ENDPOINT, Gauge
from teamwright.tracing.reading.reader import SpanReader
from teamwright.tracing.reading.trace_file import TraceFiles, size_of
from teamwright.tracing.shipping.spool import SpoolName
from teamwright.tracing.storing.parts import Parts, content_dir
from teamwright.tracing.storing.retention import Retention
from teamwright.tracing.storing.shedding import Shedding, shedding
from teamwright.tracing.storing.store import SpanStore

log = logging.getLogger("teamwright.spans")

#: Seconds that what is sent on may take when the process ends; what is left stays in the spools.
_LAST_SPANS = 2.0
#: Seconds between two looks for traces to delete; the first comes after one of them too.
_RETENTION_PAUSE = 600.0
#: The first look comes early: many engines live for a few queries only.
_RETENTION_FIRST = 2.0
#: Seconds for which a large text may be ahead of the span that refers to it.
_FRESH = 3600.0
#: Seconds between two looks at the room on the disk.
_ROOM_PAUSE = 0.5
NO_LIMIT = Retention()


def retention(environ: Mapping[str, str], days: Setting = TRACE_DAYS, size: Setting = TRACE_SIZE) -> Retention:
    """How long traces, or what else those settings are about, are kept. Raises UserError."""
    return Retention(age=number(days, environ) * 86_400 or None, size=int(number(size, environ) * (1 << 20)) or None)


def forward_to(environ: Mapping[str, str]) -> tuple[Endpoint, ...]:
    """Where spans are sent on to; nowhere, and the log says so, when that isn't plain."""
    try:
        return tuple(endpoints(environ))
    except UserError as error:
        log.error("spans are not sent on: %s", error.message)
        return ()


class Keeper(Protocol):
    """What the engine asks of whoever keeps the spans. Each call may raise TeamwrightError or OSError."""

    async def drain(self, but: SpoolName) -> int:
        """Take in what lies in all spools, `but` that one; how many records that were."""

    async def bury(self, name: SpoolName, reason: str) -> None:
        """A process has ended: take in its spool, delete it, close its open spans."""

    async def empty(self, name: SpoolName) -> None:
        """Take in the spool of a process that has ended and delete it; its open spans stay open."""

    async def close_open(self, name: SpoolName) -> None:
        """Close the open spans of a process that has ended."""

    async def open_processes(self) -> list[SpoolName]:
        """The processes that have open spans."""

    async def metrics(self) -> str:
        """What the spans say, as Prometheus text."""

    async def forward(self, endpoints: list[dict[str, Any]]) -> list[dict[str, Any]]:
        """Send spans to these receivers too; how all of them fare. Raises UserError for what is none."""

    async def send_metrics(self, gauges: list[Gauge]) -> None:
        """Send what the spans say, and these gauges of the engine, to the receivers that take metrics."""


class LocalKeeper:
    """The keeper itself. Build it in its loop, then `start()`."""

    def __init__(
        self, home: Home, retention: Retention = NO_LIMIT, forward_to: Iterable[Endpoint] = (), *, guard: Incarnation
    ) -> None:
        self._home = home
        self._retention = retention
        self.store = SpanStore(home.spans_db)
        self._receivers = Receivers(home.path / "forward" / "receivers.json", guard, forward_to)
        self.forwarding = Forwarding(self._receivers.known.values(), home.path / "forward")
        self.store.listen_to_spans(self.forwarding.take)
        self._metrics = Metrics()
        self.store.listen_to_spans(self._metrics.take)
        self._files = TraceFiles(self.store, home.trace_file)
        self._tasks: list[asyncio.Task[None]] = []

    def start(self) -> None:
        """Begin to write trace files, send on and expire."""
        self._files.start()
        self.forwarding.start()
        self._tasks = [
            asyncio.create_task(self._expire(), name="retention"),
            asyncio.create_task(self._watch_room(), name="room"),
        ]

    async def aclose(self) -> None:
        """Write what is due, and close the store."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await self._files.aclose()
        await self.forwarding.aclose(_LAST_SPANS)
        self.store.close()

    async def drain(self, but: SpoolName) -> int:
        drained = await asyncio.to_thread(self.store.drain, self._home.spool_dir, which=lambda name: name != but)
        return drained.records

    async def bury(self, name: SpoolName, reason: str) -> None:
        await asyncio.to_thread(self.store.bury, self._home.spool_dir, name, reason)

    async def empty(self, name: SpoolName) -> None:
        await asyncio.to_thread(self.store.drain, self._home.spool_dir, which=lambda other: other == name, remove=True)

    async def close_open(self, name: SpoolName) -> None:
        await asyncio.wrap_future(self.store.close_open(name))

    async def open_processes(self) -> list[SpoolName]:
        return await asyncio.to_thread(self.store.open_processes)

    async def metrics(self) -> str:
        return metrics_text.page(self._metrics) + metrics_text.gauges(await self._gauges())

    async def forward(self, endpoints: list[dict[str, Any]]) -> list[dict[str, Any]]:
        wanted = [Endpoint.from_dict(one) for one in endpoints]
        for endpoint in wanted:
            if endpoint.tls:
                endpoint.authorities()
        for endpoint in wanted:
            self._receivers.add(endpoint)
            await self.forwarding.add(endpoint)
        return [line.view() for line in self.forwarding.lines]

    async def send_metrics(self, gauges: list[Gauge]) -> None:
        if self.forwarding.lines:
            whose = {v.SERVICE_NAME: "engine", v.SERVICE_VERSION: __version__}
            values = [*gauges, *await self._gauges()]
            await self.forwarding.send_metrics(metrics_otlp.request(self._metrics, values, whose))

    async def _gauges(self) -> list[Gauge]:
        room = await asyncio.to_thread(self._shedding)
        found = [
            Gauge("teamwright.shedding", {}, float(room.shedding)),
            Gauge("teamwright.dropped_spans", {}, float(room.dropped_spans)),
            Gauge("teamwright.disk.free", {}, float(room.free)),
            Gauge("teamwright.spans.waiting", {}, float(self.store.waiting)),
        ]
        for line in self.forwarding.lines:
            view, where = line.view(), {ENDPOINT: line.endpoint.key}
            lost = view["dropped_spans"] + view["refused_spans"] + self.forwarding.dropped
            found += [
                Gauge("teamwright.forward.waiting", where, float(view["waiting_bytes"])),
                Gauge("teamwright.forward.dropped", where, float(lost)),
            ]
        return found

    def _shedding(self) -> Shedding:
        return shedding(self.store.path, self._home.spool_dir)

    async def _watch_room(self) -> None:
        scarce = False
        while True:
            if self.store.room.scarce() != scarce:
                scarce = not scarce
                if scarce:
                    log.warning("traces are dropped from now on: %s", self.store.room)
                else:
                    found = await asyncio.to_thread(self._shedding)
                    log.warning("there is room for traces again; %d spans were dropped in all", found.dropped_spans)
            await asyncio.sleep(_ROOM_PAUSE)

    async def _expire(self) -> None:
        pause = _RETENTION_FIRST
        while True:
            await asyncio.sleep(pause)
            pause = _RETENTION_PAUSE
            try:
                await asyncio.to_thread(self.expire)
            except Exception:
                log.exception("old traces could not be deleted")

    def expire(self) -> int:
        """Delete the traces that are to be kept no longer, and their files; how many. Blocks."""

        def forget(job: str, trace: str) -> int:
            file = self._home.trace_file(job or "unknown", trace)
            try:
                size = file.stat().st_size
                file.unlink()
            except OSError:
                return 0
            return size

        beside = sum(size_of(folder) for folder in (self._home.path / "jobs").glob("*/traces"))
        gone = self.store.expire(self._retention, beside=beside, forget=forget)
        if gone:
            log.info("%d old traces deleted", len(gone))
        self._expire_parts()
        return len(gone)

    def _expire_parts(self) -> None:
        """Delete the files of large texts that no trace refers to any more, and the oldest of too many."""
        parts = Parts(content_dir(self._home.spool_dir))
        with SpanReader(self._home.spans_db) as reader:
            oldest, kept = reader.parts_in_use()
        # What a trace refers to was written when the trace had begun, or written again.
        before = time.time() - _FRESH if oldest is None else min(oldest / 1e9, time.time() - _FRESH)
        parts.remove(before=before, but=kept)
        if self._retention.size is not None:
            parts.shrink(self._retention.size, but=kept)

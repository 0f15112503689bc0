"""The engine's part of tracing: the store, its own spool and tracers, the spools of processes that have ended."""

from __future__ import annotations

import asyncio
import logging
import secrets
from collections.abc import Collection, Iterable

from teamwright.engine.records import JobRecord
from teamwright.home import Home
from teamwright.tracing.content import Content
from teamwright.tracing.endpoints import Endpoint
from teamwright.tracing.exporter import LocalShipper
from teamwright.tracing.forward import Forwarding
from teamwright.tracing.metrics import Metrics
from teamwright.tracing.retention import Retention
from teamwright.tracing.spool import Spool, SpoolName, spools
from teamwright.tracing.store import SpanStore
from teamwright.tracing.trace_file import TraceFiles
from teamwright.tracing.tracer import Tracer

log = logging.getLogger("teamwright.engine")

SERVICE = "engine"
#: Seconds that the last spans may take to the store when the engine ends; what is left stays in the spool.
_LAST_SPANS = 2.0
#: Seconds between two looks for traces to delete; the first comes after one of them too.
_RETENTION_PAUSE = 600.0
_NO_LIMIT = Retention()


class Spans:
    """Everything about spans that the engine owns. Build it in the engine's loop, then `start()`."""

    def __init__(self, home: Home, retention: Retention = _NO_LIMIT, forward_to: Iterable[Endpoint] = ()) -> None:
        self._home = home
        self.incarnation = secrets.token_hex(4)
        self.store = SpanStore(home.spans_db)
        self._spool = Spool.create(home.spool_dir, "", SERVICE, self.incarnation)
        self._shipper = LocalShipper(self._spool, self.store)
        self.forwarding = Forwarding(forward_to, home.path / "forward")
        self.store.listen_to_spans(self.forwarding.take)
        self.metrics = Metrics()
        self.store.listen_to_spans(self.metrics.take)
        self._files = TraceFiles(self.store, home.trace_file)
        self._tracers: dict[tuple[Content, bool], Tracer] = {}
        self._burials: asyncio.Queue[tuple[SpoolName, str]] = asyncio.Queue()
        self._tasks: list[asyncio.Task[None]] = []
        self._retention = retention

    def start(self) -> None:
        """Begin to ship, bury and write trace files."""
        self._shipper.start()
        self._files.start()
        self.forwarding.start()
        self._tasks = [
            asyncio.create_task(self._bury(), name="burials"),
            asyncio.create_task(self._expire(), name="retention"),
        ]

    async def aclose(self) -> None:
        """Ship what is there and close the store; what doesn't get there in time waits in the spools."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await self._shipper.aclose(_LAST_SPANS)
        await self._files.aclose()
        await self.forwarding.aclose(_LAST_SPANS)
        self._spool.close(remove=True)
        self.store.close()

    def tracer(self, job: JobRecord) -> Tracer:
        """What the engine's own spans of a job are made with."""
        key = (job.plan.content, job.plan.tracing)
        tracer = self._tracers.get(key)
        if tracer is None:
            content, enabled = key
            tracer = Tracer(SERVICE, None, self.incarnation, self._spool, content=content, enabled=enabled)
            tracer.processor.on_activity = self._shipper.wake
            self._tracers[key] = tracer
        return tracer

    def died(self, job: str, agent: str, incarnation: str, reason: str) -> None:
        """A process has ended: its spool goes into the store, its open spans are closed."""
        self._burials.put_nowait((SpoolName(job, agent, incarnation), reason))

    async def drain(self) -> int:
        """Take in everything that lies in any spool now; how many records that were."""
        await self._shipper.flush()
        drained = await asyncio.to_thread(
            self.store.drain, self._home.spool_dir, which=lambda name: not self._own(name)
        )
        return drained.records

    def lying_about(self) -> list[SpoolName]:
        """The spools that are there now, our own left out."""
        return [name for _, name in spools(self._home.spool_dir) if not self._own(name)]

    async def tidy(self, found: Iterable[SpoolName], living: Collection[SpoolName] = ()) -> None:
        """Take in those of the spools `found` whose processes have ended; those of `living` ones stay.

        `found` must have been listed before any of our agents could have been started that is not in `living`.
        What former engines left open is left so: their queries may still be followed.
        """
        for name in found:
            if name in living:
                continue
            if self._engine(name):
                await asyncio.to_thread(self._empty, name)
            else:
                self.died(name.namespace, name.service, name.incarnation, "process_lost")

    async def close_former(self) -> None:
        """Close what former engines have left open."""
        for name in await asyncio.to_thread(self.store.open_processes):
            if self._engine(name) and not self._own(name):
                await asyncio.wrap_future(self.store.close_open(name))

    def _empty(self, name: SpoolName) -> None:
        self.store.drain(self._home.spool_dir, which=lambda other: other == name, remove=True)

    def _own(self, name: SpoolName) -> bool:
        return self._engine(name) and name.incarnation == self.incarnation

    @staticmethod
    def _engine(name: SpoolName) -> bool:
        return name.service == SERVICE and not name.namespace

    async def _bury(self) -> None:
        while True:
            name, reason = await self._burials.get()
            try:
                await asyncio.to_thread(self.store.bury, self._home.spool_dir, name, reason)
            except Exception:
                log.exception("the spool of %s could not be taken in", name.text)

    async def _expire(self) -> None:
        while True:
            await asyncio.sleep(_RETENTION_PAUSE)
            try:
                await asyncio.to_thread(self.expire)
            except Exception:
                log.exception("old traces could not be deleted")

    def expire(self) -> int:
        """Delete the traces that are to be kept no longer, and their files; how many. Blocks."""
        gone = self.store.expire(self._retention)
        for job, trace in gone:
            self._home.trace_file(job or "unknown", trace).unlink(missing_ok=True)
        if gone:
            log.info("%d old traces deleted", len(gone))
        return len(gone)

"""The engine's part of tracing: its own spool and tracers, and the spools of processes that have ended."""

from __future__ import annotations

import asyncio
import logging
import secrets
import sqlite3
from collections.abc import Callable, Collection, Iterable

import httpx
from starlette.routing import Route

from teamwright.engine.liveness import Incarnation
from teamwright.engine.store.records import JobRecord
from teamwright.engine.telemetry.keeper import NO_LIMIT, Keeper, LocalKeeper
from teamwright.engine.telemetry.keeper_client import RemoteKeeper, relay
from teamwright.errors import TeamwrightError
from teamwright.home import Home
from teamwright.tracing.content import Content
from teamwright.tracing.forwarding.endpoints import Endpoint
from teamwright.tracing.redaction import Rule
from teamwright.tracing.shipping.exporter import Exporter, LocalShipper, Shipper
from teamwright.tracing.shipping.spool import Spool, SpoolName, spools
from teamwright.tracing.storing import collector
from teamwright.tracing.storing.parts import Parts, content_dir
from teamwright.tracing.storing.retention import Retention
from teamwright.tracing.tracer import Tracer

log = logging.getLogger("teamwright.engine")

SERVICE = "engine"
#: Seconds that the last spans may take to the store when the engine ends; what is left stays in the spool.
_LAST_SPANS = 2.0
#: Seconds until a burial that failed is tried again.
_AGAIN = 5.0


class Spans:
    """Everything about spans that the engine owns. Build it in the engine's loop, then `start()`.

    With the url of a `collector` process that one keeps them, and `token` is what it is shown; else this process does.
    """

    def __init__(
        self,
        home: Home,
        retention: Retention = NO_LIMIT,
        forward_to: Iterable[Endpoint] = (),
        *,
        guard: Incarnation,
        collector_url: str | None = None,
        token: Callable[[], str] = lambda: "",
    ) -> None:
        self._home = home
        self.incarnation = secrets.token_hex(4)
        self._spool = Spool.create(home.spool_dir, "", SERVICE, self.incarnation)
        self._local: LocalKeeper | None = None
        self._client: httpx.AsyncClient | None = None
        self._collector_url = collector_url
        self.keeper: Keeper
        self._shipper: Shipper
        if collector_url is None:
            self.keeper = self._local = LocalKeeper(home, retention, forward_to, guard=guard)
            self._shipper = LocalShipper(self._spool, self._local.store)
        else:
            self._client = httpx.AsyncClient(trust_env=False, verify=False)
            self.keeper = RemoteKeeper(collector_url, token, self._client)
            self._shipper = Exporter(self._spool, collector_url, token, delay=0.05)
        self._tracers: dict[tuple[Content, bool, tuple[Rule, ...]], Tracer] = {}
        self._burials: asyncio.Queue[tuple[SpoolName, str]] = asyncio.Queue()
        self._tasks: list[asyncio.Task[None]] = []

    @property
    def local(self) -> LocalKeeper:
        """The keeper in this process, where there is one."""
        assert self._local is not None
        return self._local

    def routes(self, writer: collector.Authorize) -> list[Route]:
        """Where spans come in; `writer` says whose a request may bring."""
        if self._collector_url is not None and self._client is not None:
            return relay(self._collector_url, self._client)
        return collector.routes(self.local.store, writer)

    def start(self) -> None:
        """Begin to ship and to bury, and what else there is to keep."""
        self._shipper.start()
        if self._local is not None:
            self._local.start()
        self._tasks = [asyncio.create_task(self._bury(), name="burials")]

    async def aclose(self) -> None:
        """Ship what is there and close the store; what doesn't get there in time waits in the spools."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await self._shipper.aclose(_LAST_SPANS)
        self._spool.close(remove=True)
        if self._local is not None:
            await self._local.aclose()
        if self._client is not None:
            await self._client.aclose()

    def tracer(self, job: JobRecord) -> Tracer:
        """What the engine's own spans of a job are made with."""
        key = (job.plan.content, job.plan.tracing, job.plan.redact)
        tracer = self._tracers.get(key)
        if tracer is None:
            content, enabled, rules = key
            tracer = Tracer(
                SERVICE,
                None,
                self.incarnation,
                self._spool,
                content=content,
                rules=rules,
                files=Parts(content_dir(self._home.spool_dir)),
                enabled=enabled,
            )
            tracer.processor.on_activity = self._shipper.wake
            self._tracers[key] = tracer
        return tracer

    def died(self, job: str, agent: str, incarnation: str, reason: str) -> None:
        """A process has ended: its spool goes into the store, its open spans are closed."""
        self._burials.put_nowait((SpoolName(job, agent, incarnation), reason))

    async def drain(self) -> int:
        """Take in everything that lies in any spool now; how many records that were, 0 when that can't be done now."""
        await self._shipper.flush()
        try:
            return await self.keeper.drain(self._name)
        except (TeamwrightError, OSError, sqlite3.Error) as error:
            log.warning("the spools could not be taken in: %s", error)
            return 0

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
                await self.keeper.empty(name)
            else:
                self.died(name.namespace, name.service, name.incarnation, "process_lost")

    async def close_former(self) -> None:
        """Close what former engines have left open."""
        for name in await self.keeper.open_processes():
            if self._engine(name) and not self._own(name):
                await self.keeper.close_open(name)

    @property
    def _name(self) -> SpoolName:
        return SpoolName("", SERVICE, self.incarnation)

    def _own(self, name: SpoolName) -> bool:
        return name == self._name

    @staticmethod
    def _engine(name: SpoolName) -> bool:
        return name.service == SERVICE and not name.namespace

    async def _bury(self) -> None:
        while True:
            name, reason = await self._burials.get()
            while True:
                try:
                    await self.keeper.bury(name, reason)
                    break
                except (TeamwrightError, OSError, sqlite3.Error) as error:
                    log.warning("the spool of %s could not be taken in yet: %s", name.text, error)
                except Exception:
                    log.exception("the spool of %s could not be taken in", name.text)
                    break
                await asyncio.sleep(_AGAIN)

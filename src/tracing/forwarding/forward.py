"""Sends what is stored on to OTLP receivers outside: each has its own queue, spool and retries, none holds up ingest.

Real and synthetic ends are sent, once each, in batches; started records stay here. Counts and histograms go the same
way now and then, to receivers that take them.
"""

from __future__ import annotations

import asyncio
import logging
import threading
import time
from collections import deque
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from teamwright.errors import SpoolFull
from teamwright.tracing.forwarding.endpoints import Endpoint
from teamwright.tracing.forwarding.outlet import Outlet, open_outlet, refusals
from teamwright.tracing.forwarding.outward import encode
from teamwright.tracing.shipping.exporter import Later, Shipper, Unwanted
from teamwright.tracing.shipping.spool import Spool
from teamwright.tracing.storing.rows import Row

log = logging.getLogger(__name__)

QUEUE_SPANS = 20_000
SPOOL_LIMIT = 256 << 20
BATCH_SPANS = 256
_SECONDS = 30.0
_METRICS_SECONDS = 5.0
#: Seconds between two looks at the same trouble in the log.
_SAY_AGAIN = 600.0


class Forwarding:
    """All endpoints of a home. Build it in the engine's loop; give `take` to the store; `start()`.

    Between `take` and the spool rows are in memory: those of the last moments are lost when the engine is killed.
    """

    def __init__(self, wanted: Iterable[Endpoint], folder: Path) -> None:
        self._folder = folder
        self.lines = [Line(endpoint, folder) for endpoint in wanted]
        self._rows: deque[Row] = deque()
        self._spooling = threading.Lock()
        self._news = asyncio.Event()
        self._loop = asyncio.get_running_loop()
        self._task: asyncio.Task[None] | None = None
        self.dropped = 0

    def take(self, rows: Sequence[Row]) -> None:
        """These have been committed. From the store's thread; never waits."""
        if not self.lines or self._loop.is_closed():
            return
        room = QUEUE_SPANS - len(self._rows)
        ended = [row for row in rows if row.state]
        self._rows.extend(ended[:room])
        self.dropped += max(0, len(ended) - room)
        self._loop.call_soon_threadsafe(self._news.set)

    def start(self) -> None:
        for line in self.lines:
            line.start()
        self._task = asyncio.create_task(self._run(), name="forwarding")

    async def add(self, endpoint: Endpoint) -> None:
        """Send there too, from now on; what is known of the same URL is replaced."""
        for line in self.lines:
            if line.endpoint.key == endpoint.key:
                await line.renew(endpoint)
                return
        made = Line(endpoint, self._folder)
        if self._task is not None:
            made.start()
        self.lines.append(made)

    async def aclose(self, within: float = 2.0) -> None:
        """What can't be sent within so many seconds waits in the spools."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)
        await asyncio.to_thread(self._spool)
        await asyncio.gather(*(line.aclose(within) for line in self.lines))

    async def _run(self) -> None:
        while True:
            await self._news.wait()
            self._news.clear()
            try:
                await asyncio.to_thread(self._spool)
            except Exception:
                log.exception("spans could not be prepared for sending on")
            for line in self.lines:
                line.shipper.wake()

    def _spool(self) -> None:
        with self._spooling:
            while self._rows:
                rows = [self._rows.popleft() for _ in range(min(len(self._rows), BATCH_SPANS))]
                for line in list(self.lines):
                    line.put(rows)

    async def send_metrics(self, body: bytes) -> None:
        """An OTLP metrics request for all that take metrics; tried once, for the next one holds all of it again."""
        await asyncio.gather(*(line.send_metrics(body, _METRICS_SECONDS) for line in self.lines if line.measured))


class Line:
    """The way to one endpoint. `trouble` is why it gets nothing at present, None when it does."""

    def __init__(self, endpoint: Endpoint, folder: Path) -> None:
        self.endpoint = endpoint
        self.spool = Spool(folder / f"{endpoint.key}.spool")
        self.shipper = Shipper(self.spool, self._send)
        self._outlet: Outlet | None = None
        self._said = (0.0, "")
        self.measured = True
        self.trouble: str | None = None
        self.dropped = 0
        self.refused = 0

    def start(self) -> None:
        self.shipper.start()

    async def renew(self, endpoint: Endpoint) -> None:
        """Other headers, certificate or content for the same URL."""
        if endpoint != self.endpoint:
            self.endpoint = endpoint
            old, self._outlet = self._outlet, None
            if old is not None:
                await old.aclose()

    def put(self, rows: Sequence[Row]) -> None:
        """Into the spool; dropped and counted when that is full."""
        put = 0
        try:
            if self.spool.size > SPOOL_LIMIT:
                raise SpoolFull(f"{self.spool.path} holds {self.spool.size >> 20} MiB")
            for row in rows:
                # Each a record of its own, so that one that is refused takes no other with it.
                self.spool.append(encode([(row.data, row.origin)], content=self.endpoint.content))
                put += 1
        except SpoolFull as error:
            if not self.dropped:
                log.warning("spans for %s are dropped: %s", self.endpoint.key, error.message)
            self.dropped += len(rows) - put

    def view(self) -> dict[str, Any]:
        """As `engine status` shows it. Headers stay here: they are keys."""
        return {
            "url": self.endpoint.url,
            "content": self.endpoint.content,
            "waiting_bytes": self.spool.size - self.spool.acked,
            "dropped_spans": self.dropped,
            "refused_spans": self.refused + self.shipper.rejected,
            "trouble": self.trouble,
        }

    async def send_metrics(self, body: bytes, within: float) -> None:
        """Once; the next ones hold what these say. A receiver that has no place for metrics is left alone."""
        try:
            async with asyncio.timeout(within):
                await self._open().send("metrics", body)
        except Unwanted as error:
            self.measured = False
            log.info("%s takes no metrics: %s", self.endpoint.key, error)
        except (Later, TimeoutError) as error:
            log.debug("metrics for %s: %s", self.endpoint.key, error)

    async def aclose(self, within: float) -> None:
        await self.shipper.aclose(within if self.trouble is None else 0.0)  # nobody waits for who is away
        self.spool.close()
        if self._outlet is not None:
            await self._outlet.aclose()

    async def _send(self, body: bytes, started: bool) -> None:
        try:
            answer = await self._open().send("traces", body)
        except Later as error:
            self._say(str(error))
            raise
        except Unwanted as error:
            self._say(str(error))
            raise
        if self.trouble is not None:
            log.info("%s takes spans again", self.endpoint.key)
        self.trouble = None
        self._partly(answer)

    def _open(self) -> Outlet:
        if self._outlet is None:
            self._outlet = open_outlet(self.endpoint, _SECONDS)
        return self._outlet

    def _say(self, what: str) -> None:
        at, before = self._said
        now = time.monotonic()
        if what != before or now - at > _SAY_AGAIN:
            self._said = (now, what)
            log.warning("spans for %s wait: %s", self.endpoint.url, what)
        self.trouble = what

    def _partly(self, answer: bytes) -> None:
        refused, why = refusals(answer)
        if refused:
            self.refused += refused
            log.warning("%s refused %d spans: %s", self.endpoint.key, refused, why)

"""Ships what the spool holds: to the collector over HTTP, or, in the engine itself, straight to the store."""

from __future__ import annotations

import asyncio
import logging
import random
import time
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from teamwright.loopback import LoopbackError, Pool
from teamwright.tracing.shipping.spool import Record, Spool
from teamwright.tracing.storing.rows import BadSpans
from teamwright.tracing.storing.store import StoreBusy

if TYPE_CHECKING:
    from teamwright.tracing.shipping.processor import SpoolProcessor
    from teamwright.tracing.storing.store import SpanStore
    from teamwright.tracing.tracer import Tracer

log = logging.getLogger(__name__)

BATCH_SPANS = 256
BATCH_BYTES = 2 << 20
DELAY = 0.2
RESET_AT = 1 << 20
REQUEST_SECONDS = 35.0
_FIRST_PAUSE = 0.25
_LONGEST_PAUSE = 15.0
_READ_BYTES = 512 << 10


class Later(Exception):
    """The other side can't take it now; try again, after `seconds` if it said so."""

    def __init__(self, why: str, seconds: float | None = None) -> None:
        super().__init__(why)
        self.seconds = seconds


class Unwanted(Exception):
    """The other side will never take this."""


#: Sends OTLP bytes; returns when they are stored. `started`: of spans that run. Raises Later or Unwanted.
Send = Callable[[bytes, bool], Awaitable[None]]


class Shipper:
    """A task that follows the spool and sends what is new, in order, until each part is stored.

    Idle it costs nothing: the tracer wakes it. Spans that stay open longer than `delay` are announced.
    `sleep`, `jitter` and `now` are for tests.
    """

    def __init__(
        self,
        spool: Spool,
        send: Send,
        tracer: Tracer | None = None,
        *,
        delay: float = DELAY,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
        jitter: Callable[[], float] = random.random,
        now: Callable[[], int] = time.time_ns,
    ) -> None:
        self._spool = spool
        self._send = send
        self._processors: list[SpoolProcessor] = []
        self._delay = delay
        self._sleep = sleep
        self._jitter = jitter
        self._now = now
        self._task: asyncio.Task[None] | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._news = asyncio.Event()
        self._hurry = asyncio.Event()
        self._caught_up = asyncio.Event()
        self._awake = False
        self.shipped = 0
        self.rejected = 0
        if tracer is not None:
            self.watch(tracer)

    def start(self) -> None:
        """Begin, in the running loop."""
        self._loop = asyncio.get_running_loop()
        self._task = asyncio.create_task(self._run(), name="span exporter")
        self.wake()

    def watch(self, tracer: Tracer) -> None:
        """Be woken by this tracer, which writes to the same spool, and announce what it has long open."""
        self._processors.append(tracer.processor)
        tracer.processor.on_activity = self.wake

    def wake(self) -> None:
        """There is something new. From any thread; cheap when it is awake already."""
        if not self._awake and self._loop is not None:
            self._awake = True
            try:
                self._loop.call_soon_threadsafe(self._news.set)
            except RuntimeError:
                self._loop = None  # the loop is closed: what comes now stays in the spool

    async def flush(self, within: float = 5.0) -> bool:
        """Send everything now; whether it was stored within `within` seconds."""
        goal = self._spool.size
        if self._spool.acked >= goal:
            return True
        self._hurry.set()
        self._awake = False
        self.wake()
        try:
            async with asyncio.timeout(within):
                while self._spool.acked < goal and self._spool.size >= goal:
                    self._caught_up.clear()
                    await self._caught_up.wait()
        except TimeoutError:
            return False
        return True

    async def aclose(self, within: float = 2.0) -> bool:
        """Send what is left, as far as `within` seconds allow, and stop. What isn't sent stays in the spool."""
        sent = await self.flush(within) if self._task is not None and not self._task.done() else False
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)
        for processor in self._processors:
            processor.on_activity = None
        return sent

    async def _run(self) -> None:
        while True:
            await self._news.wait()
            self._news.clear()
            await self._pause(self._delay)
            # From here on, whoever writes wakes us again.
            self._awake = False
            for processor in self._processors:
                processor.announce_older(self._now() - int(self._delay * 1e9))
                processor.write_notes()
            try:
                await self._ship()
            except OSError as error:
                log.warning("the span spool can't be read: %s", error)
                await self._sleep(_LONGEST_PAUSE)
            self._spool.reset(RESET_AT)
            self._hurry.clear()
            self._caught_up.set()
            if any(processor.unannounced for processor in self._processors):
                self.wake()  # they come of age

    async def _pause(self, seconds: float) -> bool:
        """Sleep, unless somebody waits for a flush; whether somebody does."""
        if self._hurry.is_set():
            return True
        nap = asyncio.ensure_future(self._sleep(seconds))
        hurry = asyncio.ensure_future(self._hurry.wait())
        try:
            await asyncio.wait({nap, hurry}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for future in (nap, hurry):
                future.cancel()
            await asyncio.gather(nap, hurry, return_exceptions=True)
        return self._hurry.is_set()

    async def _ship(self) -> None:
        while records := _batch(self._spool.read_part(self._spool.acked, _READ_BYTES)):
            running = [record for record in records if record.kind == "started" and self._runs(record)]
            notes = [record for record in records if record.kind == "dropped"]
            ended = [record for record in records if record.kind == "ended"]
            for part, started in ((running, True), (ended + notes, False)):
                await self._deliver(part, started)
            self._spool.ack(records[-1].end)
            self.shipped += len(ended)

    async def _deliver(self, records: list[Record], started: bool) -> None:
        if not records:
            return
        pause = _FIRST_PAUSE
        while True:
            try:
                await self._send(b"".join(record.payload for record in records), started)
                return
            except Later as error:
                log.debug("spans wait: %s", error)
                wait = error.seconds if error.seconds is not None else pause
                self._hurry.clear()  # one try at once per flush; then the pauses count again
                hurried = await self._pause(min(wait, _LONGEST_PAUSE) * (1 + self._jitter() / 2))
                pause = _FIRST_PAUSE if hurried else min(pause * 2, _LONGEST_PAUSE)
            except Unwanted as error:
                if len(records) == 1:
                    self.rejected += 1
                    self._spool.lose()
                    if self.rejected == 1 or self.rejected % 1000 == 0:
                        log.warning("a span was refused for good (%d so far): %s", self.rejected, error)
                    return
                middle = len(records) // 2
                await self._deliver(records[:middle], started)
                await self._deliver(records[middle:], started)
                return

    def _runs(self, record: Record) -> bool:
        # Nobody needs to hear that a span has started when its end follows at once.
        watched = self._processors
        return not watched or any(processor.is_open_record(record.payload) for processor in watched)


class Exporter(Shipper):
    """Ships to `POST {url}/v1/traces` and `/v1/started`; `token` gives the bearer token for each request.

    `url` is the engine's or the collector's: plain HTTP on this machine.

    >>> exporter = Exporter(spool, spec.engine_url, lambda: tokens["engine"], tracer=tracer)
    >>> exporter.start()
    >>> await exporter.aclose()
    """

    def __init__(
        self,
        spool: Spool,
        url: str,
        token: Callable[[], str | None],
        *,
        tracer: Tracer | None = None,
        delay: float = DELAY,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
        jitter: Callable[[], float] = random.random,
    ) -> None:
        super().__init__(spool, self._post, tracer, delay=delay, sleep=sleep, jitter=jitter)
        parts = urlsplit(url.rstrip("/"))
        self._address = (parts.hostname or "127.0.0.1", parts.port or 80)
        self._path = parts.path
        self._token = token
        self._pool = Pool()

    async def aclose(self, within: float = 2.0) -> bool:
        try:
            return await super().aclose(within)
        finally:
            self._pool.close()
            await asyncio.sleep(0)

    async def _post(self, body: bytes, started: bool) -> None:
        headers = {"content-type": "application/x-protobuf"}
        if token := self._token():
            headers["authorization"] = f"Bearer {token}"
        path = f"{self._path}/v1/{'started' if started else 'traces'}"
        try:
            async with (
                asyncio.timeout(REQUEST_SECONDS),
                await self._pool.request("POST", self._address, path, headers, body) as response,
            ):
                answer = await response.read()
        except (LoopbackError, TimeoutError) as error:
            raise Later(f"{type(error).__name__}: {error}") from error
        if response.status in (400, 413, 415, 422):
            raise Unwanted(f"HTTP {response.status}: {answer[:300].decode(errors='replace')}")
        if not 200 <= response.status < 300:
            raise Later(f"HTTP {response.status}", _seconds(response.headers.get("retry-after")))


class LocalShipper(Shipper):
    """The engine's own spans: from its spool straight to the store."""

    def __init__(self, spool: Spool, store: SpanStore, tracer: Tracer | None = None, *, delay: float = 0.05) -> None:
        super().__init__(spool, self._store, tracer, delay=delay)
        self._spans = store

    async def _store(self, body: bytes, started: bool) -> None:
        try:
            await asyncio.wrap_future(self._spans.ingest(body, started=started))
        except StoreBusy as error:
            raise Later(error.message, error.retry_after) from error
        except BadSpans as error:
            raise Unwanted(str(error)) from error
        except Exception as error:  # the disk, mostly
            raise Later(f"{type(error).__name__}: {error}") from error


def _batch(records: list[Record]) -> list[Record]:
    size = 0
    for number, record in enumerate(records):
        size += len(record.payload)
        if number and (number >= BATCH_SPANS or size > BATCH_BYTES):
            return records[:number]
    return records


def _seconds(text: str | None) -> float | None:
    try:
        return max(0.0, float(text)) if text else None
    except ValueError:
        return None

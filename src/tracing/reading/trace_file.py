"""One file per trace: OTLP-JSON, written when the trace is finished, again if a late span comes."""

from __future__ import annotations

import asyncio
import json
import logging
import os
import sqlite3
from collections.abc import Awaitable, Callable
from contextlib import suppress
from errno import ENOSPC
from pathlib import Path
from typing import Any

from teamwright.errors import UnknownJob
from teamwright.tracing.reading.reader import SpanReader
from teamwright.tracing.storing.schema import finished
from teamwright.tracing.storing.store import SpanStore

log = logging.getLogger(__name__)

SETTLE = 2.0
_RETRY = 5.0
#: Files written in one go: one look into the store, one commit.
_AT_ONCE = 50

#: Where the file of a trace goes: job, trace id in hex.
PathFor = Callable[[str, str], Path]


class TraceFiles:
    """A task that writes the files. A trace is due `settle` seconds after its last span, if it has ended.

    >>> files = TraceFiles(store, home.trace_file)
    >>> files.start()

    What was due when an engine died is written by the next one. `sleep` is for tests.
    """

    def __init__(
        self,
        store: SpanStore,
        path_for: PathFor,
        *,
        settle: float = SETTLE,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        self._store = store
        self._path_for = path_for
        self._settle = settle
        self._sleep = sleep
        self._waiting: dict[bytes, asyncio.Task[None]] = {}
        self._loop: asyncio.AbstractEventLoop | None = None
        self._ready: list[bytes] = []
        self._turn = asyncio.Lock()
        self._written = asyncio.Condition()
        self.written = 0

    def start(self) -> None:
        """Begin, in the running loop."""
        self._loop = asyncio.get_running_loop()
        self._store.listen(self._changed)
        for trace in self._store.unfiled():
            self._due(trace)

    async def aclose(self) -> None:
        """Write at once what is still due, and stop."""
        self._loop = None
        due = [*self._ready, *self._waiting]
        await self._cancel()
        await self._write(due)

    async def wait_for(self, count: int) -> None:
        """Until `count` files have been written since the start."""
        async with self._written:
            await self._written.wait_for(lambda: self.written >= count)

    def _changed(self, traces: dict[bytes, dict[str, Any]]) -> None:
        loop = self._loop
        due = [trace for trace, summary in traces.items() if finished(summary)]
        if due and loop is not None:
            try:
                loop.call_soon_threadsafe(self._all_due, due)
            except RuntimeError:
                self._loop = None  # the loop is closed; the next engine finds them

    def _all_due(self, traces: list[bytes]) -> None:
        for trace in traces:
            self._due(trace)

    def _due(self, trace: bytes) -> None:
        if self._loop is None:
            return
        earlier = self._waiting.pop(trace, None)
        if earlier is not None:
            earlier.cancel()
        self._waiting[trace] = asyncio.create_task(self._later(trace), name=f"trace file {trace.hex()[:8]}")

    async def _later(self, trace: bytes) -> None:
        await self._sleep(self._settle)
        # Not to be cancelled by a late span now: that one makes a task of its own.
        self._waiting.pop(trace, None)
        self._ready.append(trace)
        async with self._turn:
            while part := self._ready[:_AT_ONCE]:
                if await self._write(part):
                    del self._ready[: len(part)]
                else:
                    await self._sleep(_RETRY)

    async def _write(self, traces: list[bytes]) -> bool:
        try:
            await asyncio.to_thread(self._write_files, traces)
        except (OSError, sqlite3.Error) as error:
            log.warning("the files of %d traces could not be written: %s", len(traces), error)
            return False
        except Exception:
            log.exception("the files of %d traces could not be written", len(traces))
            return True  # our fault: no reason to hold up the others
        self.written += len(traces)
        async with self._written:
            self._written.notify_all()
        return True

    def _write_files(self, traces: list[bytes]) -> None:
        if self._store.room.scarce():
            raise OSError(ENOSPC, str(self._store.room))
        done: list[tuple[bytes, int, int]] = []
        try:
            with SpanReader(self._store.path) as reader:
                for trace in traces:
                    try:
                        found = reader.show(trace.hex())
                    except UnknownJob:
                        continue  # kept no longer
                    summary = found.summary
                    if finished(summary):
                        write(self._path_for(summary["job"] or "unknown", trace.hex()), found.to_otlp())
                        done.append((trace, summary["spans"], summary["synthetic"]))
        finally:
            self._store.filed(done).result()

    async def _cancel(self) -> None:
        tasks = list(self._waiting.values())
        self._waiting.clear()
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


def size_of(folder: Path) -> int:
    """Bytes that the files in a folder of traces take."""
    with suppress(OSError), os.scandir(folder) as entries:
        return sum(entry.stat(follow_symlinks=False).st_size for entry in entries)
    return 0


def write(path: Path, content: dict[str, Any]) -> None:
    """Write JSON so that readers see the old file or the new one, never a part."""
    path.parent.mkdir(parents=True, exist_ok=True)
    draft = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        draft.write_text(json.dumps(content, ensure_ascii=False, separators=(",", ":")) + "\n")
        draft.chmod(0o600)
        draft.replace(path)
    finally:
        draft.unlink(missing_ok=True)

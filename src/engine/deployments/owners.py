"""Jobs that belong to a program, a notebook or a test: they are stopped when its process ends, however it ends."""

from __future__ import annotations

import asyncio
import logging
import os
from collections.abc import Awaitable, Callable, Collection
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, Protocol

from teamwright.engine.liveness import Incarnation
from teamwright.engine.store.records import JobRecord

log = logging.getLogger("teamwright.engine")


class Kept(Protocol):
    """What is needed of the engine's memory: an owner is found again by an engine that comes after."""

    @property
    def owners(self) -> dict[str, Incarnation]:
        """By job."""

    def set_owner(self, job: str, owner: Incarnation | None) -> None:
        """Keep it, or forget it."""

    def active(self) -> list[JobRecord]:
        """The jobs that have or should have processes."""


@dataclass(slots=True)
class _Watch:
    owner: Incarnation
    handle: int | None


class Owners:
    """Watches the processes that jobs belong to. `stop` ends a job whose owner is gone.

    >>> owners = Owners(state, jobs.stop_job)
    >>> owners.hold("team", Incarnation.of(pid))

    An owner that is gone already counts as one that goes now.
    """

    def __init__(self, kept: Kept, stop: Callable[[JobRecord], Awaitable[None]]) -> None:
        self._kept = kept
        self._stop = stop
        self._watched: dict[str, _Watch] = {}
        self._stopping: set[asyncio.Task[None]] = set()

    def hold(self, job: str, owner: Incarnation) -> None:
        """From now on the job ends with that process."""
        self._kept.set_owner(job, owner)
        self.sync()

    async def through(self, jobs: Collection[str], work: Awaitable[dict[str, Any]]) -> dict[str, Any]:
        """Do work that stops these jobs and starts them again: afterwards they belong to whom they did."""
        held = {job: owner for job, owner in self._kept.owners.items() if job in jobs}
        try:
            return await work
        finally:
            for job, owner in held.items():
                self.hold(job, owner)

    def sync(self) -> None:
        """Watch for the owners of the jobs that are active, and forget those of the others."""
        active = {job.name: job for job in self._kept.active()}
        for name in [name for name in self._kept.owners if name not in active]:
            self._drop(name)
            self._kept.set_owner(name, None)
        for name, owner in self._kept.owners.items():
            known = self._watched.get(name)
            if known is not None and known.owner == owner:
                continue
            self._drop(name)
            handle = _open(owner)
            self._watched[name] = _Watch(owner, handle)
            if handle is None:
                self._gone(name)
            else:
                asyncio.get_running_loop().add_reader(handle, self._gone, name)

    async def aclose(self) -> None:
        """Watch no longer; what is being stopped is left to whoever stops it."""
        for name in list(self._watched):
            self._drop(name)
        for task in self._stopping:
            task.cancel()
        await asyncio.gather(*self._stopping, return_exceptions=True)

    def _gone(self, name: str) -> None:
        watch = self._watched[name]
        self._unwatch(watch)
        task = asyncio.create_task(self._end(name, watch.owner), name=f"owner of {name} gone")
        self._stopping.add(task)
        task.add_done_callback(self._stopping.discard)

    async def _end(self, name: str, owner: Incarnation) -> None:
        job = next((job for job in self._kept.active() if job.name == name), None)
        if job is None or self._kept.owners.get(name) != owner:
            return
        log.info("%s is stopped: process %d, which it belonged to, has ended", name, owner.pid)
        await self._stop(job)

    def _drop(self, name: str) -> None:
        if (watch := self._watched.pop(name, None)) is not None:
            self._unwatch(watch)

    def _unwatch(self, watch: _Watch) -> None:
        if watch.handle is not None:
            asyncio.get_running_loop().remove_reader(watch.handle)
            os.close(watch.handle)
            watch.handle = None


def _open(owner: Incarnation) -> int | None:
    """A descriptor that becomes readable when the process ends; None when it has ended."""
    try:
        handle = os.pidfd_open(owner.pid)
    except OSError:
        return None
    if owner.alive:  # looked at after the opening: the descriptor is of this very process
        return handle
    with suppress(OSError):
        os.close(handle)
    return None

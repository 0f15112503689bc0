"""Users' code under asyncio: what it raises reaches who awaits it, and harms nobody else."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator
from typing import Any, ParamSpec, TypeVar

P = ParamSpec("P")
T = TypeVar("T")

_END = object()


def is_cancelled() -> bool:
    """Whether somebody wants the current task to end; a CancelledError without that is its own code's doing."""
    task = asyncio.current_task()
    return task is not None and task.cancelling() > 0


async def in_thread(function: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> T:
    """Like `asyncio.to_thread`. A StopIteration comes as a RuntimeError: a future refuses it, so its awaiter hangs."""

    def call() -> T:
        try:
            return function(*args, **kwargs)
        except StopIteration as error:
            raise RuntimeError("StopIteration was raised: next() found nothing more") from error

    return await asyncio.to_thread(call)


async def in_threads(pieces: Iterator[Any]) -> AsyncIterator[Any]:
    """What a blocking generator yields, each piece from a thread."""
    while (piece := await in_thread(next, pieces, _END)) is not _END:
        yield piece

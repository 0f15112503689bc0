"""Threads that a run's code starts work for that run too: they get a copy of its context, as asyncio's own do."""

from __future__ import annotations

import concurrent.futures
import contextvars
import threading
from collections.abc import Callable
from typing import Any

from .scope import current, entered
from .wrapping import wrap


def carry() -> None:
    """From now on, where a run is current; nothing changes elsewhere. Safe to call twice."""
    wrap(threading.Thread, "start", _started)
    wrap(concurrent.futures.ThreadPoolExecutor, "submit", _submitted)


def _started(original: Callable[..., Any]) -> Callable[..., Any]:
    def start(self: Any) -> None:
        if current() is not None:
            context, run = contextvars.copy_context(), self.run
            self.run = lambda: context.run(run)
        original(self)

    return start


def _submitted(original: Callable[..., Any]) -> Callable[..., Any]:
    def submit(self: Any, fn: Callable[..., Any], /, *args: Any, **given: Any) -> Any:
        if current() is None:
            return original(self, fn, *args, **given)
        context = contextvars.copy_context()
        with entered(None):  # a thread of the pool outlives the run
            return original(self, context.run, fn, *args, **given)

    return submit

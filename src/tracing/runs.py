"""Runs: one agent's handling of one message, and where it stands in the query it belongs to.

A user's own code gets at its run with `from teamwright import current_run`. HTTP calls to model servers and tools
carry the run's id as X-Run-Id: see outgoing.py (`outgoing_headers()`, and hooks for httpx clients).
"""

from __future__ import annotations

import os
import re
import uuid
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from contextvars import ContextVar
from dataclasses import dataclass, field, replace
from typing import Self

from teamwright.errors import UserError

_SPELLING = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}", re.IGNORECASE | re.ASCII)


class RunId(str):
    """A run's UUID in its usual spelling; a str wherever one is wanted.

    `parent` is the run that asked for this one, where that is known: it is not part of the text.

    >>> RunId.from_string("2F6B0D6E-6D0B-4C8E-9C6F-0E4F5A1B2C3D").short()
    '2f6b0d6e'
    """

    __slots__ = ("parent",)

    parent: RunId | None

    def __new__(cls, text: str, parent: RunId | None = None) -> Self:
        made = super().__new__(cls, text)
        made.parent = parent
        return made

    def __reduce__(self) -> tuple[type[Self], tuple[str, RunId | None]]:
        return type(self), (str(self), self.parent)

    @classmethod
    def generate(cls, parent: RunId | None = None) -> Self:
        """A new one, different in every process, forked ones included: the bits come from the system each time."""
        return cls(str(uuid.UUID(bytes=os.urandom(16), version=4)), parent)

    @classmethod
    def from_string(cls, text: str) -> Self:
        """The run id that `text` spells, in upper or lower case. Raises UserError when it isn't a UUID."""
        if not isinstance(text, str) or not _SPELLING.fullmatch(text):
            raise UserError(f"{text!r} is not a run id", hint="a run id is a UUID")
        return cls(text.lower())

    @property
    def root(self) -> RunId:
        """The first of the line of parents; this one itself without any."""
        found: RunId = self
        while found.parent is not None:
            found = found.parent
        return found

    def short(self) -> str:
        """The first eight digits, for people."""
        return self[:8]


@dataclass(frozen=True, slots=True)
class RunContext:
    """One run. `peer_calls_left`, `deadline_ns` (Unix time) and `dollars_left` are the query's; None = no limit."""

    run_id: RunId
    job: str
    agent: str
    parent_run_id: RunId | None = None
    root_run_id: RunId | None = None
    session: str | None = None
    user: str | None = None
    labels: Mapping[str, str] = field(default_factory=dict)
    depth: int = 0
    peer_calls_left: int | None = None
    deadline_ns: int | None = None
    dollars_left: float | None = None
    trace_id: str | None = None

    @property
    def root(self) -> RunId:
        """The run of the entry agent; this one itself if it is the entry."""
        return self.root_run_id or self.run_id

    def child(self, *, agent: str, job: str | None = None, run_id: RunId | None = None) -> RunContext:
        """The run that a call to `agent` makes: one deeper, with this one's user, labels and limits.

        It has no session yet: the callee's conversation is its own.
        """
        return replace(
            self,
            run_id=run_id or RunId.generate(parent=self.run_id),
            parent_run_id=self.run_id,
            root_run_id=self.root,
            job=job or self.job,
            agent=agent,
            session=None,
            depth=self.depth + 1,
        )


_current: ContextVar[RunContext | None] = ContextVar("teamwright_run", default=None)


def current_run() -> RunContext | None:
    """The run that this code works for, or None outside one. Follows tasks and `asyncio.to_thread`."""
    return _current.get()


def set_run(run: RunContext | None) -> None:
    """Make `run` the current one from here on, in this context: for a task that goes on as another run."""
    _current.set(run)


@contextmanager
def use_run(run: RunContext | None) -> Iterator[RunContext | None]:
    """Make `run` the current one while the block runs."""
    token = _current.set(run)
    try:
        yield run
    finally:
        # ValueError: a generator closed from another task, whose context has its own run, or none.
        with suppress(ValueError):
            _current.reset(token)

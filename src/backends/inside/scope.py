"""One run of the user's code, and what is told of it: records that JSON can carry, made into spans elsewhere.

    {begin: 3, kind: model, at, parent, below, model, provider, messages, system, attempt}
    {begin: 4, kind: tool, at, parent, below, name, call_id, arguments, source, server}
    {begin: 5, kind: agent, at, parent, below, name, messages}
    {note: 3, at, event: first token | retry | rate limit | compaction | denied, …}
    {end: 3, at, answer, finish, model, response_id, usage, result, error: {text, reason, status, type}, early}
    {count: {input_tokens, output_tokens, cost_usd, beyond}}
                                        what no span tells of; the dollars hold those of the calls in `beyond`

Times are Unix times in ns. `parent` is a begun one that it certainly belongs to (0: the run itself); `below` the one
whose code was running, in this context, when it began. Messages are those of the GenAI conventions.
"""

from __future__ import annotations

import contextlib
import contextvars
import itertools
import logging
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from typing import Any

log = logging.getLogger("teamwright.inside")

_numbers = itertools.count(1)
_current: contextvars.ContextVar[Scope | None] = contextvars.ContextVar("teamwright_inside", default=None)
_below: contextvars.ContextVar[int | None] = contextvars.ContextVar("teamwright_inside_below", default=None)
_complained: set[str] = set()
#: The only run of this process, in a worker: code in threads that know of none works for it.
_sole: Scope | None = None


class Asked:
    """A tool call that a model has asked for, and when that was known."""

    def __init__(self, name: str, arguments: Any, call_id: str | None) -> None:
        self.name = name
        self.arguments = arguments
        self.call_id = call_id
        self.at = now()


class Stopped(RuntimeError):
    """The message that this code works for has been ended: no model is asked for it any more."""

    def __init__(self) -> None:
        super().__init__("the message has ended")


class Scope:
    """One run. `record` takes what is told, in any thread.

    `enter` makes a begun span the current one elsewhere, `place` notes the current one there under a number.
    """

    def __init__(
        self,
        record: Callable[[dict[str, Any]], None],
        enter: Callable[[int], AbstractContextManager[Any]] | None = None,
        place: Callable[[int], None] | None = None,
    ) -> None:
        self._record = record
        self._enter = enter
        self._place = place
        self._lock = threading.Lock()
        self._asked: list[Asked] = []
        #: What each SDK's eyes keep from one moment to the next.
        self.kept: dict[str, Any] = {}
        #: What is still open and can say more of itself: what ends it, with an error or without.
        self.left: dict[int, Callable[[BaseException | None], None]] = {}
        self.closed = False
        #: Whether its code may ask no model any more, as a limit is reached or nobody wants the answer.
        self.stopped = False

    def begin(self, kind: str, parent: int | None = None, at: int | None = None, **about: Any) -> int:
        """Something begins; its number."""
        number = next(_numbers)
        self._tell({"begin": number, "kind": kind, "parent": parent, "below": _below.get(), "at": at or now(), **about})
        return number

    def note(self, number: int, event: str, at: int | None = None, **about: Any) -> None:
        """Something happens in it."""
        self._tell({"note": number, "event": event, "at": at or now(), **about})

    def end(self, number: int, at: int | None = None, **about: Any) -> None:
        """It is over."""
        self._tell({"end": number, "at": at or now(), **about})

    def count(self, **usage: Any) -> None:
        """What was used beside the model calls that were told."""
        self._tell({"count": usage})

    def place(self) -> int:
        """Where this code runs, as a number that may be the `parent` of what begins elsewhere, later."""
        if self._place is None:
            return _below.get() or 0
        number = next(_numbers)
        self._place(number)
        return number

    @contextlib.contextmanager
    def inside(self, number: int) -> Iterator[None]:
        """While it is open, this context's code runs in that span."""
        token = _below.set(number)
        try:
            with self._enter(number) if self._enter is not None else contextlib.nullcontext():
                yield
        finally:
            with contextlib.suppress(ValueError):  # closed in another context
                _below.reset(token)

    def asked(self, calls: list[Asked]) -> None:
        """A model asks for tools: whoever sees one run, or its result, takes it."""
        with self._lock:
            self._asked += calls

    def take(self, name: str, arguments: Any = None, call_id: str | None = None) -> Asked | None:
        """The call with that id, else the first of that name with those arguments (None = any), once."""
        with self._lock:
            for one in self._asked:
                if (one.call_id == call_id) if call_id else (one.name == name and arguments in (None, one.arguments)):
                    self._asked.remove(one)
                    return one
        return None

    def close(self, error: BaseException | None = None) -> None:
        """The code is through: what was left open ends, and what comes later is not heard."""
        for end in list(self.left.values()):
            with safely("an end"):
                end(error)
        self.closed = True
        self.stopped = self.stopped or error is not None

    def _tell(self, record: dict[str, Any]) -> None:
        if not self.closed:
            self._record({key: value for key, value in record.items() if value is not None})


def now() -> int:
    """Unix time in ns."""
    return time.time_ns()


def current() -> Scope | None:
    """The run that this code works for; None outside one."""
    scope = _current.get() or _sole
    return scope if scope is not None and not scope.closed else None


def check() -> None:
    """Before a model is asked. Raises Stopped in code, in a thread for example, that nobody listens to any more."""
    scope = _current.get() or _sole
    if scope is not None and scope.stopped:
        raise Stopped


def below() -> int | None:
    """The begun span that this code runs in."""
    return _below.get()


@contextlib.contextmanager
def entered(scope: Scope | None) -> Iterator[None]:
    """While it is open, what this context does belongs to that run; None = to nobody."""
    tokens = _current.set(scope), _below.set(None)
    try:
        yield
    finally:
        with contextlib.suppress(ValueError):
            _current.reset(tokens[0])
            _below.reset(tokens[1])


@contextlib.contextmanager
def alone(scope: Scope) -> Iterator[None]:
    """Like `entered`, where this process does nothing else meanwhile."""
    global _sole
    _sole = scope
    try:
        with entered(scope):
            yield
    finally:
        _sole = None


@contextlib.contextmanager
def moved(scope: Scope | None, number: int | None) -> Iterator[None]:
    """Like `entered`, in a context that somebody else made: in that span of the run, where one is given."""
    with entered(scope):
        if scope is None or number is None:
            yield
        else:
            with scope.inside(number):
                yield


@contextlib.contextmanager
def safely(what: str) -> Iterator[None]:
    """What goes wrong in looking is a line in the log, once, and never the user's problem."""
    try:
        yield
    except Exception as error:
        complain(what, f"{type(error).__name__}: {error}")


def complain(what: str, why: str) -> None:
    """Say once that something can't be seen."""
    if what not in _complained:
        _complained.add(what)
        log.warning("not seen inside: %s (%s)", what, why)


def failure(error: BaseException) -> dict[str, Any]:
    """An exception as a record has it."""
    status = getattr(error, "status_code", None) or getattr(error, "code", None)
    return {
        "text": str(error) or type(error).__name__,
        "type": type(error).__name__,
        "status": status if isinstance(status, int) else None,
    }

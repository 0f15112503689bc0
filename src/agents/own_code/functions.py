"""`run: "pkg.mod:function"` in our own interpreter: the user's function as what thinks inside the agent.

Called with (text), or with (text, turn) where it takes a second argument. Async functions and generators run in the
agent's loop; others in a thread, with a turn whose methods block. What it returns or yields is the answer.
"""

from __future__ import annotations

import asyncio
import inspect
import logging
from collections.abc import AsyncIterator, Callable, Coroutine, Sequence
from concurrent.futures import Future
from typing import Any, ClassVar, TypeVar

from teamwright.agents.answers import answer_from
from teamwright.agents.loading import load
from teamwright.agents.own_code.worker import describe, is_async, misfit, wants_turn
from teamwright.backends.api import Acquaintance, Answer, BackendConfig, File, Message, PeerAnswer, Turn
from teamwright.backends.inside import importing
from teamwright.backends.observed import watch
from teamwright.backends.threads import in_thread, in_threads
from teamwright.errors import CodeError, TeamwrightError, UserError
from teamwright.tracing.runs import RunContext
from teamwright.tracing.tracer import Tracer

log = logging.getLogger(__name__)

T = TypeVar("T")


class FunctionCode:
    """A function of the user's, as a Backend. Raises UserError when it can't be loaded."""

    name: ClassVar[str] = "run"

    def __init__(self, reference: str, *, instrument: bool = True) -> None:
        self._instrument = instrument
        if instrument:
            importing.install()
        self._function: Callable[..., Any] = load(reference)
        if fault := misfit(self._function):
            raise UserError(f"{reference} {fault}")
        self._with_turn = wants_turn(self._function)
        self._async = is_async(self._function)

    @property
    def description(self) -> str:
        """The first paragraph of its docstring."""
        text = inspect.getdoc(self._function) if inspect.isroutine(self._function) else None
        return " ".join((text or "").split("\n\n")[0].split())

    async def open(self, config: BackendConfig) -> None:
        """It is loaded already."""

    async def close(self) -> None:
        """Nothing is open."""

    async def run(self, turn: Turn) -> Answer:
        """Call it. Raises CodeError for what it raises; a thread that is cancelled goes on, but nobody hears it."""
        if not self._instrument:
            return await self._run(turn)
        async with watch(turn, here=True):
            return await self._run(turn)

    async def _run(self, turn: Turn) -> Answer:
        blocking = BlockingTurn(turn, asyncio.get_running_loop())
        try:
            if self._async:
                made = self._function(*([turn.text, turn] if self._with_turn else [turn.text]))
            else:
                arguments = [turn.text, blocking] if self._with_turn else [turn.text]
                made = await in_thread(self._function, *arguments)
            if inspect.isgenerator(made):
                made = in_threads(made)
            if isinstance(made, AsyncIterator):
                return Answer(await _streamed(made, turn))
            return answer_from(await made if inspect.isawaitable(made) else made)
        except TeamwrightError:
            raise
        except (Exception, SystemExit, KeyboardInterrupt) as error:
            log.error("the user's code failed", exc_info=error)
            raise CodeError(describe(error, __file__)) from error
        finally:
            blocking.close()


class BlockingTurn:
    """A turn for code in a thread: what is awaited elsewhere blocks here."""

    def __init__(self, turn: Turn, loop: asyncio.AbstractEventLoop) -> None:
        self._turn = turn
        self._loop = loop
        self._over = False
        self._waiting: set[Future[Any]] = set()

    def close(self) -> None:
        """The run is over, and with it what the code still waits for."""
        self._over = True
        for waiting in list(self._waiting):
            waiting.cancel()

    @property
    def text(self) -> str:
        return self._turn.text

    @property
    def files(self) -> Sequence[File]:
        return self._turn.files

    @property
    def history(self) -> Sequence[Message]:
        return self._turn.history

    @property
    def session(self) -> str:
        return self._turn.session

    @property
    def user(self) -> str | None:
        return self._turn.user

    @property
    def run(self) -> RunContext:
        return self._turn.run

    @property
    def run_id(self) -> str:
        return str(self._turn.run.run_id)

    @property
    def traceparent(self) -> str:
        """The W3C trace context of this run."""
        return self._turn.tracer.current().traceparent

    @property
    def tracer(self) -> Tracer:
        return self._turn.tracer

    def find_agents(self, skill: str = "", text: str = "") -> Sequence[Acquaintance]:
        """Agents that run now and may be asked. Raises PeerError."""
        return self._wait(lambda: self._turn.find_agents(skill, text))

    def ask_peer(self, agent: str, message: str, *, files: Sequence[File] = ()) -> PeerAnswer:
        """Ask another agent and wait for its answer. Raises PeerError or LimitReached."""
        return self._wait(lambda: self._turn.ask_peer(agent, message, files=files))

    def stream(self, text: str) -> None:
        """Send a piece of the answer on its way now."""
        self._wait(lambda: self._turn.stream(text))

    def attach(self, name: str, data: bytes | str, media_type: str | None = None) -> None:
        """Send a file with the answer. Raises ValueError when all of them together are too large."""
        self._turn.attach(name, data, media_type)

    def _wait(self, work: Callable[[], Coroutine[Any, Any, T]]) -> T:
        if self._over:
            raise CodeError("this message is no longer worked on")
        waiting: Future[T] = asyncio.run_coroutine_threadsafe(work(), self._loop)
        self._waiting.add(waiting)
        try:
            return waiting.result()
        finally:
            self._waiting.discard(waiting)


async def _streamed(pieces: AsyncIterator[Any], turn: Turn) -> str:
    said: list[str] = []
    try:
        async for piece in pieces:
            said.append(str(piece))
            await turn.stream(str(piece))
    finally:
        if (close := getattr(pieces, "aclose", None)) is not None:
            await close()
    return "".join(said)

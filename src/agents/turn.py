"""The turn: one message being handled, as an agent's `run` and a backend see it."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterator, Sequence
from contextlib import AbstractAsyncContextManager, contextmanager, nullcontext, suppress

from opentelemetry import context as otel_context
from opentelemetry import trace as otel

from teamwright.agents.admission import Admissions
from teamwright.agents.budget import PeerBudget, Purse
from teamwright.agents.calling.peers import Peers
from teamwright.agents.gate import Slot
from teamwright.agents.own_code.worker_turns import content_of, media_type_of
from teamwright.backends.api import (
    Account,
    Acquaintance,
    Admission,
    File,
    Limits,
    Message,
    Peer,
    PeerAnswer,
    Tool,
    Usage,
)
from teamwright.backends.parts import readable
from teamwright.errors import LimitReached, TeamwrightError
from teamwright.tracing.runs import RunContext
from teamwright.tracing.spans import ActiveSpan
from teamwright.tracing.tracer import Tracer

Emit = Callable[[str], Awaitable[None]]
#: Asks whoever sent the message; the text and files that they answer with.
Ask = Callable[[str], Awaitable[tuple[str, Sequence[File]]]]


class AgentTurn:
    """What `backends.api.Turn` promises. One per run; built by the runner."""

    def __init__(
        self,
        *,
        text: str,
        files: Sequence[File],
        history: Sequence[Message],
        run: RunContext,
        tracer: Tracer,
        tools: Sequence[Tool],
        limits: Limits,
        peers: Peers,
        slot: Slot,
        emit: Emit | None,
        ask: Ask | None = None,
        conversation: str = "",
        admissions: Admissions | None = None,
    ) -> None:
        self._admissions = admissions
        self.conversation = conversation
        self.text = text
        self.files = tuple(files)
        self.history = history
        self.run = run
        self.tracer = tracer
        self.tools = tools
        self.limits = limits
        self.usage = Usage()
        self.purse = Purse(run.dollars_left)
        self.budget = PeerBudget(run.peer_calls_left, self.purse)
        self._span = tracer.current()
        self._peers = peers
        self._slot = slot
        self._emit = emit
        self._ask = ask
        self.streamed: list[str] = []
        self.attached: list[File] = []

    @property
    def session(self) -> str:
        """The conversation: A2A's contextId."""
        return self.run.session or ""

    @property
    def user(self) -> str | None:
        return self.run.user

    async def peers(self) -> Sequence[Peer]:
        """The agents this one may call, with what their cards say."""
        return await self._peers.all()

    async def find_agents(self, skill: str = "", text: str = "") -> Sequence[Acquaintance]:
        """Agents that run now and may be asked. Raises PeerError."""
        return await self._peers.find(skill, text)

    async def stream(self, text: str) -> None:
        """Send a piece of the answer on its way now; kept for the end where nobody streams."""
        if text:
            text = readable(text)
            self.streamed.append(text)
            if self._emit is not None:
                await self._emit(text)

    def attach(self, name: str, data: bytes | str, media_type: str | None = None) -> None:
        """Send a file with the answer. Raises ValueError when all of them together are too large."""
        self.attached.append(File(name, media_type or media_type_of(name), content_of(data, self.attached)))

    async def ask_peer(self, agent: str, message: str, *, files: Sequence[File] = ()) -> PeerAnswer:
        """Ask another agent. Raises PeerError or LimitReached."""
        with self._in_its_trace():
            return await self._peers.ask(self, agent, message, files)

    @contextmanager
    def _in_its_trace(self) -> Iterator[None]:
        """Code in a thread or a callback of somebody's SDK may have lost its context, or have that of another run."""
        if self.tracer.current().trace_id == self._span.trace_id:
            yield
            return
        token = otel_context.attach(otel.set_span_in_context(self._span.otel_span))
        try:
            yield
        finally:
            with suppress(ValueError):
                token.var.reset(token)

    async def ask_user(self, question: str) -> str:
        """Ask whoever sent the message and wait for the answer; its files join `files`."""
        if self._ask is None:
            raise TeamwrightError("there is nobody to ask")
        async with self.waiting():
            text, files = await self._ask(question)
        self.files += tuple(files)
        return text

    def go_on(self, run: RunContext, emit: Emit | None) -> None:
        """A follow-up has come: what happens from now on belongs to its run."""
        self.run = run
        self.usage = Usage()
        self.purse = Purse(run.dollars_left)
        self.budget = PeerBudget(run.peer_calls_left, self.purse)
        self.streamed.clear()
        self._emit = emit

    def count(self, usage: Usage) -> None:
        """Add to what this turn used. Raises LimitReached when that passes the limit of tool calls."""
        self.usage = self.usage + usage
        self.purse.spend(usage.cost_usd or 0.0)
        limits = self.limits
        if limits.tool_calls is not None and self.usage.tool_calls > limits.tool_calls:
            raise LimitReached("tool_calls", f"more than {limits.tool_calls} tool calls (limit tool_calls)")

    def afford(self, dollars: float | None) -> None:
        """Before a model call that will cost about so much: raises LimitReached when the query may not spend it."""
        self.purse.afford(dollars or 0.0)

    def admission(self, account: Account, parent: ActiveSpan | None = None) -> AbstractAsyncContextManager[Admission]:
        """Around each model call: waits for the limits that all jobs share."""
        if self._admissions is None:
            return nullcontext(Admission())
        return self._admissions.enter(account, parent)

    def waiting(self) -> AbstractAsyncContextManager[None]:
        """While it is open the run holds no slot: it waits for somebody else."""
        return self._slot.lend(lambda waiting: self.tracer.queued(waiting=waiting))

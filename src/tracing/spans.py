"""The kinds of span: each knows what belongs on it."""

from __future__ import annotations

from typing import Any, Protocol, Self

from opentelemetry import trace as otel

from teamwright.tracing import vocabulary as v
from teamwright.tracing.active import ActiveSpan, Keeper, Parent, span_context
from teamwright.tracing.attributes import clean, task_state
from teamwright.tracing.cost import price
from teamwright.tracing.messages import Messages, encode, to_json
from teamwright.tracing.runs import RunContext

__all__ = [
    "ActiveSpan", "AgentSpan", "ModelSpan", "Parent", "PeerSpan", "QuerySpan", "ToolSpan", "Usage", "clean",
    "span_context",
]  # fmt: skip


class Usage(Protocol):
    """What a piece of work used, summed over everything below it; `cost_usd` None = unknown.

    `partial` = somebody below told nothing: the counts are at least that, and unknown where they are 0.
    """

    @property
    def input_tokens(self) -> int: ...
    @property
    def output_tokens(self) -> int: ...
    @property
    def model_calls(self) -> int: ...
    @property
    def tool_calls(self) -> int: ...
    @property
    def peer_calls(self) -> int: ...
    @property
    def cost_usd(self) -> float | None: ...
    @property
    def estimated(self) -> bool: ...
    @property
    def partial(self) -> bool: ...


class QuerySpan(ActiveSpan):
    """The root: what a user asked a job, and what came of it."""

    __slots__ = ()

    def answer(self, said: Messages | None, *, state: str | None = None, usage: Usage | None = None) -> Self:
        """What the user got. `state` is the task's, `usage` the sum over the whole tree."""
        self.set(
            {
                v.OUTPUT_MESSAGES: encode(said, "assistant") if said else None,
                v.TASK_STATE: task_state(state),
            }
        )
        if usage is not None:
            self.set(used(usage))
        return self


class AgentSpan(QuerySpan):
    """SERVER: an agent handles a message."""

    __slots__ = ()

    @property
    def run(self) -> RunContext | None:
        """The run it belongs to, with its trace id."""
        return self._run


class PeerSpan(QuerySpan):
    """CLIENT: an agent calls another."""

    __slots__ = ()


class ModelSpan(ActiveSpan):
    """CLIENT: one call of a model."""

    __slots__ = ("cost_usd", "model", "provider")

    def __init__(self, span: otel.Span, keeper: Keeper, *, start_ns: int = 0) -> None:
        super().__init__(span, keeper, start_ns=start_ns)
        self.model: str | None = None
        self.provider: str | None = None
        #: What `usage` came to; None = unknown.
        self.cost_usd: float | None = None

    def first_token(self, at_ns: int | None = None) -> Self:
        """The answer began to arrive."""
        at = at_ns or self._keeper.now()
        self.set({v.FIRST_TOKEN: max(0, at - self._start_ns) / 1e9})
        return self.event(v.EVENT_FIRST_TOKEN, at_ns=at)

    def answer(
        self,
        messages: Messages,
        *,
        finish_reason: str | None = None,
        model: str | None = None,
        response_id: str | None = None,
    ) -> Self:
        """What the model said. An answer of tool calls only has those calls as its content."""
        reasons = [finish_reason] if finish_reason else None
        self.model = self.model or model
        return self.set(
            {
                v.OUTPUT_MESSAGES: encode(messages, "assistant", finish_reason=finish_reason),
                v.FINISH_REASONS: reasons,
                v.RESPONSE_MODEL: model,
                v.RESPONSE_ID: response_id,
            }
        )

    def usage(
        self,
        *,
        input_tokens: int | None = None,
        output_tokens: int | None = None,
        cache_read_tokens: int | None = None,
        cache_write_tokens: int | None = None,
        reasoning_tokens: int | None = None,
        cost_usd: float | None = None,
        estimated: bool = False,
        tokens_estimated: bool = False,
    ) -> Self:
        """What the call used. Unknown is None, not 0. Without a cost the list price is taken, as an estimate."""
        if cost_usd is None:
            cost_usd = price(
                self.model,
                self.provider,
                input_tokens=input_tokens,
                output_tokens=output_tokens,
                cache_read_tokens=cache_read_tokens,
                cache_write_tokens=cache_write_tokens,
            )
            estimated = True
        self.cost_usd = cost_usd
        return self.set(
            {
                v.INPUT_TOKENS: input_tokens,
                v.OUTPUT_TOKENS: output_tokens,
                v.CACHE_READ_TOKENS: cache_read_tokens,
                v.CACHE_WRITE_TOKENS: cache_write_tokens,
                v.REASONING_TOKENS: reasoning_tokens,
                v.COST_USD: cost_usd,
                v.COST_ESTIMATED: True if estimated and cost_usd is not None else None,
                v.TOKENS_ESTIMATED: tokens_estimated or None,
            }
        )


class ToolSpan(ActiveSpan):
    """INTERNAL: one call of a tool."""

    __slots__ = ()

    def result(self, value: Any) -> Self:
        """What the tool returned: text as it is, anything else as JSON."""
        return self.set({v.TOOL_RESULT: value if isinstance(value, str) else to_json(value)})


def used(usage: Usage) -> dict[str, Any]:
    """What a span says of a usage; unknown figures are None."""
    return {
        **{name: None if usage.partial and not count else count for name, count in _counts(usage).items()},
        v.COST_USD: usage.cost_usd,
        v.COST_ESTIMATED: usage.estimated or None,
        v.PARTIAL: usage.partial or None,
    }


def _counts(usage: Usage) -> dict[str, int]:
    return {
        v.INPUT_TOKENS: usage.input_tokens,
        v.OUTPUT_TOKENS: usage.output_tokens,
        v.MODEL_CALLS: usage.model_calls,
        v.TOOL_CALLS: usage.tool_calls,
        v.PEER_CALLS: usage.peer_calls,
    }

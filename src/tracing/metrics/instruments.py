"""What is measured: every metric's name, kind, unit and meaning; names of the GenAI conventions where they have one.

A name is OpenTelemetry's, `gen_ai.client.operation.duration`; Prometheus gets it as that tool's exporters write it:
`gen_ai_client_operation_duration_seconds`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final, Literal, NamedTuple

from teamwright.tracing import vocabulary as v

Kind = Literal["histogram", "counter", "gauge"]

#: What the GenAI conventions advise: seconds, and tokens.
SECONDS: Final = (0.01, 0.02, 0.04, 0.08, 0.16, 0.32, 0.64, 1.28, 2.56, 5.12, 10.24, 20.48, 40.96, 81.92)
TOKENS: Final = (1.0, 4.0, 16.0, 64.0, 256.0, 1024.0, 4096.0, 16384.0, 65536.0, 262144.0, 1048576.0)

TOKEN_TYPE: Final = "gen_ai.token.type"
ENDPOINT: Final = "teamwright.endpoint"
#: A digest of a provider's key, never the key.
KEY: Final = "teamwright.provider.key"

_SUFFIX = {"s": "_seconds", "By": "_bytes"}


@dataclass(frozen=True, slots=True)
class Instrument:
    """One metric; `unit` as UCUM writes it."""

    name: str
    kind: Kind
    unit: str
    help: str

    @property
    def prometheus(self) -> str:
        """Its name in Prometheus text."""
        return label(self.name) + _SUFFIX.get(self.unit, "") + ("_total" if self.kind == "counter" else "")

    @property
    def bounds(self) -> tuple[float, ...]:
        return TOKENS if self.unit == "{token}" else SECONDS


class Gauge(NamedTuple):
    """A value of this moment; `name` is that of an instrument."""

    name: str
    labels: Mapping[str, str]
    value: float


def label(name: str) -> str:
    """A name as Prometheus can have it."""
    return name.replace(".", "_")


INSTRUMENTS: Final[Mapping[str, Instrument]] = {
    made.name: made
    for made in (
        Instrument("gen_ai.client.operation.duration", "histogram", "s", "How long model calls took."),
        Instrument("gen_ai.client.operation.time_to_first_chunk", "histogram", "s",
                   "Until a model's answer began to arrive."),
        Instrument("gen_ai.client.token.usage", "histogram", "{token}", "Tokens of model calls, by type."),
        Instrument("gen_ai.execute_tool.duration", "histogram", "s", "How long tool calls took."),
        Instrument("gen_ai.invoke_agent.duration", "histogram", "s", "How long agents worked on messages."),
        Instrument("gen_ai.workflow.duration", "histogram", "s", "How long queries took."),
        Instrument("teamwright.a2a.duration", "histogram", "s",
                   "How long calls between agents took, seen by the caller."),
        Instrument("teamwright.queued.duration", "histogram", "s", "How long messages, and model calls, waited."),
        Instrument("teamwright.errors", "counter", "{error}", "Spans that failed, by operation and error type."),
        Instrument("teamwright.cost_usd", "counter", "{USD}", "Dollars of model calls whose price is known."),
        Instrument("teamwright.unpriced_model_calls", "counter", "{call}", "Model calls whose price is not known."),
        Instrument("teamwright.agent.starts", "counter", "{start}", "Starts of agents."),
        Instrument("teamwright.agent.up", "gauge", "1", "1 while it is healthy or busy."),
        Instrument("teamwright.agent.restarts", "gauge", "{restart}", "Restarts since the job was started."),
        Instrument("teamwright.agent.heartbeat.age", "gauge", "s", "Since the agent was last heard of."),
        Instrument("teamwright.agent.queue.length", "gauge", "{message}",
                   "Messages that wait for their turn, as the agent's last heartbeat had it."),
        Instrument("teamwright.agent.working", "gauge", "{message}",
                   "Messages that are worked on, as the agent's last heartbeat had it."),
        Instrument("teamwright.provider.working", "gauge", "{call}",
                   "Model calls under way, of a provider whose limits are shared."),
        Instrument("teamwright.provider.waiting", "gauge", "{call}", "Model calls that wait for a shared limit."),
        Instrument("teamwright.provider.backing_off", "gauge", "s",
                   "Until a provider that said it is called too often is asked again."),
        Instrument("teamwright.spans.waiting", "gauge", "By", "Spans taken in and not yet committed."),
        Instrument("teamwright.shedding", "gauge", "1", "1 while spans are dropped for want of room."),
        Instrument("teamwright.dropped_spans", "gauge", "{span}",
                   "Spans dropped for want of room since the home was made."),
        Instrument("teamwright.disk.free", "gauge", "By", "Free on the disk of the home."),
        Instrument("teamwright.forward.waiting", "gauge", "By", "Spans not yet sent on."),
        Instrument("teamwright.forward.dropped", "gauge", "{span}", "Spans never sent on, or refused."),
    )
}  # fmt: skip

#: Operation: the histogram of its spans' durations.
DURATIONS: Final = {
    v.OP_MODEL: "gen_ai.client.operation.duration",
    v.OP_TOOL: "gen_ai.execute_tool.duration",
    v.OP_QUEUED: "teamwright.queued.duration",
    v.OP_QUERY: "gen_ai.workflow.duration",
}

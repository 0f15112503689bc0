from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from contextlib import AbstractAsyncContextManager, nullcontext
from dataclasses import dataclass, field
from typing import Any

import pytest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

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
from teamwright.errors import LimitReached, PeerError
from teamwright.tracing.runs import RunContext, RunId
from teamwright.tracing.tracer import Tracer


@dataclass
class FakeTurn:
    """A turn without processes: peers answer from a table."""

    text: str
    tracer: Tracer
    tools: Sequence[Tool] = ()
    people: Sequence[Peer] = ()
    answers: Mapping[str, str] = field(default_factory=dict)
    limits: Limits = field(default_factory=Limits)
    history: Sequence[Message] = ()
    files: Sequence[File] = ()
    session: str = "s"
    conversation: str = "caller\nann\ns"
    user: str | None = "ann"
    depth: int = 0
    usage: Usage = field(default_factory=Usage)
    others: Sequence[Acquaintance] = ()
    searches: list[tuple[str, str]] = field(default_factory=list)
    asked: list[tuple[str, str]] = field(default_factory=list)
    sent: list[File] = field(default_factory=list)
    streamed: list[str] = field(default_factory=list)
    run_id: RunId = field(default_factory=RunId.generate)

    @property
    def run(self) -> RunContext:
        return RunContext(self.run_id, "job", "agent", depth=self.depth)

    async def peers(self) -> Sequence[Peer]:
        return self.people

    async def find_agents(self, skill: str = "", text: str = "") -> Sequence[Acquaintance]:
        self.searches.append((skill, text))
        return self.others

    async def stream(self, text: str) -> None:
        self.streamed.append(text)

    def attach(self, name: str, data: bytes | str, media_type: str | None = None) -> None:
        self.sent.append(File(name, media_type or "", data.encode() if isinstance(data, str) else data))

    async def ask_peer(self, agent: str, message: str, *, files: Sequence[File] = ()) -> PeerAnswer:
        self.asked.append((agent, message))
        self.sent.extend(files)
        await asyncio.sleep(0)
        if agent not in self.answers:
            raise PeerError(f"{agent} is away", reason="unreachable")
        return PeerAnswer(agent, self.answers[agent])

    async def ask_user(self, question: str) -> str:
        return "yes"

    def admission(self, account: Account, parent: Any = None) -> AbstractAsyncContextManager[Admission]:
        return nullcontext(Admission())

    def afford(self, dollars: float | None) -> None:
        limit = self.limits.cost_usd
        if limit is not None and (self.usage.cost_usd or 0.0) + (dollars or 0.0) > limit:
            raise LimitReached("cost_usd", "too dear")

    def count(self, usage: Usage) -> None:
        self.usage = self.usage + usage
        if self.limits.tool_calls is not None and self.usage.tool_calls > self.limits.tool_calls:
            raise LimitReached("tool_calls", "too many")


@pytest.fixture
def recorded() -> list[bytes]:
    return []


@pytest.fixture
def tracer(recorded: list[bytes]) -> Tracer:
    return Tracer("agent", "job", "1", recorded.append, strict=True)


@pytest.fixture
def spans(recorded: list[bytes]) -> Any:
    """A function: the spans so far, as (name, attributes, span)."""

    def read() -> list[tuple[str, dict[str, Any], Any]]:
        found = []
        for payload in recorded:
            for group in ExportTraceServiceRequest.FromString(payload).resource_spans:
                for scope in group.scope_spans:
                    for span in scope.spans:
                        values = {
                            item.key: getattr(item.value, item.value.WhichOneof("value") or "string_value")
                            for item in span.attributes
                        }
                        found.append((span.name, values, span))
        return found

    return read


@pytest.fixture
def fake_turn(tracer: Tracer) -> Any:
    """A function that makes a FakeTurn."""
    return lambda text, **more: FakeTurn(text, tracer, **more)

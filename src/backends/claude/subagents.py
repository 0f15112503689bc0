"""Sub-agents that the CLI runs inside a message: an `invoke_agent` span each, their model calls and tools below it.

The SDK shows of their model calls whole blocks without times of their own: a call begins when the sub-agent starts or
its tools are through, and ends with its last block. First token and tokens written are not told, so not recorded.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import claude_agent_sdk as sdk
from opentelemetry.trace import SpanKind

from teamwright.backends.api import Turn, Usage
from teamwright.backends.claude.connection import Hooked, plain
from teamwright.backends.claude.places import Places
from teamwright.backends.claude.settings import PROVIDER
from teamwright.backends.inside.claude_words import tokens
from teamwright.tracing import messages as genai
from teamwright.tracing import vocabulary as v
from teamwright.tracing.spans import ActiveSpan, ModelSpan, Parent

#: Seconds that a start waits to be told which call it belongs to.
_PATIENCE = 1.0


@dataclass
class _SubAgent:
    span: ActiveSpan
    #: When the next model call begins, Unix time in ns.
    next_ns: int
    messages: list[Mapping[str, Any]] = field(default_factory=list)
    call: ModelSpan | None = None
    call_id: str | None = None
    parts: list[genai.Part] = field(default_factory=list)
    usage: Mapping[str, Any] = field(default_factory=dict)
    last_ns: int = 0


class SubAgents:
    """The sub-agents of one message. `parent_of` gives the span of a tool call by its id."""

    def __init__(
        self,
        turn: Turn,
        parent_of: Callable[[str], Parent | None],
        used: Callable[[Usage], None],
        places: Places,
    ) -> None:
        self._turn = turn
        self._places = places
        self._parent_of = parent_of
        self._used = used
        self._calls: dict[str, str] = {}
        self._running: dict[str, _SubAgent] = {}
        self._waiting: dict[str, Hooked] = {}

    def started(self, task: Any) -> None:
        """TaskStarted: which tool call made which sub-agent."""
        if task.tool_use_id:
            self._calls[task.task_id] = task.tool_use_id
        if (hook := self._waiting.pop(task.task_id, None)) is not None:
            self._begin(hook)

    def begins(self, hook: Hooked) -> None:
        """SubagentStart. It waits until it is known where it belongs: hooks and messages may change places."""
        agent_id = hook.given["agent_id"]
        if agent_id in self._calls:
            self._begin(hook)
            return
        self._waiting[agent_id] = hook
        asyncio.get_running_loop().call_later(_PATIENCE, self._tired_of_waiting, agent_id)

    def ends(self, hook: Hooked) -> None:
        """SubagentStop."""
        found = self._running.get(hook.given["agent_id"])
        if found is None:
            return
        self._end_call(found)
        if said := hook.given.get("last_assistant_message"):
            found.span.set({v.OUTPUT_MESSAGES: genai.encode(said, "assistant")})
        found.span.end(hook.at_ns)

    def tools_done(self, hook: Hooked) -> None:
        """PostToolBatch: the results go to the model, as soon as it may be asked."""
        found = self._running.get(hook.given["agent_id"])
        if found is not None:
            self._end_call(found)
            found.next_ns = hook.at_ns
        self._admit(hook, found)

    def _admit(self, hook: Hooked, found: _SubAgent | None) -> None:
        def goes_on(at_ns: int) -> None:
            if found is not None:
                found.next_ns = at_ns

        self._places.take_then(hook.given["agent_id"], hook, found.span if found is not None else None, goes_on)

    def span(self, agent_id: str | None) -> ActiveSpan | None:
        """The span that the tools of a sub-agent hang below."""
        found = self._running.get(agent_id) if agent_id else None
        return found.span if found is not None else None

    def heard(self, message: Any, at_ns: int) -> None:
        """An AssistantMessage or UserMessage of a sub-agent."""
        agent_id = next((key for key, call in self._calls.items() if call == message.parent_tool_use_id), None)
        found = self._running.get(agent_id or "")
        if found is None:
            return
        if isinstance(message, sdk.UserMessage):
            self._end_call(found)
            found.messages.append(_received(message))
            return
        if found.call is None or found.call_id != message.message_id:
            self._end_call(found)
            found.call = self._turn.tracer.model_call(
                model=message.model, provider=PROVIDER, messages=found.messages, start_ns=found.next_ns,
                parent=found.span,
            )  # fmt: skip
            found.call_id, found.parts = message.message_id, []
        found.parts += [part for block in message.content if (part := _part(block)) is not None]
        found.usage, found.last_ns = message.usage or {}, at_ns

    def close(self, error: BaseException | str | None, at_ns: int) -> None:
        """The message has ended: what is still open ends with that error."""
        for hook in self._waiting.values():
            hook.answer({})
        for found in self._running.values():
            self._end_call(found)
            if error is not None:
                found.span.fail(error)
            found.span.end(at_ns)

    def _begin(self, hook: Hooked) -> None:
        agent_id, kind = hook.given["agent_id"], hook.given.get("agent_type") or "sub-agent"
        span = self._turn.tracer.span(
            v.span_name(v.OP_AGENT, kind),
            {v.OPERATION: v.OP_AGENT, v.OPENINFERENCE_KIND: "AGENT", v.AGENT_NAME: kind},
            kind=SpanKind.INTERNAL,
            parent=self._parent_of(self._calls.get(agent_id, "")),
            start_ns=hook.at_ns,
        )
        found = self._running[agent_id] = _SubAgent(span, hook.at_ns)
        self._admit(hook, found)

    def _tired_of_waiting(self, agent_id: str) -> None:
        if (hook := self._waiting.pop(agent_id, None)) is not None:
            self._begin(hook)

    def _end_call(self, found: _SubAgent) -> None:
        if found.call is None:
            return
        asks = any(part["type"] == "tool_call" for part in found.parts)
        finish = "tool_call" if asks else "stop"
        message = genai.message("assistant", *(found.parts or [genai.text("")]), finish_reason=finish)
        found.call.answer(message, finish_reason=finish, response_id=found.call_id)
        used = tokens(found.usage)
        found.call.set({v.INPUT_TOKENS: used["input_tokens"], v.CACHE_READ_TOKENS: used["cache_read_tokens"]})
        found.call.set({v.CACHE_WRITE_TOKENS: used["cache_write_tokens"]})
        found.call.end(found.last_ns)
        found.messages.append(message)
        found.call = None
        self._used(Usage(model_calls=1))


def _part(block: Any) -> genai.Part | None:
    if isinstance(block, sdk.TextBlock):
        return genai.text(block.text)
    if isinstance(block, sdk.ThinkingBlock):
        return genai.reasoning(block.thinking)
    if isinstance(block, sdk.ToolUseBlock):
        return genai.tool_call(block.name, block.input, block.id)
    return None


def _received(message: Any) -> Mapping[str, Any]:
    """What a sub-agent was told: its task, or the results of its tools."""
    if isinstance(message.content, str):
        return genai.message("user", genai.text(message.content))
    results = [
        genai.tool_result(plain(block.content), block.tool_use_id)
        for block in message.content
        if isinstance(block, sdk.ToolResultBlock)
    ]
    if results:
        return genai.message("tool", *results)
    return genai.message("user", *(part for block in message.content if (part := _part(block)) is not None))

"""The tool loop that backends share: model → tool calls, in parallel → model …, until it answers.

A backend brings one function, `step`, that makes one model call (with its own `chat` span) and says what came of
it. Everything else is here: spans of tools, time limits, errors as results, the limits of the turn.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from teamwright.backends.api import Answer, Tool, Turn, Usage
from teamwright.errors import LimitReached, TeamwrightError
from teamwright.tracing import messages as genai
from teamwright.tracing.messages import to_json

log = logging.getLogger(__name__)

#: Seconds a tool without a limit of its own may take. Calls of peers have their own deadline.
TOOL_DEADLINE = 300.0
_RESULT_LIMIT = 200_000


@dataclass(frozen=True, slots=True)
class ToolCall:
    """What a model asks for. `id` is its own, unique in the conversation."""

    id: str
    name: str
    arguments: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class ToolResult:
    """What came of a call: text for the model, and whether it is an error."""

    call: ToolCall
    text: str
    failed: bool = False


@dataclass(frozen=True, slots=True)
class Said:
    """Words of the user or, in earlier exchanges, of the agent."""

    role: str
    text: str


@dataclass(frozen=True, slots=True)
class Asked:
    """A model's reply that asks for tools. `raw` is the vendor's own object, to be sent back as it came."""

    calls: tuple[ToolCall, ...]
    text: str = ""
    raw: Any = None


@dataclass(frozen=True, slots=True)
class Results:
    """The answers to all calls of one reply, in their order."""

    results: tuple[ToolResult, ...]


Entry = Said | Asked | Results


@dataclass(frozen=True, slots=True)
class Reply:
    """One model call's outcome: an answer, or calls. `usage.model_calls` is counted by the loop."""

    text: str = ""
    calls: tuple[ToolCall, ...] = ()
    usage: Usage = field(default_factory=Usage)
    raw: Any = None


Step = Callable[[Sequence[Entry]], Awaitable[Reply]]


async def run(turn: Turn, step: Step) -> Answer:
    """Drive `step` until it answers without calls.

    Raises LimitReached (turns, tool_calls, cost_usd) and what `step` raises.
    """
    entries: list[Entry] = [Said(word.role, word.text) for word in turn.history]
    entries.append(Said("user", turn.text))
    tools = {tool.name: tool for tool in turn.tools}
    for _ in range(turn.limits.turns):
        reply = await step(entries)
        turn.count(reply.usage + Usage(model_calls=1))
        if not reply.calls:
            return Answer(reply.text)
        entries.append(Asked(reply.calls, reply.text, reply.raw))
        entries.append(Results(await call_tools(turn, tools, reply.calls)))
    raise LimitReached("turns", f"no answer after {turn.limits.turns} model calls (limit turns)")


async def call_tools(turn: Turn, tools: Mapping[str, Tool], calls: Sequence[ToolCall]) -> tuple[ToolResult, ...]:
    """Carry out the calls, all at once. Raises LimitReached before any of them when they are too many."""
    limit = turn.limits.tool_calls
    if limit is not None and turn.usage.tool_calls + len(calls) > limit:
        raise LimitReached("tool_calls", f"{len(calls)} more tool calls would pass the limit of {limit} (tool_calls)")
    turn.count(Usage(tool_calls=len(calls)))
    if len(calls) == 1:
        return (await call_tool(turn, tools, calls[0]),)
    return tuple(await asyncio.gather(*(call_tool(turn, tools, call) for call in calls)))


async def call_tool(turn: Turn, tools: Mapping[str, Tool], call: ToolCall) -> ToolResult:
    """One call with its span. Whatever goes wrong becomes a result that the model can read; only cancelling passes."""
    tool = tools.get(call.name)
    with turn.tracer.tool_call(
        name=call.name, call_id=call.id, arguments=dict(call.arguments), source=tool.source if tool else None
    ) as span:
        if tool is None:
            message = f"there is no tool {call.name!r}; there are {', '.join(tools) or 'none'}"
            span.fail(message, reason="unknown_tool").result(message)
            return ToolResult(call, f"error: {message}", failed=True)
        try:
            text = as_text(await _within(tool, call, turn))
        except _TookTooLong as error:
            span.fail(str(error), reason="timeout").result(str(error))
            return ToolResult(call, f"error: {error}", failed=True)
        except TeamwrightError as error:
            span.fail(error).result(error.message)
            return ToolResult(call, f"error: {error.message}", failed=True)
        except Exception as error:
            log.warning("tool %s failed", call.name, exc_info=True)
            span.fail(error).result(f"{type(error).__name__}: {error}")
            return ToolResult(call, f"error: {type(error).__name__}: {error}", failed=True)
        span.result(text)
        return ToolResult(call, text)


def as_text(value: Any) -> str:
    """A tool's result as a model reads it: text as it is, the rest as JSON; cut where it is very long."""
    if value is None:
        return "(no result)"
    if isinstance(value, bytes | bytearray):
        value = bytes(value).decode(errors="replace") if _is_text(bytes(value)) else f"({len(value)} bytes)"
    text = value if isinstance(value, str) else to_json(value)
    if len(text) > _RESULT_LIMIT:
        return f"{text[:_RESULT_LIMIT]}\n(cut: {len(text):,} characters in all)"
    return text


def to_messages(entries: Sequence[Entry]) -> list[Mapping[str, Any]]:
    """A conversation as a `chat` span holds it."""
    made: list[Mapping[str, Any]] = []
    for entry in entries:
        if isinstance(entry, Said):
            made.append(genai.message("assistant" if entry.role == "agent" else entry.role, genai.text(entry.text)))
        elif isinstance(entry, Asked):
            made.append(reply_message(entry.text, entry.calls))
        else:
            parts = [genai.tool_result(result.text, result.call.id) for result in entry.results]
            made.append(genai.message("tool", *parts))
    return made


def reply_message(text: str, calls: Sequence[ToolCall]) -> dict[str, Any]:
    """A model's reply as a `chat` span holds it: its words, if any, and its calls."""
    parts = [genai.text(text)] if text or not calls else []
    parts += [genai.tool_call(call.name, dict(call.arguments), call.id) for call in calls]
    return genai.message("assistant", *parts, finish_reason="tool_call" if calls else "stop")


class _TookTooLong(Exception):
    """The tool passed its time limit."""


async def _within(tool: Tool, call: ToolCall, turn: Turn) -> Any:
    seconds = tool.timeout if tool.timeout is not None else None if tool.source == "peer" else TOOL_DEADLINE
    try:
        async with asyncio.timeout(seconds) as limit:
            return await tool.call(call.arguments, turn)
    except TimeoutError:
        if limit.expired():
            raise _TookTooLong(f"{tool.name} took longer than {seconds:g} s") from None
        raise


def _is_text(data: bytes) -> bool:
    try:
        data.decode()
    except UnicodeDecodeError:
        return False
    return b"\0" not in data

"""The tool loop that backends share: model → tool calls, in parallel → model …, until it answers.

A backend brings one function, `step`, that makes one model call (with its own `chat` span) and says what came of
it. Everything else is here: spans of tools, time limits, errors as results, files, the limits of the turn, and answers
of a fixed shape with one chance to mend them.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from teamwright.backends import structured
from teamwright.backends.api import Answer, File, PeerAnswer, Tool, Turn, Usage
from teamwright.backends.parts import readable
from teamwright.backends.threads import is_cancelled
from teamwright.errors import LimitReached, TeamwrightError, in_words
from teamwright.tracing import messages as genai
from teamwright.tracing.messages import to_json

log = logging.getLogger(__name__)

#: Seconds a tool without a limit of its own may take. Calls of peers have their own deadline.
TOOL_DEADLINE = 300.0
_RESULT_LIMIT = 200_000
#: Characters of broken arguments that the model gets to see again.
_SHOWN = 500
#: Files of tools and peers that go out with the answer: the newest of each name, at most so many bytes.
_FILES_LIMIT = 20_000_000
#: Limits that are the whole query's: a tool that meets one ends the turn, the model can't do anything about it.
_FINAL = ("cost_usd", "tool_calls", "duration")


@dataclass(frozen=True, slots=True)
class ToolCall:
    """What a model asks for. `id` is its own, unique in the conversation.

    `broken` is what came instead of arguments where that was no JSON object: such a call is answered with an error.
    """

    id: str
    name: str
    arguments: Mapping[str, Any]
    broken: str | None = None


@dataclass(frozen=True, slots=True)
class ToolResult:
    """What came of a call: text for the model, whether it is an error, and files that came with it."""

    call: ToolCall
    text: str
    failed: bool = False
    files: tuple[File, ...] = ()


@dataclass(frozen=True, slots=True)
class Said:
    """Words of the user or, in earlier exchanges, of the agent; the last of the user may have files."""

    role: str
    text: str
    files: tuple[File, ...] = ()


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
    """One model call's outcome: an answer, or calls; files that the model made. The loop counts `usage.model_calls`."""

    text: str = ""
    calls: tuple[ToolCall, ...] = ()
    usage: Usage = field(default_factory=Usage)
    raw: Any = None
    files: tuple[File, ...] = ()


Step = Callable[[Sequence[Entry]], Awaitable[Reply]]


async def run(turn: Turn, step: Step, *, output_schema: Mapping[str, Any] | None = None) -> Answer:
    """Drive `step` until it answers without calls; files that tools and peers gave go out with the answer.

    With a schema the answer's `data` fits it; one that doesn't is sent back once. Raises LimitReached (turns,
    tool_calls, cost_usd), structured.Unfit, and what `step` raises.
    """
    entries: list[Entry] = [Said(word.role, word.text) for word in turn.history]
    entries.append(Said("user", turn.text, tuple(turn.files)))
    tools = {tool.name: tool for tool in turn.tools}
    files: dict[str, File] = {}
    mended = False
    for _ in range(turn.limits.turns):
        reply = await step(entries)
        turn.count(reply.usage + Usage(model_calls=1))
        keep_files(files, [reply])
        if reply.calls:
            entries.append(Asked(reply.calls, reply.text, reply.raw))
            results = await call_tools(turn, tools, reply.calls)
            entries.append(Results(results))
            keep_files(files, results)
            continue
        answer = Answer(reply.text, tuple(files.values()))
        if output_schema is None:
            return answer
        try:
            return structured.conform(answer, output_schema)
        except structured.Unfit as error:
            if mended:
                raise
            mended = True
            entries.append(Said("agent", reply.text))
            entries.append(Said("user", f"{error.message}. {structured.instruction(output_schema)}"))
    raise LimitReached("turns", f"no answer after {turn.limits.turns} model calls (limit turns)")


async def call_tools(turn: Turn, tools: Mapping[str, Tool], calls: Sequence[ToolCall]) -> tuple[ToolResult, ...]:
    """Carry out the calls, all at once; what one of them raises ends the others.

    Raises LimitReached: before any of them when they are too many, else when one used up what the query may.
    """
    limit = turn.limits.tool_calls
    if limit is not None and turn.usage.tool_calls + len(calls) > limit:
        raise LimitReached("tool_calls", f"{len(calls)} more tool calls would pass the limit of {limit} (tool_calls)")
    turn.count(Usage(tool_calls=len(calls)))
    if len(calls) == 1:
        return (await call_tool(turn, tools, calls[0]),)
    tasks = [asyncio.create_task(call_tool(turn, tools, call), name=f"tool:{call.name}:{call.id}") for call in calls]
    try:
        return tuple(await asyncio.gather(*tasks))
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def call_tool(turn: Turn, tools: Mapping[str, Tool], call: ToolCall) -> ToolResult:
    """One call with its span. Whatever goes wrong becomes a result that the model can read.

    Only cancelling passes, and a limit of the whole query.
    """
    tool = tools.get(call.name)
    given = dict(call.arguments) if call.broken is None else call.broken
    with turn.tracer.tool_call(
        name=call.name,
        call_id=call.id,
        arguments=given,
        source=tool.source if tool else None,
        server=tool.server if tool else None,
    ) as span:
        if tool is None:
            message = f"there is no tool {call.name!r}; there are {', '.join(tools) or 'none'}"
            span.fail(message, reason="unknown_tool").result(message)
            return ToolResult(call, f"error: {message}", failed=True)
        if call.broken is not None:
            message = f"the arguments are not a JSON object: {call.broken[:_SHOWN]}"
            span.fail(message, reason="malformed_arguments").result(message)
            return ToolResult(call, f"error: {message}", failed=True)
        try:
            text, files = _split(await _within(tool, call, turn))
        except _TookTooLong as error:
            span.fail(str(error), reason="timeout").result(str(error))
            return ToolResult(call, f"error: {error}", failed=True)
        except TeamwrightError as error:
            if isinstance(error, LimitReached) and error.limit in _FINAL:
                raise
            span.fail(error).result(error.message)
            return ToolResult(call, f"error: {error.message}", failed=True)
        except BaseException as error:  # SystemExit and its like would end the agent's loop
            if isinstance(error, GeneratorExit) or (isinstance(error, asyncio.CancelledError) and is_cancelled()):
                raise
            log.warning("tool %s failed", call.name, exc_info=True)
            message = readable(in_words(error))
            span.fail(error).result(message)
            return ToolResult(call, f"error: {message}", failed=True)
        span.result(text)
        return ToolResult(call, text, files=files)


def as_text(value: Any) -> str:
    """A tool's result as a model reads it: text as it is, the rest as JSON; cut where it is very long."""
    if value is None or value == "":
        return "(no result)"
    if isinstance(value, bytes | bytearray):
        value = bytes(value).decode(errors="replace") if _is_text(bytes(value)) else f"({len(value)} bytes)"
    text = readable(value if isinstance(value, str) else to_json(value))
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


def reply_message(
    text: str, calls: Sequence[ToolCall], *, thinking: str = "", finish_reason: str | None = None
) -> dict[str, Any]:
    """A model's reply as a `chat` span holds it: what it thought, its words, if any, and its calls."""
    parts = [genai.reasoning(thinking)] if thinking else []
    parts += [genai.text(text)] if text or not calls else []
    parts += [
        genai.tool_call(call.name, dict(call.arguments) if call.broken is None else call.broken, call.id)
        for call in calls
    ]
    return genai.message("assistant", *parts, finish_reason=finish_reason or ("tool_call" if calls else "stop"))


def _split(value: Any) -> tuple[str, tuple[File, ...]]:
    """A tool's result as text and the files in it: it may give a File, several, an Answer, or what a peer said."""
    if isinstance(value, File):
        value = [value]
    if isinstance(value, list | tuple) and value and all(isinstance(item, File) for item in value):
        return "\n".join(named(file) for file in value), tuple(value)
    if isinstance(value, Answer | PeerAnswer):
        words = [value.text, to_json(dict(value.data)) if value.data is not None else ""]
        return as_text("\n".join(filter(None, [*words, *map(named, value.files)]))), value.files
    return as_text(value), ()


def named(file: File) -> str:
    """A file as a model reads of it."""
    size = f"{len(file.data):,} bytes" if file.data is not None else file.uri
    return f"(file {file.name}, {file.media_type}, {size})"


def keep_files(files: dict[str, File], results: Iterable[ToolResult | Reply]) -> None:
    """Add the files of `results` to those that go out with the answer, as far as there is room."""
    for result in results:
        for file in result.files:
            others = sum(len(kept.data or b"") for name, kept in files.items() if name != file.name)
            if others + len(file.data or b"") > _FILES_LIMIT:
                log.warning("the file %s does not go out with the answer: more than %d bytes", file.name, _FILES_LIMIT)
                continue
            files[file.name] = file


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

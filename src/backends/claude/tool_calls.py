"""The `execute_tool` spans of one message: our own tools are carried out here, those of the CLI are only told.

A call is known by the model's id. PreToolUse begins it and may refuse it; our own tools are then called over the
in-process MCP server, for those of the CLI PostToolUse or PostToolUseFailure ends the span. A call that the CLI
refuses itself has no hook for its end, one of a tool that isn't there has none at all: the result that the model is
shown ends (or makes) the span.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import Any

import claude_agent_sdk as sdk
from opentelemetry import context as otel_context
from opentelemetry import trace as otel

from teamwright.backends import loop
from teamwright.backends.api import File, Tool, Turn, Usage
from teamwright.backends.asking import ASK_USER
from teamwright.backends.claude.connection import Called, Hooked, denial, plain, result
from teamwright.backends.claude.options import BUILTIN_TOOLS
from teamwright.backends.inside import claude_words as words
from teamwright.errors import LimitReached
from teamwright.tracing import messages as genai
from teamwright.tracing.spans import ActiveSpan, ToolSpan

_DENIED = "denied"
#: The CLI's words for a tool of its own that the job does not allow, and for a place that a rule forbids.
_ABSENT, _FORBIDDEN = "No such tool available", "denied by your permission settings"


@dataclass(frozen=True, slots=True)
class _Asked:
    """What the model asks for: `at_ns` is when it was known, Unix time."""

    name: str
    arguments: Mapping[str, Any]
    at_ns: int
    agent_id: str | None = None


class ToolCalls:
    """The tool calls of one message.

    `parent_of` gives the span of a sub-agent by its id; `over` hears of a limit that ends the message; `waits` is
    open while a call waits for another agent or a person.
    """

    def __init__(
        self,
        turn: Turn,
        tools: Sequence[Tool],
        parent_of: Callable[[str | None], ActiveSpan | None],
        over: Callable[[LimitReached], None],
        waits: Callable[[], AbstractContextManager[None]],
    ) -> None:
        self.files: dict[str, File] = {}
        self._turn = turn
        self._tools = {tool.name: tool for tool in tools}
        self._parent_of = parent_of
        self._over = over
        self._waits = waits
        #: Seen in the model's reply; passed PreToolUse and not begun; with a span of this class; carried out here.
        self._seen: dict[str, _Asked] = {}
        self._passed: dict[str, _Asked] = {}
        self._spans: dict[str, ToolSpan] = {}
        self._own: set[str] = set()
        self._ended: dict[str, int] = {}
        #: By call: set when its result may go out, after those of the calls before it in the same reply.
        self._out: dict[str, asyncio.Event] = {}
        self._after: dict[str, asyncio.Event] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._called: list[Called] = []
        self._closed = False

    def span(self, call_id: str) -> ToolSpan | None:
        """The span of a call to a tool of the CLI."""
        return self._spans.get(call_id)

    def before(self, hooks: Sequence[Hooked]) -> None:
        """PreToolUse of calls that belong together: whether they may go on; none does when they are too many."""
        limit = self._turn.limits.tool_calls
        if limit is not None and self._turn.usage.tool_calls + len(hooks) > limit:
            error = LimitReached(
                "tool_calls", f"{len(hooks)} more tool calls would pass the limit of {limit} (tool_calls)"
            )
            self._over(error)
            for hook in hooks:
                hook.answer(denial(error.message))
            return
        try:
            self._turn.afford(None)  # after these comes the next model call
        except LimitReached as spent:
            self._over(spent)
            for hook in hooks:
                hook.answer(denial(spent.message))
            return
        self._turn.count(Usage(tool_calls=len(hooks)))
        before: asyncio.Event | None = None
        for hook in hooks:
            given = hook.given
            asked = _Asked(given["tool_name"], given.get("tool_input") or {}, time.time_ns(), given.get("agent_id"))
            if asked.name in self._tools:
                self._passed[given["tool_use_id"]] = asked
                if before is not None:
                    self._after[given["tool_use_id"]] = before
                before = self._out[given["tool_use_id"]] = asyncio.Event()
            else:
                self._begin(given["tool_use_id"], asked)
            hook.answer({})

    def call(self, item: Called) -> None:
        """A tool of our own: carried out beside everything else."""
        call_id = item.id or next(
            (
                key
                for key, asked in self._passed.items()
                if (asked.name, asked.arguments) == (item.tool, item.arguments)
            ),
            "",
        )
        asked = self._passed.pop(call_id, None)
        self._own.add(call_id)
        self._called.append(item)
        parent = self._parent_of(asked.agent_id) if asked is not None else None
        task = asyncio.create_task(self._carry_out(item, call_id, parent), name=f"tool:{item.tool}:{call_id}")
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    def done(self, call_id: str, text: str, at_ns: int) -> None:
        """PostToolUse: `text` is the tool's own structure; what the model gets to see of it comes with the results."""
        if (span := self._spans.get(call_id)) is not None:
            span.result(text)
            self._ended[call_id] = at_ns

    def failed(self, call_id: str, text: str, at_ns: int) -> None:
        """PostToolUseFailure, or a result that is an error."""
        if call_id in self._own:
            return
        if (span := self._spans.get(call_id)) is not None:
            if span.recording:
                span.fail(text, reason="tool_failed").result(text).end(at_ns)
            return
        passed = self._passed.pop(call_id, None)
        if passed is not None:  # it never came to us: the arguments don't fit
            self._out[call_id].set()
            self._begin(call_id, passed).fail(text, reason="ToolError").result(text).end(at_ns)
            return
        asked = self._seen.get(call_id) or _Asked("unknown", {}, at_ns)
        self._turn.count(Usage(tool_calls=1))  # no hook has asked whether it may be made
        span = self._begin(call_id, asked)
        if words.unreadable(asked.arguments) is not None:
            span.fail(text, reason="malformed_arguments")
        elif asked.name not in BUILTIN_TOOLS:
            span.fail(text, reason="ToolError" if asked.name in self._tools else "unknown_tool")
        elif _ABSENT in text or _FORBIDDEN in text:
            rule = "builtin_tools" if _ABSENT in text else "deny"
            span.denied("not allowed by the job", rule=f"backend_options.{rule}").fail(text, reason=_DENIED)
        else:
            span.fail(text, reason="tool_failed")
        span.result(text).end(at_ns)

    def denied(self, call_id: str, message: str, rule: str | None) -> None:
        """The CLI's permission rules say no; the result that the model is shown will follow."""
        asked = self._passed.pop(call_id, None)
        if asked is not None:
            self._out[call_id].set()
        span = self._begin(call_id, asked) if asked is not None else self._spans.get(call_id)
        if span is not None and span.recording:
            span.denied(message, rule=rule).fail(message, reason=_DENIED)

    def asked(self, message: Any, at_ns: int) -> None:
        """Note the calls in an AssistantMessage."""
        for block in message.content:
            if isinstance(block, sdk.ToolUseBlock):
                self._seen[block.id] = _Asked(block.name, block.input, at_ns)

    def results(self, message: Any, at_ns: int) -> list[Mapping[str, Any]]:
        """The results in a UserMessage, as `chat` spans show them; they end what no hook has ended."""
        found: list[Mapping[str, Any]] = []
        for block in message.content if isinstance(message.content, list) else ():
            if isinstance(block, sdk.ToolResultBlock):
                text = plain(block.content)
                span = self._spans.get(block.tool_use_id)
                if span is not None and span.recording:
                    span.result(text).end(self._ended.get(block.tool_use_id, at_ns))
                elif span is None and block.is_error:
                    self.failed(block.tool_use_id, text, at_ns)
                found.append(genai.message("tool", genai.tool_result(text, block.tool_use_id)))
            elif isinstance(block, sdk.TextBlock):
                found.append(genai.message("user", genai.text(block.text)))
        return found

    def close(self, error: BaseException | None, at_ns: int) -> None:
        """The message has ended: what still runs is cancelled, what is still open ends with that error."""
        self._closed = True
        for task in self._tasks:
            task.cancel()
        for item in self._called:
            if not item.reply.done():
                item.reply.set_result(result("the message has ended", failed=True))
        for call_id, span in self._spans.items():
            if call_id in self._ended:
                span.end(self._ended[call_id])
            elif span.recording:
                span.fail(error if error is not None else "the message ended before the tool did")
                span.end(at_ns)

    def _begin(self, call_id: str, asked: _Asked) -> ToolSpan:
        tool, broken = self._tools.get(asked.name), words.unreadable(asked.arguments)
        span = self._spans[call_id] = self._turn.tracer.tool_call(
            name=asked.name,
            call_id=call_id,
            arguments=asked.arguments if broken is None else broken,
            source=tool.source if tool is not None else "builtin" if asked.name in BUILTIN_TOOLS else None,
            server=tool.server if tool is not None else None,
            parent=self._parent_of(asked.agent_id),
            start_ns=asked.at_ns,
        )
        return span

    async def _carry_out(self, item: Called, call_id: str, parent: ActiveSpan | None) -> None:
        if parent is not None:
            otel_context.attach(otel.set_span_in_context(parent.otel_span))
        made = result("the call was cancelled", failed=True)
        try:
            call = loop.ToolCall(call_id, item.tool, dict(item.arguments))
            outside = self._tools[item.tool].source == "peer" or item.tool == ASK_USER
            with self._waits() if outside else nullcontext():
                done = await loop.call_tool(self._turn, self._tools, call)
            loop.keep_files(self.files, (done,))
            made = result(done.text, failed=done.failed)
        except LimitReached as error:
            self._over(error)
            made = result(error.message, failed=True)
        finally:
            if (before := self._after.get(call_id)) is not None and not self._closed:
                # The model gets results in the order in which it asked, whichever is there first.
                await before.wait()
            if call_id in self._out:
                self._out[call_id].set()
            if not item.reply.done():
                item.reply.set_result(made)

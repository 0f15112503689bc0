"""Between CrewAI, which works in threads of its own, and the agent's loop, where models, tools and limits are.

CrewAI's threads carry the context of the thread that began the message; each call of a model or a tool is handed to
the loop, and the thread waits for what comes of it.
"""

from __future__ import annotations

import asyncio
import concurrent.futures
import json
import threading
import time
from collections.abc import Callable, Coroutine, Mapping, Sequence
from typing import Any, TypeVar
from uuid import uuid4

from opentelemetry import context as otel_context
from opentelemetry import trace as otel

from teamwright.backends import loop
from teamwright.backends.api import File, Tool, Turn, Usage
from teamwright.backends.crewai import wording
from teamwright.backends.crewai.places import Places
from teamwright.backends.loop import Reply, ToolCall
from teamwright.backends.openai import OpenAIBackend
from teamwright.errors import LimitReached
from teamwright.tracing.spans import ActiveSpan

T = TypeVar("T")
#: Errors that CrewAI may have a way around (a shorter conversation, tools in words), so it gets to see them.
_ITS_OWN = ("bad_request", "too_large")


class NothingSaid(Exception):
    """The model answered without a word, which CrewAI takes for an error."""


class Bridge:
    """One message. `stop` makes every call that CrewAI waits for, or will make, end with what `stops` makes: an
    exception that CrewAI does not catch, retry or talk about.
    """

    def __init__(
        self,
        turn: Turn,
        tools: Sequence[Tool],
        models: OpenAIBackend | None,
        *,
        speaks: bool,
        stops: Callable[[], Exception],
    ) -> None:
        self.turn = turn
        self.tools = {wording.tool_name(tool.name): tool for tool in tools}
        self.files: dict[str, File] = {}
        self.error: BaseException | None = None
        self.calls = 0
        self._models = models
        self._speaks = speaks
        self._stops = stops
        self._places = Places(turn)
        self._loop = asyncio.get_running_loop()
        self._lock = threading.Lock()
        self._running: set[concurrent.futures.Future[Any]] = set()
        self._over = False
        #: Calls of the last replies that nobody has carried out yet, and the replies themselves by a call's id.
        self._asked: dict[str, tuple[ToolCall, int]] = {}
        self._raw: dict[str, Mapping[str, Any]] = {}

    @property
    def over(self) -> bool:
        """Whether the message has ended; threads of CrewAI may still run."""
        return self._over

    # --- from CrewAI's threads ------------------------------------------------------------------------

    def model(
        self,
        messages: Sequence[Mapping[str, Any]],
        functions: Sequence[Mapping[str, Any]],
        parent: ActiveSpan | None = None,
    ) -> Reply:
        """One model call. Raises what `stops` makes when the message is over or the call failed for good."""
        self._answered_by_crewai(messages, parent)
        reply = self._wait(self._ask(messages, functions), parent)
        now = time.time_ns()
        with self._lock:
            for call in reply.calls:
                self._asked[call.id] = (call, now)
                self._raw[call.id] = reply.raw
        return reply

    def tool(self, tool: Tool, arguments: Mapping[str, Any], parent: ActiveSpan | None = None) -> str:
        """One call of a tool of ours; what the model gets to read. Its id is that of the call with its arguments."""
        call = self.taken(wording.tool_name(tool.name), arguments)
        known = {tool.name: tool}
        result = self._wait(loop.call_tool(self.turn, known, ToolCall(call.id, tool.name, dict(arguments))), parent)
        with self._lock:
            loop.keep_files(self.files, (result,))
        return result.text

    def taken(self, name: str, arguments: Mapping[str, Any]) -> ToolCall:
        """The call that is being carried out. One that no reply of ours asked for is counted, and gets an id."""
        with self._lock:
            for call, _ in self._asked.values():
                if wording.tool_name(call.name) == name and call.arguments == arguments:
                    del self._asked[call.id]
                    return call
        self.count_tools(1)
        return ToolCall(f"call_{uuid4().hex[:12]}", name, dict(arguments))

    def count_tools(self, number: int) -> None:
        """Take that many tool calls from what the query may make. Raises what `stops` makes."""
        self._wait(self._count(number), None)

    def may_call(self, model: Any, parent: ActiveSpan | None = None) -> None:
        """Before a call of a model that the crew brought. Raises what `stops` makes."""
        self._wait(self._afford(threading.get_ident(), model), parent)

    def has_called(self, model: Any, call_id: str, error: str | None) -> None:
        """After one, from any thread."""
        self._loop.call_soon_threadsafe(self._places.ended, model, call_id, error)

    def used(self, usage: Usage) -> None:
        """After one."""
        self._loop.call_soon_threadsafe(self.turn.count, usage)

    def fail(self, error: BaseException) -> Exception:
        """The message fails with that, whatever CrewAI makes of it; what to raise."""
        with self._lock:
            if self.error is None:
                self.error = error
        self._over = True
        return self._stops()

    # --- from the agent's loop ------------------------------------------------------------------------

    def stop(self) -> None:
        """End what goes on, and what would come."""
        with self._lock:
            self._over = True
            running = list(self._running)
        for future in running:
            future.cancel()

    async def _ask(self, messages: Sequence[Mapping[str, Any]], functions: Sequence[Mapping[str, Any]]) -> Reply:
        assert self._models is not None
        if self.calls >= self.turn.limits.turns:
            raise LimitReached("turns", f"no answer after {self.turn.limits.turns} model calls (limit turns)")
        self.calls += 1
        system, rest = wording.parted(messages)
        # Without tools CrewAI has the model talk in its own form, which is not yet the answer.
        reply = await self._models.ask(
            self.turn,
            wording.for_wire(messages, self._raw, self.turn),
            rest,
            system,
            wording.functions(functions, self.tools),
            speaks=self._speaks and bool(functions),
        )
        self.turn.count(reply.usage + Usage(model_calls=1))
        loop.keep_files(self.files, [reply])
        if reply.calls:
            await self._count(len(reply.calls))
        return reply

    async def _count(self, number: int) -> None:
        limit = self.turn.limits.tool_calls
        if limit is not None and self.turn.usage.tool_calls + number > limit:
            raise LimitReached("tool_calls", f"{number} more tool calls would pass the limit of {limit} (tool_calls)")
        self.turn.count(Usage(tool_calls=number))

    async def close(self) -> None:
        """Give back what is held of a provider; after `stop`."""
        await self._places.close()

    async def _afford(self, thread: int, model: Any) -> None:
        if self.calls >= self.turn.limits.turns:
            raise LimitReached("turns", f"no answer after {self.turn.limits.turns} model calls (limit turns)")
        self.turn.afford(None)
        self.calls += 1
        await self._places.take(thread, model)

    def _wait(self, work: Coroutine[Any, Any, T], parent: ActiveSpan | None) -> T:
        with self._lock:
            if self._over:
                work.close()
                raise self._stops()
            future = asyncio.run_coroutine_threadsafe(_below(parent, work), self._loop)
            self._running.add(future)
        try:
            return future.result()
        except concurrent.futures.CancelledError:
            raise self._stops() from None
        except Exception as error:
            if getattr(error, "reason", None) in _ITS_OWN and not isinstance(error, LimitReached):
                raise
            raise self.fail(error) from None
        finally:
            with self._lock:
                self._running.discard(future)

    def _answered_by_crewai(self, messages: Sequence[Mapping[str, Any]], parent: ActiveSpan | None) -> None:
        """Calls that never came to a tool: CrewAI itself has answered them (no such tool, arguments that are none)."""
        answers = {
            one.get("tool_call_id"): str(one.get("content") or "") for one in messages if one.get("role") == "tool"
        }
        with self._lock:
            found = [(self._asked.pop(key), text) for key, text in answers.items() if key in self._asked]
        for (call, at_ns), text in found:
            unknown = wording.tool_name(call.name) not in self.tools
            span = self.turn.tracer.tool_call(
                name=call.name,
                call_id=call.id,
                arguments=dict(call.arguments) if call.broken is None else call.broken,
                parent=parent,
                start_ns=at_ns,
            )
            span.fail(text, reason="unknown_tool" if unknown else "malformed_arguments").result(text)
            span.end(at_ns)


async def _below(parent: ActiveSpan | None, work: Coroutine[Any, Any, T]) -> T:
    """`work`, its spans below `parent`, else below what is current in the thread that asks for it."""
    if parent is not None:
        otel_context.attach(otel.set_span_in_context(parent.otel_span))
    return await work


def as_text(arguments: Any) -> str:
    """Arguments of a tool call as the wire has them."""
    return arguments if isinstance(arguments, str) else json.dumps(arguments)

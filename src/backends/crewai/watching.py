"""What CrewAI does of its own, as spans: agents of a crew, calls of models that the crew brought, tools, memory.

Its hooks run in the thread that does the work, before and after each tool and each model call: they decide, and tool
spans come from them. Its events run in other threads, in the context of the thread that sent them; they have times and
ids, and everything else comes from them. A call of a model is one from its start event to its end event, by `call_id`.
"""

from __future__ import annotations

import contextvars
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from opentelemetry.trace import SpanKind

from teamwright.backends import loop
from teamwright.backends.api import Turn
from teamwright.backends.crewai import own_models, told, wording
from teamwright.backends.crewai.bridge import Bridge
from teamwright.tracing import messages as genai
from teamwright.tracing import vocabulary as v
from teamwright.tracing.spans import ActiveSpan, ToolSpan

_DENIED = "denied"
#: CrewAI's words for a tool that raised: its hooks get no other sign.
_FAILED = "Error executing tool"
_watcher: contextvars.ContextVar[Watcher | None] = contextvars.ContextVar("teamwright_crewai", default=None)
#: The tool that is at work in this context: an agent that it sets to work, or asks, belongs below it.
_inside: contextvars.ContextVar[ActiveSpan | None] = contextvars.ContextVar("teamwright_crewai_tool", default=None)
_registered = threading.Lock()
_done = False


class Watcher:
    """One message. `crew`: its agents get spans of their own; a single agent is the agent that runs."""

    def __init__(self, turn: Turn, bridge: Bridge, deny: Sequence[str], *, crew: bool) -> None:
        self._turn = turn
        self._bridge = bridge
        self._deny = deny
        self._crew = crew
        self._lock = threading.RLock()
        self._agents: dict[tuple[str, str], ActiveSpan] = {}
        self._tools: dict[int, list[tuple[ToolSpan | None, ActiveSpan | None]]] = {}
        self.models = own_models.OwnModels(turn, bridge, self._parent_of)

    # --- where spans hang -----------------------------------------------------------------------------

    def parent(self, task: Any, agent: Any) -> ActiveSpan | None:
        """The span of a crew's agent at a task, else of the tool that is at work; None = what is current."""
        if not self._crew or self._bridge.over:
            return None
        if agent is None:
            return _inside.get()
        with self._lock:
            key = (str(getattr(task, "id", "")), str(getattr(agent, "id", "")))
            return self._agents.get(key) or self._begin(key, str(agent.role).strip(), None, None)

    def current(self) -> ActiveSpan | None:
        """The agent whose tool runs in this thread."""
        stack = self._tools.get(threading.get_ident())
        return stack[-1][1] if stack else None

    def _parent_of(self, event: Any) -> ActiveSpan | None:
        with self._lock:
            return self._agents.get((event.task_id or "", event.agent_id or "")) or _inside.get()

    def _begin(self, key: tuple[str, str], role: str, asked: str | None, at_ns: int | None) -> ActiveSpan:
        span = self._turn.tracer.span(
            v.span_name(v.OP_AGENT, role),
            {
                v.OPERATION: v.OP_AGENT,
                v.OPENINFERENCE_KIND: "AGENT",
                v.AGENT_NAME: role,
                v.INPUT_MESSAGES: genai.encode(asked) if asked else None,
            },
            kind=SpanKind.INTERNAL,
            parent=_inside.get() or self._turn.tracer.current(),
            start_ns=at_ns,
        )
        self._agents[key] = span
        return span

    # --- hooks: in the thread that does the work ------------------------------------------------------

    def before_tool(self, context: Any) -> bool | None:
        """PRE_TOOL_CALL. False = the tool does not run."""
        if self._bridge.over:
            return False
        name, given = context.tool_name, dict(context.tool_input or {})
        parent = self.parent(context.task, context.agent)
        rule = next((rule for rule in self._deny if wording.matches(rule, name)), None)
        span: ToolSpan | None = None
        if rule is not None or name not in self._bridge.tools:
            call = self._bridge.taken(name, given)
            span = self._turn.tracer.tool_call(
                name=name, call_id=call.id, arguments=given, parent=parent,
                source="local" if context.tool is not None else None,
            )  # fmt: skip
        if span is not None and rule is not None:
            span.denied("not allowed by the job", rule=f"backend_options.deny: {rule}")
            span.fail(f"{name} is not allowed by the job", reason=_DENIED)
        elif span is not None and context.tool is None:
            span.fail(f"there is no tool {name!r}", reason="unknown_tool")
        self._tools.setdefault(threading.get_ident(), []).append((span, parent))
        _inside.set(span)
        return False if rule is not None else None

    def after_tool(self, context: Any) -> str | None:
        """POST_TOOL_CALL. A tool that was not there is named to the model."""
        stack = self._tools.get(threading.get_ident())
        span, _ = stack.pop() if stack else (None, None)
        _inside.set(stack[-1][0] if stack else None)
        text = loop.as_text(context.tool_result)
        changed: str | None = None
        if context.tool is None:
            text = changed = f"error: there is no tool {context.tool_name!r}; there are {self._names()}"
        if span is not None:
            if text.startswith(_FAILED):
                span.fail(text, reason="tool_failed")
            span.result(text).end()
        return changed

    def before_model(self, context: Any) -> bool | None:
        """PRE_MODEL_CALL of a model that the crew brought: ours asks by itself."""
        if getattr(context.llm, "llm_type", None) != "teamwright":
            _bus().flush(2.0)  # what the calls before this one cost
            self._bridge.may_call(context.llm, self.parent(context.task, context.agent))
        return None

    def _names(self) -> str:
        return ", ".join(tool.name for tool in self._bridge.tools.values()) or "none"

    # --- events: in other threads ---------------------------------------------------------------------

    def agent_began(self, event: Any) -> None:
        """An agent at a task; or asked without one, by a flow or a tool (`agent.kickoff`)."""
        key, role = _agent_of(event)
        asked = event.task_prompt if hasattr(event, "task_prompt") else wording.last_words(event.messages)
        with self._lock:
            if not self._crew or self._bridge.over:
                return
            if key not in self._agents:
                self._begin(key, role, asked, own_models.at_ns(event))
            else:
                self._agents[key].set({v.INPUT_MESSAGES: genai.encode(asked)})

    def agent_ended(self, event: Any) -> None:
        with self._lock:
            span = self._agents.pop(_agent_of(event)[0], None)
        if span is None:
            return
        if (error := getattr(event, "error", None)) is not None:
            span.fail(str(error))
        else:
            span.set({v.OUTPUT_MESSAGES: genai.encode(str(event.output), "assistant")})
        span.end(own_models.at_ns(event))

    def happened(self, source: Any, event: Any) -> None:
        """Memory, knowledge, plans, flows …: events of the agent's span, else of the message's."""
        if hasattr(event, "flow_name") and type(source).__module__.startswith("crewai."):
            return  # CrewAI runs its own agents and memories as flows
        span = self._parent_of(event) or self._turn.tracer.current()
        span.event(told.name_of(event), told.kept(event), at_ns=own_models.at_ns(event))

    def compacted(self, event: Any) -> None:
        """CrewAI has shortened a conversation; how long it was it does not say."""
        span = self._parent_of(event) or self._turn.tracer.current()
        span.event(v.EVENT_COMPACTION, {v.REASON: "auto"}, at_ns=own_models.at_ns(event))

    def settle(self, error: BaseException | None) -> None:
        """The message has ended: what is still open ends with that error, after the events that are on their way."""
        if error is None:
            _bus().flush(2.0)
        self.models.close(error)
        with self._lock:
            left = [span for stack in self._tools.values() for span, _ in stack if span is not None]
            left_agents = list(self._agents.values())
            self._agents.clear()
            self._tools.clear()
        for span in [*left, *left_agents]:
            if error is not None:
                span.fail(error)
            span.end()


@contextmanager
def watch(watcher: Watcher) -> Iterator[None]:
    """While it is open, what CrewAI does in this context, and in threads that it starts from it, goes to `watcher`."""
    from crewai.hooks.dispatch import InterceptionPoint, scoped_hooks

    _register()
    token = _watcher.set(watcher)
    hooks = {
        InterceptionPoint.PRE_TOOL_CALL: [watcher.before_tool],
        InterceptionPoint.POST_TOOL_CALL: [watcher.after_tool],
        InterceptionPoint.PRE_MODEL_CALL: [watcher.before_model],
    }
    try:
        with scoped_hooks(hooks):
            yield
    finally:
        _watcher.reset(token)


def _register() -> None:
    """Listen to CrewAI's events, once in a process."""
    global _done
    with _registered:
        if _done:
            return
        from crewai.events.types import agent_events, llm_events

        for began in (agent_events.AgentExecutionStartedEvent, agent_events.LiteAgentExecutionStartedEvent):
            _listen(began, lambda w, source, event: w.agent_began(event))
        for ended in (
            agent_events.AgentExecutionCompletedEvent,
            agent_events.AgentExecutionErrorEvent,
            agent_events.LiteAgentExecutionCompletedEvent,
            agent_events.LiteAgentExecutionErrorEvent,
        ):
            _listen(ended, lambda w, source, event: w.agent_ended(event))
        _listen(llm_events.LLMCallStartedEvent, lambda w, source, event: w.models.began(source, event))
        _listen(llm_events.LLMStreamChunkEvent, lambda w, source, event: w.models.heard(event))
        _listen(llm_events.LLMThinkingChunkEvent, lambda w, source, event: w.models.thought(event))
        _listen(llm_events.LLMCallCompletedEvent, lambda w, source, event: w.models.ended(source, event))
        _listen(llm_events.LLMCallFailedEvent, lambda w, source, event: w.models.ended(source, event))
        _listen(llm_events.ContextWindowSummarizationCompletedEvent, lambda w, source, event: w.compacted(event))
        for kind in told.classes():
            _listen(kind, lambda w, source, event: w.happened(source, event))
        _done = True


def _agent_of(event: Any) -> tuple[tuple[str, str], str]:
    """Which agent an event is about: ids of task and agent, and its role."""
    if (about := getattr(event, "agent_info", None)) is not None:
        return ("", str(about.get("id", ""))), str(about.get("role", "")).strip()
    return (str(event.task.id), str(event.agent.id)), str(event.agent.role).strip()


def _listen(kind: Any, handle: Callable[[Watcher, Any, Any], None]) -> None:
    def handler(source: Any, event: Any) -> None:
        watcher = _watcher.get()
        if watcher is not None:
            handle(watcher, source, event)

    _bus().register_handler(kind, handler)


def _bus() -> Any:
    from crewai.events import crewai_event_bus

    return crewai_event_bus

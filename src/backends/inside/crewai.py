"""CrewAI: its events, as they are sent, in the thread and context of the work that they tell of.

Events are known by their `type`, and read by name: an `invoke_agent` for each agent at a task, a `chat` for each call
of a model, an `execute_tool` for each tool.
"""

from __future__ import annotations

from collections.abc import Callable, MutableMapping
from typing import Any

from . import crewai_words as words
from . import scope as runs
from .scope import Asked, Scope, safely
from .wrapping import wrap

_NAME = "crewai"
#: No telemetry, no traces at their server, no questions at the end, no look for newer versions.
QUIET = {
    "CREWAI_DISABLE_TELEMETRY": "true",
    "CREWAI_DISABLE_TRACKING": "true",
    "CREWAI_TRACING_ENABLED": "false",
    "CREWAI_DISABLE_VERSION_CHECK": "true",
    "CREWAI_TESTING": "true",
    "ANONYMIZED_TELEMETRY": "False",
}
#: The words of tools that CrewAI could not run, and our word for why.
_FAILED = {"Error executing tool": "tool_failed", "Tool execution blocked by hook": "denied"}


def quiet(environment: MutableMapping[str, str]) -> None:
    """Before CrewAI is imported: what nobody has set. Else it takes the process's signals and asks questions."""
    for name, value in QUIET.items():
        environment.setdefault(name, value)


def events(module: Any) -> None:
    """crewai.events.event_bus is there."""
    wrap(module.CrewAIEventsBus, "emit", _emitted)


def _emitted(original: Callable[..., Any]) -> Callable[..., Any]:
    def emit(self: Any, source: Any, event: Any) -> Any:
        handled = original(self, source, event)
        scope = runs.current()
        if scope is not None:
            with safely(_NAME):
                _heard(scope, source, event)
        if getattr(event, "type", "") == "llm_call_started":
            runs.check()
        return handled

    return emit


class _Crew:
    """What goes on in one run."""

    def __init__(self) -> None:
        self.agents: dict[tuple[str, str], int] = {}
        self.calls: dict[str, _Call] = {}
        self.tools: dict[str, tuple[int, Any]] = {}
        self.entered: dict[int, Any] = {}


class _Call:
    def __init__(self, number: int) -> None:
        self.number = number
        self.begun = False
        self.thought = ""


def _heard(scope: Scope, source: Any, event: Any) -> None:
    handle = _HANDLERS.get(getattr(event, "type", ""))
    if handle is not None:
        handle(scope, scope.kept.setdefault(_NAME, _Crew()), source, event)


# --- agents ---------------------------------------------------------------------------------------------


def _agent_began(scope: Scope, crew: _Crew, source: Any, event: Any) -> None:
    key, role = _agent_key(event), _role(event)
    if key in crew.agents:
        return
    asked = getattr(event, "task_prompt", None) or getattr(event, "messages", None)
    _, shown = words.parted(asked)
    number = scope.begin("agent", at=_at(event), name=role, messages=shown or None)
    crew.agents[key] = number
    crew.entered[number] = inside = scope.inside(number)
    inside.__enter__()


def _agent_ended(scope: Scope, crew: _Crew, source: Any, event: Any) -> None:
    number = crew.agents.pop(_agent_key(event), None)
    if number is None:
        return
    crew.entered.pop(number).__exit__(None, None, None)
    if getattr(event, "error", None) is not None:
        scope.end(number, at=_at(event), error={"text": str(event.error), "reason": "agent_failed"})
    else:
        scope.end(number, at=_at(event), answer=str(event.output))


def _agent_key(event: Any) -> tuple[str, str]:
    about = getattr(event, "agent_info", None)
    if about is not None:
        return "", str(about.get("id") or "")
    return str(getattr(event.task, "id", "")), str(getattr(event.agent, "id", ""))


def _role(event: Any) -> str:
    about = getattr(event, "agent_info", None)
    return str(about.get("role") if about is not None else event.agent.role).strip() or "agent"


def _above(crew: _Crew, event: Any) -> int | None:
    task, agent = getattr(event, "task_id", None) or "", getattr(event, "agent_id", None) or ""
    return crew.agents.get((str(task), str(agent))) or (crew.agents.get(("", str(agent))) if agent else None)


# --- models ---------------------------------------------------------------------------------------------


def _call_began(scope: Scope, crew: _Crew, source: Any, event: Any) -> None:
    system, shown = words.parted(event.messages)
    number = scope.begin(
        "model", parent=_above(crew, event), at=_at(event), model=_model(event), provider=_provider(source, event),
        messages=shown, system=system or None,
    )  # fmt: skip
    crew.calls[event.call_id] = _Call(number)


def _call_heard(scope: Scope, crew: _Crew, source: Any, event: Any) -> None:
    call = crew.calls.get(event.call_id)
    if call is None:
        return
    if not call.begun:
        call.begun = True
        scope.note(call.number, "first token", at=_at(event))
    if event.type == "llm_thinking_chunk":
        call.thought += event.chunk or ""


def _call_ended(scope: Scope, crew: _Crew, source: Any, event: Any) -> None:
    call = crew.calls.pop(event.call_id, None)
    if call is None:  # a failed one is told twice
        return
    if getattr(event, "error", None) is not None:
        scope.end(call.number, at=_at(event), error={"text": str(event.error), "status": words.status_in(event.error)})
        return
    calls = words.calls_in(event.response)
    finish = words.finish_of(getattr(event, "finish_reason", None), calls)
    parts: list[dict[str, Any]] = [{"type": "reasoning", "content": call.thought}] if call.thought else []
    text = event.response if isinstance(event.response, str) else "" if calls else words.as_text(event.response)
    parts += [{"type": "text", "content": text}] if text or not calls else []
    scope.asked([Asked(one["name"], one["arguments"], one.get("id")) for one in calls])
    scope.end(
        call.number,
        at=_at(event),
        answer={"role": "assistant", "parts": [*parts, *calls], "finish_reason": finish},
        finish=finish,
        model=_model(event),
        response_id=getattr(event, "response_id", None),
        usage=words.tokens(getattr(event, "usage", None)),
    )


def _model(event: Any) -> str | None:
    return str(event.model).rpartition("/")[2] if event.model else None


def _provider(source: Any, event: Any) -> str | None:
    before, slash, _ = str(event.model or "").partition("/")
    return getattr(source, "provider", None) or (before if slash else None)


# --- tools ----------------------------------------------------------------------------------------------


def _tool_began(scope: Scope, crew: _Crew, source: Any, event: Any) -> None:
    arguments = words.arguments(event.tool_args)
    asked = scope.take(event.tool_name, arguments)
    kind = "mcp" if "MCP" in str(getattr(event, "tool_class", None) or "") else "local"
    number = scope.begin(
        "tool", parent=_above(crew, event), at=_at(event), name=event.tool_name, arguments=arguments, source=kind,
        call_id=asked.call_id if asked is not None else None,
    )  # fmt: skip
    inside = scope.inside(number)
    inside.__enter__()
    crew.tools[event.event_id] = number, inside


def _tool_ended(scope: Scope, crew: _Crew, source: Any, event: Any) -> None:
    found = crew.tools.pop(getattr(event, "started_event_id", None) or "", None)
    if found is None:
        here = [key for key, (number, _) in crew.tools.items() if number == runs.below()]
        if not here:
            return
        found = crew.tools.pop(here[0])
    number, inside = found
    inside.__exit__(None, None, None)
    error = getattr(event, "error", None)
    failure = getattr(event, "failure", None)
    result = words.as_text(event.output if hasattr(event, "output") else error)
    failed: dict[str, Any] | None = None
    if error is not None:
        failed = {"text": str(error), "reason": "tool_failed"}
    elif failure is not None:
        reason = getattr(getattr(failure, "reason", None), "value", None)
        failed = {"text": str(getattr(failure, "message", None) or result), "reason": reason or "tool_failed"}
    else:
        known = next((reason for start, reason in _FAILED.items() if result.startswith(start)), None)
        failed = {"text": result, "reason": known} if known else None
    scope.end(number, at=_at(event), result=result, error=failed)


def _at(event: Any) -> int:
    return int(event.timestamp.timestamp() * 1e9)


_HANDLERS: dict[str, Callable[[Scope, _Crew, Any, Any], None]] = {
    "agent_execution_started": _agent_began,
    "agent_execution_completed": _agent_ended,
    "agent_execution_error": _agent_ended,
    "lite_agent_execution_started": _agent_began,
    "lite_agent_execution_completed": _agent_ended,
    "lite_agent_execution_error": _agent_ended,
    "llm_call_started": _call_began,
    "llm_stream_chunk": _call_heard,
    "llm_thinking_chunk": _call_heard,
    "llm_call_completed": _call_ended,
    "llm_call_failed": _call_ended,
    "tool_usage_started": _tool_began,
    "tool_usage_finished": _tool_ended,
    "tool_usage_error": _tool_ended,
}

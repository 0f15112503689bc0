"""Which of CrewAI's events stand as events on the span of the agent that they are about.

Those of models and agents are spans (watching.py, own_models.py), tools are seen by hooks; what is not used at all, and
why, is in docs/what-a-trace-shows.md. Beginnings are left out where the end tells everything.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from importlib import import_module
from typing import Any, Final

from teamwright.tracing import vocabulary as v

#: module of `crewai.events.types`: classes
TOLD: Final[Mapping[str, tuple[str, ...]]] = {
    "memory_events": (
        "MemoryQueryCompletedEvent", "MemoryQueryFailedEvent", "MemorySaveCompletedEvent", "MemorySaveFailedEvent",
        "MemoryRetrievalCompletedEvent", "MemoryRetrievalFailedEvent",
    ),
    "knowledge_events": (
        "KnowledgeRetrievalCompletedEvent", "KnowledgeQueryFailedEvent", "KnowledgeSearchQueryFailedEvent",
    ),
    "reasoning_events": ("AgentReasoningCompletedEvent", "AgentReasoningFailedEvent"),
    "observation_events": (
        "PlanStepStartedEvent", "PlanStepCompletedEvent", "StepObservationCompletedEvent",
        "StepObservationFailedEvent", "PlanRefinementEvent", "PlanReplanTriggeredEvent", "GoalAchievedEarlyEvent",
    ),
    "llm_guardrail_events": ("LLMGuardrailCompletedEvent",),
    "llm_events": ("ContextWindowSummarizationFailedEvent",),
    "skill_events": ("SkillActivatedEvent", "SkillUsedEvent", "SkillLoadFailedEvent"),
    "mcp_events": ("MCPConnectionCompletedEvent", "MCPConnectionFailedEvent", "MCPConfigFetchFailedEvent"),
    "flow_events": (
        "FlowStartedEvent", "FlowFinishedEvent", "FlowFailedEvent", "MethodExecutionStartedEvent",
        "MethodExecutionFinishedEvent", "MethodExecutionFailedEvent",
    ),
}  # fmt: skip
#: What is kept of them. Words of people and models have names that the content policy knows.
_WORDS: Final = {"query": "input.value", "step_description": "input.value", "plan": "output.value",
                 "retrieved_knowledge": "output.value", "result": "output.value"}  # fmt: skip
_FACTS: Final = (
    "source_type", "query_time_ms", "save_time_ms", "retrieval_time_ms", "ready", "attempt", "step_number", "success",
    "step_completed_successfully", "replan_reason", "refined_step_count", "steps_remaining", "guardrail_name",
    "retry_count", "skill_name", "server_name", "slug", "transport_type", "connection_duration_ms", "flow_name",
    "method_name",
)  # fmt: skip


def classes() -> Iterator[Any]:
    """The classes, as the installed CrewAI has them."""
    for module, names in TOLD.items():
        found = vars(import_module(f"crewai.events.types.{module}"))
        yield from (found[name] for name in names)


def name_of(event: Any) -> str:
    """`memory query completed`: what the event on the span is called."""
    return str(event.type).replace("_", " ")


def kept(event: Any) -> dict[str, Any]:
    """What stands with it."""
    made: dict[str, Any] = {}
    for key in _FACTS:
        if isinstance(value := getattr(event, key, None), str | int | float) and value != "":
            made[f"crewai.{key}"] = value
    for key, name in _WORDS.items():
        if isinstance(value := getattr(event, key, None), str) and value:
            made[name] = value
    if error := getattr(event, "error", None):
        made[v.REASON] = str(error)
    return made

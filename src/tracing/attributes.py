"""What may be an attribute's value: text, numbers, truth, lists of one of these; anything else becomes JSON text."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from teamwright.tracing.messages import to_json

_PLAIN = frozenset([str, int, float, bool])
_TASK_STATE = "TASK_STATE_"


def clean(attributes: Mapping[str, Any]) -> dict[str, Any]:
    """Attributes as OpenTelemetry takes them: no None, nothing nested but JSON text."""
    return {
        key: value if type(value) in _PLAIN else clean_value(value)
        for key, value in attributes.items()
        if value is not None
    }


def clean_value(value: Any) -> Any:
    """One attribute's value, taken down as it is now: what is a list is copied."""
    if type(value) in _PLAIN:
        return value
    if isinstance(value, str):
        return str(value)  # RunId and enums of text: plain text on the wire
    if isinstance(value, bool | int | float | bytes):
        return value
    if isinstance(value, list | tuple):
        kinds = set(map(type, value))
        if len(kinds) <= 1 and kinds <= _PLAIN:
            return list(value)
    return to_json(value)


def task_state(state: str | None) -> str | None:
    """A task's state in the words of the conventions: `input_required` is `TASK_STATE_INPUT_REQUIRED`."""
    return f"{_TASK_STATE}{state.upper()}" if state else None


def plain_state(told: str) -> str:
    """The same state in our words, which are those of results and lists."""
    return told.removeprefix(_TASK_STATE).lower()

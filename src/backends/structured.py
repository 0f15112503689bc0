"""Answers of a fixed shape: `output_schema` of the job file, a JSON Schema for an object.

instruction(schema)            what a model is told
conform(Answer(text), schema)  the answer with its `data`, or Unfit saying what is wrong
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from teamwright.backends.api import Answer
from teamwright.errors import BackendError
from teamwright.tracing.messages import to_json

_FENCE = re.compile(r"```[^\S\n]*(?:json)?[^\S\n]*\n(.*?)```", re.DOTALL | re.IGNORECASE)
_SHOWN = 300


class Unfit(BackendError):
    """An answer that is no JSON, or not of the wanted shape."""

    def __init__(self, message: str) -> None:
        super().__init__(message, reason="unfit")


def schema_fault(schema: Mapping[str, Any]) -> str | None:
    """Why `schema` can't be used; None when it can."""
    if schema.get("type") != "object":
        return "must describe an object: type: object"
    validator = _validator(schema)
    try:
        validator.check_schema(dict(schema))
    except Exception as error:  # jsonschema is imported only when somebody uses it, so its class has no name here
        return f"is not a JSON Schema: {_line(error)}"
    return None


def instruction(schema: Mapping[str, Any]) -> str:
    """What a prompt says of the shape."""
    return f"Answer with one JSON object and nothing else. It must fit this JSON Schema:\n{to_json(dict(schema))}"


def conform(answer: Answer, schema: Mapping[str, Any]) -> Answer:
    """The answer with its data, found in its text where it isn't there yet. Raises Unfit with one line."""
    data = answer.data if answer.data is not None else read(answer.text)
    from jsonschema.exceptions import best_match  # type: ignore[import-untyped]

    plain = json.loads(to_json(dict(data)))
    error = best_match(_validator(schema)(dict(schema)).iter_errors(plain))
    if error is not None:
        place = "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in error.absolute_path)
        raise Unfit(f"the answer does not fit output_schema: {place.lstrip('.') or 'the object'}: {_line(error)}")
    return replace(answer, data=plain)


def read(text: str) -> Mapping[str, Any]:
    """The JSON object that a text is or holds, in a fence or between other words. Raises Unfit."""
    for candidate in (text, *_FENCE.findall(text)):
        try:
            found = json.loads(candidate)
        except (ValueError, RecursionError):
            continue
        if isinstance(found, dict):
            return found
    decoder = json.JSONDecoder()
    start = text.find("{")
    for _ in range(20):  # a text full of braces is no reason to look for ever
        if start < 0:
            break
        try:
            found, _ = decoder.raw_decode(text, start)
        except (ValueError, RecursionError):
            start = text.find("{", start + 1)
            continue
        if isinstance(found, dict):
            return found
        break
    raise Unfit("the answer does not fit output_schema: it holds no JSON object")


def _validator(schema: Mapping[str, Any]) -> Any:
    from jsonschema import Draft202012Validator  # type: ignore[import-untyped]
    from jsonschema.validators import validator_for  # type: ignore[import-untyped]

    return validator_for(dict(schema), default=Draft202012Validator)


def _line(error: Exception) -> str:
    text = " ".join(str(getattr(error, "message", error)).split())
    return text if len(text) <= _SHOWN else f"{text[:_SHOWN]} …"

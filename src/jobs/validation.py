"""Validates a source against the schema and says what is wrong in the words of the job file."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from functools import cache
from typing import Any

from pydantic import ValidationError
from pydantic_core import ErrorDetails

from teamwright.errors import Problem
from teamwright.jobs.names import nearest, suggestion
from teamwright.jobs.schema import JobFile, json_schema
from teamwright.jobs.source import KeyPath, Source

#: Words that people try, by where they stand (`agent`, `` = top), and what to write instead.
_INSTEAD: Mapping[tuple[str, str], str] = {
    ("agent", "port"): "config: {port: …}",
    ("agent", "instructions"): "prompt: …",
    ("agent", "system"): "prompt: …",
    ("agent", "system_prompt"): "prompt: …",
    ("agent", "class"): "type: … and module: …",
    ("agent", "function"): 'run: "package.module:function"',
    ("agent", "secrets"): "env: [NAME]",
    ("agent", "env_vars"): "environment: {NAME: value}",
    ("agent", "peers"): "calls: [ids]",
    ("agent", "connections"): "calls: [ids]",
    ("agent", "temperature"): "model_options: {temperature: …}",
    ("agent", "max_tokens"): "model_options: {max_tokens: …}",
    ("agent", "memory"): "resources: {memory: …}",
    ("agent", "cpu"): "resources: {cpu: …}",
    ("agent", "timeout"): "limits: {duration: …}, or deployment: {timeout: …} at the top for starting",
    ("agent", "turns"): "limits: {turns: …}",
    ("agent", "tags"): "skills: [{id, name, tags: […]}]",
    ("", "name"): "job: {name: …}",
    ("", "version"): "job: {version: …}",
    ("", "description"): "job: {description: …}",
    ("", "tags"): "job: {tags: […]}",
    ("", "entry_point"): "execution: {entry_point: …}",
    ("", "query"): "execution: {query: …}",
    ("", "strategy"): "deployment: {strategy: …}",
    ("", "timeout"): "deployment: {timeout: …}",
    ("", "health_check"): "deployment: {health_check: …}",
    ("", "env"): "environment: {NAME: value}, or env: [NAME] on an agent for secrets",
    ("", "model"): "defaults: {model: …}",
    ("", "backend"): "defaults: {backend: …}",
    ("", "limits"): "defaults: {limits: …}",
}

_KINDS = {
    "string_type": "text",
    "int_type": "a whole number",
    "int_from_float": "a whole number",
    "float_type": "a number",
    "bool_type": "true or false",
    "list_type": "a list",
    "dict_type": "a mapping",
    "model_type": "a mapping",
    "model_attributes_type": "a mapping",
}
_BOUNDS = {"greater_than": "over {gt:g}", "greater_than_equal": "at least {ge:g}", "less_than_equal": "at most {le:g}"}


def validate(source: Source) -> tuple[JobFile | None, list[Problem]]:
    """The model of the file, or what is wrong with it; each problem with line, key and hint."""
    try:
        return JobFile.model_validate(source.data), []
    except ValidationError as error:
        return None, list(_problems(source, error))


def check_part(source: Source, path: KeyPath, error: ValidationError) -> list[Problem]:
    """The problems of a value that was validated on its own and stands at `path`."""
    return list(_problems(source, error, path))


def _problems(source: Source, error: ValidationError, base: KeyPath = ()) -> Iterator[Problem]:
    broken = {where for where, _ in source.problems}
    for detail in error.errors(include_url=False):
        path = (*base, *(part for part in detail["loc"] if not (isinstance(part, str) and part.startswith("<"))))
        if path and path[-1] == "[key]":
            path = path[:-1]
        if path in broken:
            continue
        message, hint = _say(source, path, detail)
        yield source.problem(path, message, hint)


def _say(source: Source, path: KeyPath, detail: ErrorDetails) -> tuple[str, str | None]:
    kind, given, context = detail["type"], detail["input"], detail.get("ctx", {})
    if kind == "extra_forbidden":
        return "unknown key", _right_key(path)
    if kind == "missing":
        return "is missing", _MISSING.get(str(path[-1])) if len(path) < 4 else None
    if kind in _KINDS:
        return f"must be {_KINDS[kind]}, not {_described(given)}", _type_hint(source, path, kind, given)
    if kind in _BOUNDS:
        return f"must be {_BOUNDS[kind].format(**context)}, not {given!r}", None
    if kind == "literal_error":
        options = [word.strip("'") for word in context["expected"].replace(" or ", ", ").split(", ")]
        close = nearest(given, options) if isinstance(given, str) else None
        return f"must be one of {', '.join(options)}, not {given!r}", f"did you mean {close!r}?" if close else None
    if kind in ("string_too_short", "too_short"):
        return "must not be empty", None
    return detail["msg"].removeprefix("Value error, "), None


_MISSING = {
    "id": "every agent has an id: - {id: lead, …}",
    "agents": "agents: [{id: lead, backend: offline, prompt: You answer briefly.}]",
    "type": "hub-spoke, pipeline, dag, mesh, hierarchical or dynamic",
}


def _described(value: object) -> str:
    if value is None:
        return "nothing"
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, dict):
        return "a mapping"
    if isinstance(value, list):
        return "a list"
    return f"{value!r}"[:60]


def _type_hint(source: Source, path: KeyPath, kind: str, given: object) -> str | None:
    if kind == "string_type" and not isinstance(given, (dict, list)) and given is not None:
        return f'put it in quotes: "{source.texts.get(path, given)}"'
    if kind == "bool_type" and isinstance(given, str) and given.lower() in ("yes", "on", "no", "off"):
        return f"write {'true' if given.lower() in ('yes', 'on') else 'false'}"
    if kind == "list_type" and isinstance(given, (str, int, float)):
        return f"write [{given}]"
    if kind in ("int_type", "float_type") and isinstance(given, str) and given.strip().lstrip("-").isdigit():
        return f"without the quotes: {given.strip()}"
    return None


def _right_key(path: KeyPath) -> str | None:
    wrong = str(path[-1])
    place = "agent" if path[:-1] == ("defaults",) or (len(path) == 3 and path[0] == "agents") else ""
    if (place or len(path) == 1) and (instead := _INSTEAD.get((place, wrong))):
        return f"write {instead}"
    return suggestion(wrong, keys_at(path[:-1]), kind="known keys")


def keys_at(path: KeyPath) -> list[str]:
    """The keys that may stand at `path`, in the schema's order."""
    nodes = [_schema()]
    for part in path:
        nodes = [inner for node in nodes for inner in _step(node, part)]
    return list(dict.fromkeys(key for node in nodes for form in _forms(node) for key in form.get("properties", {})))


def _step(node: dict[str, Any], part: str | int) -> Iterator[dict[str, Any]]:
    for form in _forms(node):
        if isinstance(part, int):
            inner = form.get("items")
        else:
            inner = form.get("properties", {}).get(part) or form.get("additionalProperties")
        if isinstance(inner, dict):
            yield inner


def _forms(node: dict[str, Any]) -> Iterator[dict[str, Any]]:
    if "$ref" in node:
        yield from _forms(_schema()["$defs"][node["$ref"].rsplit("/", 1)[1]])
    for choice in (*node.get("anyOf", ()), *node.get("oneOf", ())):
        yield from _forms(choice)
    yield node


@cache
def _schema() -> dict[str, Any]:
    return json_schema()

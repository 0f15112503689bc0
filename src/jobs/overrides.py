"""`--set PATH=VALUE`: changes to a job file from the command line.

--set agents.writer.limits.turns=3      an agent by its id …
--set agents[0].config.port=9001        … or by its place
--set environment.LOG_LEVEL=debug       keys that are not there are made
--set 'topology.spokes=[a, b]'          VALUE is YAML; ${VAR} in it is the shell's business
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

from teamwright.errors import JobFileError, Problem
from teamwright.jobs.names import suggestion
from teamwright.jobs.source import KeyPath, Mark, Source, key_text, value_of

_STEP = re.compile(r"\.?(?P<word>[^.\[\]=\s]+)|\[(?P<index>\d+)\]")


class _Wrong(Exception):
    def __init__(self, message: str, hint: str | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint


def apply(source: Source, sets: Sequence[str]) -> None:
    """Carry out `sets` on `source`, in their order; what can't be done is added to its problems.

    Messages name the flag by its path, without the value: that may be a secret.
    """
    for text in sets:
        key, equals, raw = text.partition("=")
        label = f"--set {key}" if equals else f"--set {text}"
        try:
            if not equals or not key.strip():
                raise _Wrong("must be PATH=VALUE", "for example agents.writer.limits.turns=3")
            _apply(source, key.strip(), raw, label)
        except _Wrong as wrong:
            source.problems.append(((), Problem(wrong.message, label, hint=wrong.hint)))
        except JobFileError as error:
            source.problems.append(((), Problem(error.problems[0].message, label, hint="VALUE must be YAML")))


def _apply(source: Source, key: str, raw: str, label: str) -> None:
    path = _resolve(source.data, _steps(key))
    value = value_of(raw, label)
    parent: Any = source.data
    for depth, part in enumerate(path[:-1]):
        if isinstance(parent, dict) and parent.get(str(part)) is None:
            parent[str(part)] = {}
            source.marks[path[: depth + 1]] = Mark(label, None)
        parent = parent[part]
    source.forget(path)
    parent[path[-1]] = value
    _mark(source, path, value, Mark(label, None))
    if not isinstance(value, (str, list, dict)):
        source.texts[path] = raw.strip()


def _steps(key: str) -> list[str | int]:
    steps: list[str | int] = []
    place = 0
    while place < len(key):
        match = _STEP.match(key, place)
        if match is None or (place == 0 and key[0] in ".["):
            raise _Wrong(
                f"can't make out the path {key!r}", "write it like agents.writer.limits.turns or agents[0].model"
            )
        steps.append(int(match["index"]) if match["index"] else match["word"])
        place = match.end()
    return steps


def _resolve(data: Any, steps: list[str | int]) -> KeyPath:
    """The key path that `steps` mean in `data`; agents may be named by their ids."""
    path: KeyPath = ()
    node = data
    for number, step in enumerate(steps):
        last = number == len(steps) - 1
        if isinstance(node, list):
            step = _index(node, step, path)
            node = node[step]
        elif isinstance(node, dict):
            step = str(step)
            if node.get(step) is None and not last and isinstance(steps[number + 1], int):
                raise _Wrong(f"there is no list {key_text((*path, step))}")
            node = node.get(step, {})
            node = {} if node is None and not last else node
        else:
            raise _Wrong(f"{key_text(path)} is a value, it has no {step!r} in it")
        path = (*path, step)
    return path


def _index(items: list[Any], step: str | int, path: KeyPath) -> int:
    ids = [item.get("id") if isinstance(item, dict) else None for item in items]
    if isinstance(step, str) and step in ids:
        return ids.index(step)
    if isinstance(step, int) or step.isdigit():
        if int(step) < len(items):
            return int(step)
        count = f"{len(items)} entr{'y' if len(items) == 1 else 'ies'}"
        raise _Wrong(f"{key_text(path)} has {count}, there is no [{step}]", f"set the whole list: {key_text(path)}=[…]")
    if path == ("agents",):
        raise _Wrong(f"no agent {step!r}", suggestion(step, [str(one) for one in ids if one], kind="agents"))
    raise _Wrong(f"{key_text(path)} is a list: write {key_text(path)}[0]")


def _mark(source: Source, path: KeyPath, value: Any, mark: Mark) -> None:
    source.marks[path] = mark
    if isinstance(value, dict):
        for key, inner in value.items():
            _mark(source, (*path, key), inner, mark)
    elif isinstance(value, list):
        for index, inner in enumerate(value):
            _mark(source, (*path, index), inner, mark)

"""What the job file may say but this version can't do yet: one table. Building something takes its row out.

A row refuses when leaving the key out would make the job unsafe or the agent unable to run; else it warns, once.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from teamwright.errors import Problem
from teamwright.jobs.source import KeyPath, Source

LOCAL_TARGETS = ("localhost", "127.0.0.1", "local")


def _given(value: Any) -> bool:
    return value is not None


@dataclass(frozen=True, slots=True)
class Row:
    """`key`: a path, `agent.…` for an agent's or the defaults'. `when`: the values it is about."""

    key: str
    what: str
    refuse: bool = False
    when: Callable[[Any], bool] = _given

    @property
    def always(self) -> bool:
        """Whether it is about every value that says anything."""
        return self.when is _given


TABLE: tuple[Row, ...] = (
    Row("agent.scope", "scope is not built yet, and without it nothing would hold the agent back", refuse=True),
    Row("agent.approve", "approvals are not built yet, and without them nobody would be asked", refuse=True),
    Row("watch", "watchers are not built yet, and nothing would be watched", refuse=True),
    Row(
        "agent.deployment.target",
        f"agents on other machines are not built yet: only {', '.join(LOCAL_TARGETS)}",
        refuse=True,
        when=lambda value: value not in LOCAL_TARGETS,
    ),
)


def check(source: Source, table: tuple[Row, ...] = TABLE) -> tuple[list[Problem], list[str]]:
    """What the file asks for that is not built: refusals, and one warning for each other kind."""
    refused: list[Problem] = []
    warnings: list[str] = []
    for row in table:
        found = [path for path, value in _places(source.data, row.key) if row.when(value)]
        if row.refuse:
            refused.extend(source.problem(path, row.what) for path in found)
        elif found:
            more = f" (and {len(found) - 1} more)" if len(found) > 1 else ""
            warnings.append(f"{source.problem(found[0], row.what)}{more}")
    return refused, warnings


def _places(data: Mapping[str, Any], key: str) -> Iterator[tuple[KeyPath, Any]]:
    head, _, rest = key.partition(".")
    if head != "agent":
        yield from _value(data, key.split("."), ())
        return
    yield from _value(data.get("defaults"), rest.split("."), ("defaults",))
    for index, agent in enumerate(data.get("agents") or ()):
        yield from _value(agent, rest.split("."), ("agents", index))


def _value(node: Any, parts: list[str], path: KeyPath) -> Iterator[tuple[KeyPath, Any]]:
    for part in parts:
        if not isinstance(node, dict) or part not in node:
            return
        node, path = node[part], (*path, part)
    yield path, node

"""Every value that a job is made of, and where it came from: what `deploy plan --full` shows."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from teamwright.jobs.names import looks_secret
from teamwright.jobs.plan import AgentPlan, Plan
from teamwright.jobs.source import KeyPath, Source, key_text

_HIDDEN = "***"


@dataclass(frozen=True, slots=True)
class Origin:
    """One value. `key` is its path in the job file, `whence` FILE:LINE, --set PATH, --name, default …"""

    key: str
    value: Any
    whence: str

    def to_dict(self) -> dict[str, Any]:
        """The JSON of `plan --full`."""
        return {"key": self.key, "value": self.value, "from": self.whence}


def origins(
    source: Source, top: Mapping[str, Any], agents: Sequence[tuple[int, Mapping[str, Any]]], plan: Plan
) -> Iterator[Origin]:
    """Those of the whole job. `top` is the checked file, `agents` each agent as it is with `defaults`, by its place.

    Values that look like secrets by their name are hidden; what is empty and was not written is left out.
    """
    named = source.data.get("job")
    in_file = isinstance(named, dict) and named.get("name") == plan.job
    given = "the file's name" if plan.job == source.path.stem else "--name"
    yield Origin("job.name", plan.job, _place(source, ("job", "name")) if in_file else given)
    for key, value in top.items():
        if key not in ("agents", "defaults"):
            for path, leaf in _leaves((key,), value):
                if path != ("job", "name"):
                    yield from _origin(source, path, leaf, None, key_text(path))
    yield Origin("execution.entry_point", plan.entry_point, _entry(source, plan))
    for index, entry in agents:
        agent = plan.agent(entry["id"])
        for key, value in entry.items():
            for below, leaf in _leaves((key,), value):
                label = f"agents.{agent.id}.{key_text(below)}"
                yield from _origin(source, ("agents", index, *below), leaf, ("defaults", *below), label)
        yield from _resolved(agent, entry)


def _origin(source: Source, path: KeyPath, value: Any, default: KeyPath | None, label: str) -> Iterator[Origin]:
    if path == ("execution", "entry_point"):
        return
    found = next((each for each in (path, default) if each is not None and _written(source.data, each)), None)
    if found is None:
        if value not in (None, [], {}, (), ""):
            yield Origin(label, value, "default")
        return
    names = _variables(source, found)
    hidden = any(map(looks_secret, (*names, *(part for part in path[-1:] if isinstance(part, str)))))
    whence = _place(source, found) + (" (defaults)" if found == default else "")
    whence += "".join(f" ${{{name}}}" for name in names)
    yield Origin(label, _HIDDEN if hidden and value is not None else value, whence)


def _resolved(agent: AgentPlan, entry: Mapping[str, Any]) -> Iterator[Origin]:
    """What follows from the file without standing there."""
    if entry.get("backend") is None:
        yield Origin(f"agents.{agent.id}.backend", agent.backend, "follows from its kind and model")
    own = entry.get("limits") or {}
    for name, value in asdict(agent.limits).items():
        if value is not None and own.get(name) is None:
            yield Origin(f"agents.{agent.id}.limits.{name}", value, "default")
    for secret in agent.secrets:
        yield Origin(f"agents.{agent.id}.env.{secret.name}", _HIDDEN if secret.source else None,
                     secret.source or "not set")  # fmt: skip


def _entry(source: Source, plan: Plan) -> str:
    path: KeyPath = ("execution", "entry_point")
    if not _written(source.data, path):
        return f"follows from the topology ({plan.topology})"
    return _place(source, path)


def _leaves(path: KeyPath, value: Any) -> Iterator[tuple[KeyPath, Any]]:
    """Values that are no mappings and no lists of mappings, with their paths."""
    if isinstance(value, Mapping) and value:
        for key, inner in value.items():
            yield from _leaves((*path, key), inner)
    elif isinstance(value, (list, tuple)) and any(isinstance(item, Mapping) for item in value):
        for index, inner in enumerate(value):
            yield from _leaves((*path, index), inner)
    else:
        yield path, value


def _written(data: Any, path: KeyPath) -> bool:
    part: Any
    for part in path:
        if (isinstance(data, dict) and part in data) or (isinstance(data, list) and part in range(len(data))):
            data = data[part]
        else:
            return False
    return True


def _place(source: Source, path: KeyPath) -> str:
    mark = source.mark(path)
    return mark.file if mark.line is None else f"{mark.file}:{mark.line}"


def _variables(source: Source, path: KeyPath) -> list[str]:
    """The variables that the value, or a part of it, was made with."""
    return list(
        dict.fromkeys(name for known, names in source.variables.items() if known[: len(path)] == path for name in names)
    )

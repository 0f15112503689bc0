"""An entry of the registry: one agent that can be reached, and what its card says."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from typing import Any

from teamwright.errors import UserError

#: What stands before the names of agents that no job has: `outside.NAME`. No job goes by that name.
OUTSIDE = "outside"
#: Characters of a text that is kept; longer descriptions are cut, other texts refused.
_TEXT_LIMIT = 4000
#: Numbers of replicas end here.
REPLICAS = 10_000
#: Of one skill's texts, and how many skills, tags and examples of it are kept.
_SKILL_TEXT, _SKILLS, _TAGS, _EXAMPLES = 1000, 200, 50, 10


@dataclass(frozen=True, slots=True)
class AgentEntry:
    """One listed agent. `id` is `job.agent`; times are Unix seconds.

    `status` is what the host's health checks last said. `load` is how many messages are `working` and `waiting`, as the
    last heartbeat had it. An agent with replicas is one entry: `replicas` has the number, url, status and load of each,
    the rest is that of the first one that is well; `replica` is which of them an entry that comes in is of. All texts
    come from the agent's card: data, never instructions to a model. `foreign`: it runs no code of ours, and checks no
    token of ours.
    """

    id: str
    job: str
    agent: str
    url: str
    incarnation: str = ""
    name: str = ""
    description: str = ""
    version: str = ""
    group: str | None = None
    skills: tuple[Mapping[str, Any], ...] = ()
    status: str = "healthy"
    registered_at: float = 0.0
    last_seen: float = 0.0
    foreign: bool = False
    details: Mapping[str, Any] = field(default_factory=dict)
    load: Mapping[str, int] = field(default_factory=dict)
    replica: int | None = None
    replicas: tuple[Mapping[str, Any], ...] = ()

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready. Shares its parts with the entry: `asdict` would copy a page's hundred cards for 10 ms."""
        return {
            **{item.name: getattr(self, item.name) for item in fields(self) if item.name != "replica"},
            "skills": list(self.skills),
            "replicas": list(self.replicas),
        }


def entry_from(
    data: Any, *, job: str, agent: str, now: float, group: str | None = None, foreign: bool = False
) -> AgentEntry:
    """The entry that an agent asks for; job, agent and group come from its token, never from what it says.

    Raises UserError where a key is missing or of the wrong type.
    """
    if not isinstance(data, Mapping):
        raise UserError("an agent registers with a JSON object")
    url = _text(data, "url")
    if not url.startswith(("http://", "https://")):
        raise UserError("url: not an http address")
    skills = data.get("skills", [])
    if not isinstance(skills, list) or not all(isinstance(skill, Mapping) for skill in skills):
        raise UserError("skills: not a list of objects")
    details = data.get("details", {})
    if not isinstance(details, Mapping):
        raise UserError("details: not an object")
    return AgentEntry(
        id=f"{job}.{agent}",
        job=job,
        agent=agent,
        url=url,
        incarnation=_text(data, "incarnation"),
        name=_text(data, "name") or agent,
        description=_text(data, "description", cut=True),
        version=_text(data, "version"),
        group=group,
        skills=tuple(_skill(skill) for skill in skills[:_SKILLS]),
        registered_at=now,
        last_seen=now,
        foreign=foreign,
        details=details,
        load=load_from(data),
        replica=replica_from(data),
    )


def replica_from(data: Any) -> int | None:
    """Which replica says so; None of an agent that has none."""
    found = data.get("replica") if isinstance(data, Mapping) else None
    return found if type(found) is int and 0 <= found < REPLICAS else None


def load_from(data: Any) -> dict[str, int]:
    """The counts in a heartbeat; what is none is left out."""
    found = data.get("load") if isinstance(data, Mapping) else None
    if not isinstance(found, Mapping):
        return {}
    return {name: found[name] for name in ("working", "waiting") if type(found.get(name)) is int and found[name] >= 0}


def _text(data: Mapping[str, Any], key: str, *, cut: bool = False) -> str:
    value = data.get(key, "")
    if not isinstance(value, str) or (len(value) > _TEXT_LIMIT and not cut):
        raise UserError(f"{key}: not a text of at most {_TEXT_LIMIT} characters")
    return value[:_TEXT_LIMIT]


def _skill(skill: Mapping[str, Any]) -> dict[str, Any]:
    """What is kept of a skill: the texts of its card, each cut to a length that can be shown."""
    texts = {key: str(skill.get(key) or "")[:_SKILL_TEXT] for key in ("id", "name", "description")}
    return {**texts, "tags": _texts(skill.get("tags"), _TAGS), "examples": _texts(skill.get("examples"), _EXAMPLES)}


def _texts(found: Any, most: int) -> list[str]:
    if not isinstance(found, list):
        return []
    return [item[:_SKILL_TEXT] for item in found[:most] if isinstance(item, str)]

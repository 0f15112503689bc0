"""An entry of the registry: one agent that can be reached, and what its card says."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

from teamwright.errors import UserError

_TEXT_LIMIT = 4000


@dataclass(frozen=True, slots=True)
class AgentEntry:
    """One listed agent. `id` is `job.agent`; times are Unix seconds.

    `load` is how many messages are `working` and `waiting`, as the last heartbeat had it.
    """

    id: str
    job: str
    agent: str
    url: str
    incarnation: str = ""
    name: str = ""
    description: str = ""
    version: str = ""
    skills: tuple[Mapping[str, Any], ...] = ()
    status: str = "healthy"
    registered_at: float = 0.0
    last_seen: float = 0.0
    details: Mapping[str, Any] = field(default_factory=dict)
    load: Mapping[str, int] = field(default_factory=dict)

    def to_dict(self) -> dict[str, Any]:
        return {**asdict(self), "skills": list(self.skills)}


def entry_from(data: Any, *, job: str, agent: str, now: float) -> AgentEntry:
    """The entry that an agent asks for; job and agent come from its token, never from what it says.

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
        description=_text(data, "description"),
        version=_text(data, "version"),
        skills=tuple(skills),
        registered_at=now,
        last_seen=now,
        details=details,
        load=load_from(data),
    )


def load_from(data: Any) -> dict[str, int]:
    """The counts in a heartbeat; what is none is left out."""
    found = data.get("load") if isinstance(data, Mapping) else None
    if not isinstance(found, Mapping):
        return {}
    return {name: found[name] for name in ("working", "waiting") if type(found.get(name)) is int and found[name] >= 0}


def _text(data: Mapping[str, Any], key: str) -> str:
    value = data.get(key, "")
    if not isinstance(value, str) or len(value) > _TEXT_LIMIT:
        raise UserError(f"{key}: not a text of at most {_TEXT_LIMIT} characters")
    return value

"""Asking agents that have to be found first: what a question wants of them, and which of those found it means."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from teamwright.backends.api import Peer
from teamwright.backends.rules.choice import Choice, score
from teamwright.backends.rules.words import keywords

FIND_AGENTS = "find_agents"

#: `find an agent that can check the weather, and ask it about Tokyo`
_WISH = re.compile(
    r"\b(?:find|look for|search for|locate)\s+(?:me\s+)?(?P<how>an?|the|some|any|all|every|another)?\s*agents?\s+"
    r"(?:that|who|which|to)\s+(?:can\s+|could\s+|is able to\s+|are able to\s+|knows? how to\s+)?(?P<skill>.+?)"
    r"(?:[,;:]?\s+(?:and|then|and then)\s+ask\s+(?:it|them|him|her|that agent)\s+(?P<question>.+))?\s*\Z",
    re.IGNORECASE | re.DOTALL,
)
_MANY = frozenset(["some", "all", "every"])
#: What is done with anything, and tells no skill.
_DOING = keywords("check find look handle help know show")


@dataclass(frozen=True)
class Wish:
    """What is looked for, what is then asked (None = nothing: who is there was the question), and of how many.

    `implied`: nobody said so, it is only tried; then nobody is asked whose card has no word of it.
    """

    skill: str
    message: str | None
    many: bool = False
    implied: bool = False


def wish(text: str) -> Wish | None:
    """What a text says about agents that are to be found; None where it says nothing of that."""
    found = _WISH.search(text.strip())
    if found is None:
        return None
    skill = found["skill"].strip(" .,;:!?")
    question = found["question"]
    return Wish(skill, f"{skill} {question.strip()}" if question else None, (found["how"] or "").lower() in _MANY)


def chosen(wanted: Wish, result: str) -> list[Choice]:
    """Whom to ask, of those that `find_agents` gave: the best one, or where several are wanted all that fit."""
    agents = [peer for peer, well in found_in(result) if well]
    about = keywords(wanted.skill)
    about = (about - _DOING) or about
    ranked = sorted(agents, key=lambda peer: -score(peer, about))  # else in the registry's order
    best = [peer for peer in ranked if score(peer, about)] or ([] if wanted.implied else ranked)
    return [Choice(peer.id, peer=peer, text=wanted.message) for peer in (best if wanted.many else best[:1])]


def found_in(result: str) -> list[tuple[Peer, bool]]:
    """The agents of a result of `find_agents`, and whether each is well."""
    try:
        agents: Sequence[Mapping[str, Any]] = json.loads(result)["agents"]
        return [
            (
                Peer(
                    id=str(agent["id"]),
                    name=str(agent["card"]["name"]),
                    description=str(agent["card"]["description"]),
                    skills=tuple(agent["card"]["skills"]),
                ),
                bool(agent["healthy"]),
            )
            for agent in agents
        ]
    except (ValueError, LookupError, TypeError):
        return []


def listing(result: str) -> str:
    """Those found, for a person."""
    lines = [
        f"- {peer.id}: {peer.name}{'' if well else ' (not well)'}. {peer.description}".rstrip(". ")
        for peer, well in found_in(result)
    ]
    return "\n".join(lines) or "nobody"

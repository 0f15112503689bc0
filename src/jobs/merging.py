"""Merges `defaults` into an agent, and tells what kind of agent it is."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

#: What makes an agent one of a kind; an agent with none of these keys is declared.
KINDS: Mapping[str, tuple[str, ...]] = {
    "class": ("type", "module"),
    "run": ("run",),
    "script": ("script",),
    "command": ("command",),
    "url": ("url",),
}
_KIND_KEYS = frozenset(key for keys in KINDS.values() for key in keys)

#: Mappings that are merged key by key; everything else of an agent replaces the default.
_DEEP = ("config", "backend_options", "model_options", "mcp_servers", "deployment", "resources", "limits", "restart")
#: Kept apart: the job's own environment comes between the defaults' and the agent's.
_APART = "environment"


def merge(defaults: Mapping[str, Any], agent: Mapping[str, Any]) -> dict[str, Any]:
    """The agent with the defaults under it. A kind in the defaults is for agents that name none of another kind."""
    own_kinds = {kind for kind in kinds_of(agent)}
    merged = {
        key: value
        for key, value in defaults.items()
        if not (key in _KIND_KEYS and own_kinds and not any(key in KINDS[kind] for kind in own_kinds))
    }
    for key, value in agent.items():
        below = merged.get(key)
        if key in _DEEP and isinstance(below, Mapping) and isinstance(value, Mapping):
            merged[key] = {**below, **value}
        else:
            merged[key] = value
    return merged


def kinds_of(agent: Mapping[str, Any]) -> list[str]:
    """The kinds whose keys the agent has."""
    return [kind for kind, keys in KINDS.items() if any(agent.get(key) is not None for key in keys)]


def environments(part: Mapping[str, Any]) -> list[tuple[tuple[str, ...], Mapping[str, str]]]:
    """The environments of an agent or of the defaults with their key paths, the weaker one first."""
    found: list[tuple[tuple[str, ...], Mapping[str, str]]] = []
    if isinstance(own := part.get(_APART), Mapping):
        found.append(((_APART,), own))
    deployment = part.get("deployment")
    if isinstance(deployment, Mapping) and isinstance(inner := deployment.get(_APART), Mapping):
        found.append((("deployment", _APART), inner))
    return found

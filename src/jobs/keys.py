"""Whether an agent has the key that its model is asked with: said before anything is started."""

from __future__ import annotations

from collections.abc import Mapping

from teamwright.backends.catalog import BackendInfo
from teamwright.jobs.schema_agent import AgentEntry

_ON = ("1", "true")


def missing_key(info: BackendInfo, entry: AgentEntry, variables: Mapping[str, str]) -> tuple[str, str] | None:
    """What is missing, in words for a person, and what to write; None where nothing is.

    `variables` are those that the agent gets.
    """
    if not info.keys or entry.auth == "login":
        return None
    options = entry.backend_options
    if options.get("crew") and entry.model is None:
        return None  # whom its function asks, it knows itself
    named = options.get("key_variable")
    names = (str(named),) if named else info.keys
    if any(variables.get(name) for name in names):
        return None
    base = options.get("base_url") or variables.get(info.base_variable or "")
    if info.base_variable and not named and str(base or "").startswith("http:"):
        return None
    if variables.get("GOOGLE_GENAI_USE_VERTEXAI", "").lower() in _ON:
        return None
    return f"the backend {info.name} needs a key: {names[0]} is not set", f"{names[0]}=…"

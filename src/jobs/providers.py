"""`providers:` of a job file: whose models are meant, by the names that traces have or those that people use."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from teamwright.backends.catalog import CATALOG
from teamwright.backends.plugins import info_of
from teamwright.errors import UserError
from teamwright.jobs.names import suggestion
from teamwright.jobs.plan import ProviderLimit
from teamwright.jobs.schema import Provider

#: What people call them: what traces call them.
ALIASES = {
    "claude": "anthropic",
    "gemini": "gcp.gemini",
    "google": "gcp.gemini",
    "vertex": "gcp.vertex_ai",
    "mistral": "mistral_ai",
    "together": "together_ai",
    "fireworks": "fireworks_ai",
    "xai": "x_ai",
    "moonshot": "moonshotai",
}


def limits(
    given: Mapping[str, Provider], backends: Iterable[str]
) -> tuple[tuple[ProviderLimit, ...], list[tuple[str, str, str | None]]]:
    """The limits, and what is wrong: (key, message, hint). `backends` are those of the job's agents."""
    known = _known(backends)
    made: dict[str, ProviderLimit] = {}
    wrong: list[tuple[str, str, str | None]] = []
    for name, limit in given.items():
        provider = ALIASES.get(name, name)
        if provider not in known:
            wrong.append((name, f"no provider {name!r}", suggestion(name, [*known, *ALIASES], kind="providers")))
        elif provider in made:
            wrong.append((name, f"{provider} is given twice", "leave one of the two names out"))
        else:
            made[provider] = ProviderLimit(provider, limit.concurrent, limit.rpm)
    return tuple(made.values()), wrong


def _known(backends: Iterable[str]) -> list[str]:
    infos = list(CATALOG.values())
    for name in set(backends) - CATALOG.keys():
        try:
            found = info_of(name)
        except UserError:  # said at the agent itself
            continue
        infos += [found] if found is not None else []
    return list(dict.fromkeys(provider for info in infos for provider in info.providers))

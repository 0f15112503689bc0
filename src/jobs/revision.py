"""The revision of a job: one hash over everything that decides how it behaves."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Sequence
from importlib.metadata import PackageNotFoundError, version

from teamwright.backends.catalog import CATALOG
from teamwright.jobs.modules import closure, find
from teamwright.jobs.plan import Plan

#: What may differ between two machines or shells without making it another job.
_NOT_HASHED = ("file", "folder", "search_path", "warnings", "revision")
_CORE_PACKAGES = ("teamwright", "a2a-sdk", "opentelemetry-sdk")


def revision_of(plan: Plan) -> str:
    """Sixteen hex digits over the resolved file, its prompts, the user's code and the packages' versions.

    Of secrets only the names count.
    """
    data = plan.to_dict()
    for key in _NOT_HASHED:
        del data[key]
    for agent in data["agents"]:
        agent["secrets"] = [secret["name"] for secret in agent["secrets"]]
    modules = {module for agent in plan.agents for module in _modules(agent.module, agent.tools)}
    data["code"] = _code(modules, plan.search_path)
    data["packages"] = _packages(agent.backend for agent in plan.agents)
    text = json.dumps(data, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def _modules(module: str | None, tools: Iterable[str]) -> set[str]:
    return {*([module] if module else []), *(tool.partition(":")[0] for tool in tools)}


def _code(modules: Iterable[str], roots: Sequence[str]) -> dict[str, str]:
    files = [file for module in sorted(modules) if (file := find(module, roots)) is not None]
    hashes = {}
    for file in closure(files, roots):
        root = next((root for root in roots if file.is_relative_to(root)), None)
        name = str(file.relative_to(root)) if root else file.name
        hashes[name] = hashlib.sha256(file.read_bytes()).hexdigest()
    return hashes


def _packages(backends: Iterable[str]) -> dict[str, str]:
    wanted = {*_CORE_PACKAGES, *(package for name in backends if (package := CATALOG[name].package))}
    found = {}
    for package in sorted(wanted):
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            found[package] = "none"
    return found

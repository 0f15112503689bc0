"""The revision of a job: one hash over everything that decides how it behaves."""

from __future__ import annotations

import dataclasses
import hashlib
import json
from collections.abc import Iterable, Sequence
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from teamwright.backends import plugins
from teamwright.backends.catalog import CATALOG
from teamwright.jobs.modules import closure, find
from teamwright.jobs.plan import AgentPlan, Plan

#: What may differ between two machines or shells without making it another job.
_NOT_HASHED = ("file", "folder", "search_path", "warnings", "notes", "revision")
_CORE_PACKAGES = ("teamwright", "a2a-sdk", "opentelemetry-sdk")


def with_revision(plan: Plan) -> Plan:
    """The plan with its revision: sixteen hex digits over the resolved file, its prompts, the hashes of the user's code
    and the versions of packages, which are put into the plan as well. Of secrets only the names count.
    """
    modules = {module for agent in plan.agents for module in _modules(agent)}
    code = {**_code(modules, plan.search_path), **_programs(plan)}
    packages = _packages(agent.backend for agent in plan.agents if agent.kind in ("class", "declared"))
    plan = dataclasses.replace(plan, code=code, packages=packages)
    text = json.dumps(content(plan), sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    return dataclasses.replace(plan, revision=hashlib.sha256(text.encode()).hexdigest()[:16])


def content(plan: Plan) -> dict[str, Any]:
    """Everything that a revision stands for."""
    data = plan.to_dict()
    for key in _NOT_HASHED:
        del data[key]
    for agent in data["agents"]:
        agent["secrets"] = [secret["name"] for secret in agent["secrets"]]
        del agent["backend_folder"]
    return data


def _modules(agent: AgentPlan) -> set[str]:
    references = [*agent.tools, *([agent.run] if agent.run else [])]
    return {*([agent.module] if agent.module else []), *(text.partition(":")[0] for text in references)}


def code_files(agent: AgentPlan, plan: Plan) -> set[str]:
    """The names, as in `plan.code`, of the user's files that one agent of the plan is made of."""
    return {*_code(_modules(agent), plan.search_path), *_programs(plan, (agent,))}


def _programs(plan: Plan, agents: Iterable[AgentPlan] | None = None) -> dict[str, str]:
    """The files in the job's folder that scripts and commands name."""
    words = {word for agent in (plan.agents if agents is None else agents) for word in (*agent.script, *agent.command)}
    files = {word: Path(plan.folder, word) for word in sorted(words)}
    return {
        word: hashlib.sha256(file.read_bytes()).hexdigest()
        for word, file in files.items()
        if _is_file(file) and file.is_relative_to(plan.folder)
    }


def _is_file(path: Path) -> bool:
    try:
        return path.is_file()
    except OSError:  # a word may be longer than any name of a file
        return False


def _code(modules: Iterable[str], roots: Sequence[str]) -> dict[str, str]:
    files = [file for module in sorted(modules) if (file := find(module, roots)) is not None]
    hashes = {}
    for file in closure(files, roots):
        root = next((root for root in roots if file.is_relative_to(root)), None)
        name = str(file.relative_to(root)) if root else file.name
        hashes[name] = hashlib.sha256(file.read_bytes()).hexdigest()
    return hashes


def _packages(backends: Iterable[str]) -> dict[str, str]:
    names = set(backends)
    infos = [CATALOG[name] for name in names & CATALOG.keys()]  # an executor is none of ours
    brought = plugins.found() if names - CATALOG.keys() else {}
    others = {origin.package for name in names - CATALOG.keys() for origin in brought.get(name, ())}
    wanted = {*_CORE_PACKAGES, *(info.package for info in infos if info.package), *others}
    found = {}
    for package in sorted(wanted):
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            found[package] = "none"
    return found

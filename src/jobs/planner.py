"""From a job file to its plan: `load()` is what the commands call."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pydantic import BaseModel

from teamwright.backends.loader import option_note
from teamwright.errors import JobFileError, MissingExtra, MissingKey, Problem
from teamwright.host.api import HealthCheck
from teamwright.jobs import older, overrides, providers, unbuilt
from teamwright.jobs.agent_plans import AgentDraft, AgentResolver, Findings
from teamwright.jobs.mcp_plans import beside_the_plan
from teamwright.jobs.modules import search_path
from teamwright.jobs.names import looks_secret, name_fault, normalised
from teamwright.jobs.origins import Origin, origins
from teamwright.jobs.plan import AgentPlan, Plan
from teamwright.jobs.recording import recording
from teamwright.jobs.replaying import recorded_or_replayed
from teamwright.jobs.revision import with_revision
from teamwright.jobs.schema import JobFile
from teamwright.jobs.schema_agent import Discover
from teamwright.jobs.secrets import Vault, open_vault
from teamwright.jobs.source import KeyPath, Source, read
from teamwright.jobs.topology import Wiring, wire
from teamwright.jobs.validation import validate
from teamwright.registry.policy import DiscoveryPolicy

_UV = "uv sync "


@dataclass(frozen=True)
class Resolved:
    """A plan and what travels beside it: secret values by agent id and name, and warnings for the person.

    `missing_keys` are those without which it can't be started; `origins` tells where each value came from.
    """

    plan: Plan
    secrets: Mapping[str, Mapping[str, str]] = field(repr=False)
    warnings: tuple[str, ...] = ()
    missing_keys: tuple[Problem, ...] = ()
    origins: Callable[[], list[Origin]] = field(default=list, repr=False, compare=False)

    def check_keys(self) -> None:
        """Before it is started: raise MissingKey, a line for each agent that has no key for its model."""
        if self.missing_keys:
            lines = [str(dataclasses.replace(problem, hint=None)) for problem in self.missing_keys]
            words = " ".join(dict.fromkeys(problem.hint for problem in self.missing_keys if problem.hint))
            raise MissingKey("\n".join(lines), hint=f"export {words}, or write that into .env beside the job file")


def load(
    path: str | Path,
    *,
    environ: Mapping[str, str],
    sets: Sequence[str] = (),
    name: str | None = None,
    cwd: Path | None = None,
    record: Path | None = None,
    replay: Path | None = None,
) -> Resolved:
    """Read, check and resolve a job file; nothing of the user's code is imported.

    load("team.yaml", environ=os.environ, sets=["agents.lead.limits.turns=3"]).plan.levels

    `environ` is the calling shell's; `sets` are `--set PATH=VALUE`; `name` goes before the file's own. `record` and
    `replay` are folders: of a recording that is made, or that the models' words come from.
    Raises UserError for a file that can't be read, MissingExtra when only packages are missing, and
    JobFileError with every problem that was found.
    """
    here = (cwd or Path.cwd()).resolve()
    file = (here / Path(path).expanduser()).resolve()
    vault, env_problems = open_vault(file.parent, environ, shown=_shown(file.parent / ".env", here))
    source = read(file, vault.known(), shown=_shown(file, here))
    overrides.apply(source, sets)
    _spell_out_environments(source)
    warnings = older.strip(source)
    model, problems = validate(source)
    problems += [problem for _, problem in source.problems] + env_problems
    if model is None:
        raise JobFileError(_in_order(problems, source))
    refused, more = unbuilt.check(source)
    findings = Findings(source, [*problems, *refused], [*warnings, *more])
    job = _job_name(name, model, file, findings)
    roots = search_path(file.parent, here)
    drafts = AgentResolver(findings, vault, file.parent, roots, replay=replay is not None).resolve(model)
    wiring = _wire(model, drafts, findings)
    _warn(source, vault, drafts, wiring, findings)
    shared, wrong = providers.limits(model.providers, [draft.plan.backend for draft in drafts])
    for key, message, hint in wrong:
        findings.report(("providers", key), message, hint)
    if findings.problems:
        if set(findings.problems) == set(findings.missing_extras):
            raise _missing(findings.missing_extras)
        raise JobFileError(_in_order(findings.problems, source))
    plan = _plan(job, model, file, roots, drafts, wiring, tuple(findings.warnings))
    plan = dataclasses.replace(plan, providers=shared)
    tracing, content, rules = recording(model.tracing, environ, here)
    plan = dataclasses.replace(plan, tracing=tracing, content=content, redact=rules)
    if record is not None or replay is not None:
        plan = recorded_or_replayed(plan, record, replay)
    plan = with_revision(plan)
    return Resolved(
        plan,
        {draft.plan.id: draft.secrets for draft in drafts},
        plan.warnings,
        tuple(findings.missing_keys),
        lambda: list(origins(source, _dump(model), [(draft.index, _dump(draft.entry)) for draft in drafts], plan)),
    )


def _missing(problems: Sequence[Problem]) -> MissingExtra:
    """A line for each agent; for several extras of one installer one command: the second would undo the first."""
    lines = dict.fromkeys(str(dataclasses.replace(problem, hint=None)) for problem in problems)
    hints = list(dict.fromkeys(problem.hint for problem in problems if problem.hint))
    uv = [hint.removeprefix(_UV) for hint in hints if hint.startswith(_UV)]
    rest = [hint for hint in hints if not hint.startswith(_UV)]
    return MissingExtra("\n".join(lines), hint="; ".join([*([_UV + " ".join(uv)] if uv else []), *rest]) or None)


def _dump(model: BaseModel) -> dict[str, Any]:
    return model.model_dump(mode="json", by_alias=True)


def _shown(file: Path, cwd: Path) -> str:
    return str(file.relative_to(cwd)) if file.is_relative_to(cwd) else str(file)


def _in_order(problems: Sequence[Problem], source: Source) -> list[Problem]:
    """Without repetition; the job file's by line, then those of other files and of --set."""
    unique = list(dict.fromkeys(problems))
    return sorted(unique, key=lambda item: (item.file != source.file, item.file or "", item.line or 0))


def _spell_out_environments(source: Source) -> None:
    """Numbers and booleans under `environment:` are the text they were written as: variables are always text."""
    for path, text in list(source.texts.items()):
        if len(path) < 2 or path[-2] != "environment" or path[0] not in ("environment", "defaults", "agents"):
            continue
        parent = source.data
        for part in path[:-1]:
            parent = parent[part]  # type: ignore[index]
        if parent[str(path[-1])] is not None:
            parent[str(path[-1])] = text


def _job_name(given: str | None, model: JobFile, file: Path, findings: Findings) -> str:
    if given is not None:
        if fault := name_fault(given):
            better = normalised(given)
            hint = f"--name {better} would do" if better else None
            findings.problems.append(Problem(f"{given!r} {fault}", "--name", hint=hint))
        return given
    if model.job.name is not None:
        return model.job.name
    if fault := name_fault(file.stem):
        hint = f"write job: {{name: {normalised(file.stem) or 'my-team'}}}, or start it with --name"
        message = f"the job is named after its file, and {file.stem!r} {fault}"
        findings.problems.append(Problem(message, findings.source.file, hint=hint))
    return file.stem


def _wire(model: JobFile, drafts: Sequence[AgentDraft], findings: Findings) -> Wiring:
    places: dict[str, KeyPath] = {}
    calls: dict[str, list[str] | None] = {}
    for draft in drafts:
        places.setdefault(draft.entry.id, ("agents", draft.index))
        calls.setdefault(draft.entry.id, draft.entry.calls)
    return wire(model.topology, calls, model.execution.entry_point, findings.report, places=places)


def _warn(source: Source, vault: Vault, drafts: Sequence[AgentDraft], wiring: Wiring, findings: Findings) -> None:
    for draft in drafts:
        if draft.plan.foreign and any(caller == draft.plan.id for caller, _ in wiring.edges):
            place: KeyPath = ("agents", draft.index)
            findings.warn(
                place, f"a {draft.plan.kind}: agent gets no token, so it can't call the agents it is wired to"
            )
        finds = wiring.type == "dynamic" or draft.entry.discover is not None or "discover" in source.data
        if draft.entry.route and not finds:
            message = "does nothing for an agent that finds nobody"
            findings.warn(("agents", draft.index, "route"), message, "write discover: {} too")
    found = wiring.type == "dynamic" or "discover" in source.data or any(draft.entry.discover for draft in drafts)
    if source.data.get("registry_url") and not found:
        findings.warn(("registry_url",), "does nothing in a job that finds nobody", "write discover: {} too")
    for agent in wiring.unwired:
        where: KeyPath = ("topology",) if source.data.get("topology") else ("agents",)
        findings.warn(where, f"agent {agent!r} is not part of it: no agent may call it")
    for path, names in source.variables.items():
        kept = "environment" in path or beside_the_plan(path)
        if not kept and (secret := next((name for name in names if looks_secret(name)), None)):
            findings.warn(
                path,
                f"the value of {secret} becomes part of the plan, which is stored and shown",
                f"write env: [{secret}] on the agent instead",
            )


def _plan(
    job: str,
    model: JobFile,
    file: Path,
    roots: tuple[str, ...],
    drafts: Sequence[AgentDraft],
    wiring: Wiring,
    warnings: tuple[str, ...],
) -> Plan:
    level_of = {agent: number for number, level in enumerate(wiring.levels) for agent in level}
    deployment = model.deployment
    health = deployment.health_check
    return Plan(
        job=job,
        file=str(file),
        folder=str(file.parent),
        agents=tuple(_wired(draft, level_of, wiring, model.discover) for draft in drafts),
        levels=wiring.levels,
        edges=wiring.edges,
        entry_point=wiring.entry_point or "",
        topology=wiring.type,
        version=model.job.version,
        description=model.job.description,
        tags=tuple(model.job.tags),
        stages=wiring.stages,
        search_path=roots,
        strategy=deployment.strategy,
        timeout=deployment.timeout,
        health=HealthCheck(enabled=health.enabled, interval=health.interval, retries=health.retries),
        query=model.execution.query if model.execution.auto_start else None,
        registry_url=model.registry_url or "",
        warnings=warnings,
        notes=_notes(drafts),
    )


def _notes(drafts: Sequence[AgentDraft]) -> tuple[str, ...]:
    """What the backends want to have said, once for all agents of which it is true."""
    agents: dict[tuple[str, str], list[str]] = {}
    for draft in drafts:
        if text := option_note(draft.plan.backend, draft.plan.backend_options):
            agents.setdefault((draft.plan.backend, text), []).append(draft.plan.id)
    return tuple(f"{backend} ({', '.join(ids)}): {text}" for (backend, text), ids in agents.items())


def _wired(draft: AgentDraft, level_of: Mapping[str, int], wiring: Wiring, discover: Discover | None) -> AgentPlan:
    agent, policy = draft.plan, draft.entry.discover or discover or (Discover() if wiring.type == "dynamic" else None)
    return dataclasses.replace(
        agent,
        discover=DiscoveryPolicy(tuple(policy.groups), tuple(policy.tags)) if policy is not None else None,
        route=draft.entry.route,
        level=level_of[agent.id],
        callees=tuple(callee for caller, callee in wiring.edges if caller == agent.id),
        callers=tuple(caller for caller, callee in wiring.edges if callee == agent.id),
    )

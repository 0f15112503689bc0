"""What a command is about: JOB, JOB/AGENT, JOB/@GROUP or * (all jobs)."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from itertools import groupby

from teamwright.engine.store.records import AgentRecord, JobRecord
from teamwright.errors import UnknownJob

ALL = "*"


@dataclass(frozen=True, slots=True)
class Selection:
    """A job, and which of its agents; None = the job as a whole."""

    job: JobRecord
    agents: tuple[AgentRecord, ...] | None = None

    def rounds(self) -> list[list[AgentRecord]]:
        """The chosen agents so that of no agent two replicas are in one round."""
        found: list[list[AgentRecord]] = []
        for _, records in groupby(sorted(self.agents or (), key=_place), key=lambda record: record.agent):
            for number, record in enumerate(records):
                if number == len(found):
                    found.append([])
                found[number].append(record)
        return found


def _place(record: AgentRecord) -> tuple[str, int]:
    return record.agent, record.replica or 0


def resolve(targets: Iterable[str], jobs: Mapping[str, JobRecord]) -> list[Selection]:
    """The jobs and agents that `targets` name, each once. Raises UnknownJob with the nearest name."""
    whole: dict[str, JobRecord] = {}
    parts: dict[str, dict[str, AgentRecord]] = {}
    for target in targets:
        if target == ALL:
            whole.update({job.name: job for job in jobs.values() if job.active or job.phase == "lost"})
            continue
        name, slash, agent = target.partition("/")
        job = find_job(name, jobs)
        if not slash:
            whole[name] = job
        else:
            parts.setdefault(name, {}).update({found.name: found for found in _agents(job, agent)})
    return [
        *(Selection(job) for job in whole.values()),
        *(Selection(jobs[name], tuple(found.values())) for name, found in parts.items() if name not in whole),
    ]


def find_job(name: str, jobs: Mapping[str, JobRecord]) -> JobRecord:
    """The job of that name. Raises UnknownJob with the nearest name."""
    if name not in jobs:
        raise UnknownJob(f"no job {name!r}", hint=suggestion(name, jobs) or "deploy ps")
    return jobs[name]


def find_agent(job: JobRecord, agent: str) -> AgentRecord:
    """The job's agent of that id (the first of its replicas), or the replica of that name.

    Raises UnknownJob with the nearest id.
    """
    return _processes(job, agent)[0]


def _processes(job: JobRecord, agent: str) -> list[AgentRecord]:
    found = [job.agents[agent]] if agent in job.agents else job.processes(agent)
    if not found:
        names = {record.agent for record in job.agents.values()} | job.agents.keys()
        hint = suggestion(agent, sorted(names)) or f"its agents: {', '.join(sorted(names))}"
        raise UnknownJob(f"job {job.name} has no agent {agent!r}", hint=hint)
    return found


def suggestion(word: str, words: Iterable[str]) -> str | None:
    """A hint with the nearest of `words`."""
    found = difflib.get_close_matches(word, list(words), n=1, cutoff=0.5)
    return f"did you mean {found[0]}?" if found else None


def _agents(job: JobRecord, agent: str) -> list[AgentRecord]:
    if not agent.startswith("@"):
        return _processes(job, agent)
    group = agent[1:]
    found = [record for record in job.agents.values() if job.plan.agent(record.agent).group == group]
    if not found:
        groups = sorted({plan.group for plan in job.plan.agents if plan.group})
        hint = suggestion(group, groups) or (f"its groups: {', '.join(groups)}" if groups else "it has no groups")
        raise UnknownJob(f"job {job.name} has no group {group!r}", hint=hint)
    return found

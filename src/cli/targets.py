"""What stands where the command line says JOB or TARGET.

hello   hello/lead   hello/@authors        a job, one of its agents, a group of them
jobs/hello.yaml   jobs/hello.yaml/lead     a file stands for its job
example:hello                              a job file that comes with Teamwright
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from teamwright.cli.app import Call
from teamwright.errors import JobNotRunning, UnknownJob, UserError
from teamwright.jobs import examples
from teamwright.jobs.names import suggestion

if TYPE_CHECKING:
    from teamwright.engine.store.records import AgentRecord, JobRecord

ALL = "*"
_NAME = r"[a-z0-9](?:[-a-z0-9]*[a-z0-9])?"
_TARGET = re.compile(rf"(?P<job>{_NAME})(?:/(?:@(?P<group>[-\w]+)|(?P<agent>[-\w]+)))?")
_FILE = re.compile(r"(?P<file>.+\.(?:ya?ml|json))(?:/(?:@(?P<group>[-\w]+)|(?P<agent>[-\w]+)))?", re.DOTALL)


@dataclass(frozen=True, slots=True)
class Target:
    """A job, or an agent or group of it; `file` when the job was named by its file."""

    job: str
    agent: str | None = None
    group: str | None = None
    file: Path | None = None

    def __str__(self) -> str:
        if self.group:
            return f"{self.job}/@{self.group}"
        return f"{self.job}/{self.agent}" if self.agent else self.job

    @property
    def whole(self) -> bool:
        """Whether it is the whole job."""
        return self.agent is None and self.group is None

    def covers(self, agent: AgentRecord, group: str | None) -> bool:
        """Whether the agent is meant."""
        if self.group is not None:
            return group == self.group
        return self.agent is None or self.agent in (agent.agent, agent.name)


def parse(call: Call, text: str) -> Target:
    """The target that `text` names. Raises UserError when it can't be one."""
    if text.startswith(examples.PREFIX):
        name, _, part = text.partition("/")
        text = f"{examples.located(name)}/{part}" if part else str(examples.located(name))
    if match := _FILE.fullmatch(text):
        file = call.cwd / Path(match["file"]).expanduser()
        return Target(job_name(call, file), match["agent"], match["group"], file)
    if match := _TARGET.fullmatch(text):
        return Target(match["job"], match["agent"], match["group"])
    path = call.cwd / text
    if text and path.is_file():
        return Target(job_name(call, path), file=path)
    raise UserError(f"{text!r} is neither a job nor a job file", hint="JOB, JOB/AGENT, JOB/@GROUP or a .yaml file")


def parse_job(call: Call, text: str) -> Target:
    """The job that `text` names; an agent or group is an error."""
    target = parse(call, text)
    if not target.whole:
        raise UserError(f"{text!r} names a part of a job where a job is wanted", hint=f"try {target.job}")
    return target


def job_name(call: Call, file: Path) -> str:
    """The name of the job in a file: `job.name`, else the file's. The rest of the file may be wrong.

    Raises UserError when it can't be read, JobFileError when it isn't YAML.
    """
    from teamwright.jobs.secrets import open_vault
    from teamwright.jobs.source import read

    vault, _ = open_vault(file.parent, call.environ, shown=".env")
    job = read(file, vault.known(), shown=call.shown(file)).data.get("job")
    name = job.get("name") if isinstance(job, dict) else None
    return name if isinstance(name, str) else file.stem


def known(call: Call, target: Target) -> JobRecord:
    """The job as the home knows it. Raises UnknownJob with the nearest name, or for an unknown agent or group."""
    from teamwright.engine.store.state import StateReader

    with StateReader(call.home) as reader:
        found = reader.records()
    job = found.get(target.job)
    if job is None:
        raise unknown_job(call, target, found)
    groups = {agent.id: agent.group for agent in job.plan.agents}
    names = sorted({agent.agent for agent in job.agents.values()} | job.agents.keys())
    if target.agent is not None and target.agent not in names:
        raise UnknownJob(f"job {job.name} has no agent {target.agent!r}", hint=suggestion(target.agent, names))
    if target.group is not None and target.group not in groups.values():
        names = sorted({group for group in groups.values() if group})
        raise UnknownJob(
            f"job {job.name} has no group {target.group!r}", hint=suggestion(target.group, names) or "it has no groups"
        )
    return job


def require_running(job: JobRecord) -> None:
    """Raise JobNotRunning for a job that nobody can be asked in."""
    if not job.active:
        raise JobNotRunning(f"job {job.name} is {job.phase}, not running", hint=f"deploy start {job.plan.file}")


def unknown_job(call: Call, target: Target, jobs: Iterable[str]) -> UnknownJob:
    """The error for a job that this home has never seen."""
    names = list(jobs)
    if target.file is not None:
        shown = call.shown(target.file)
        return UnknownJob(f"the job of {shown}, {target.job}, has not been started", hint=f"deploy start {shown}")
    if not names:
        return UnknownJob(
            f"no job named {target.job!r}", hint=f"nothing has been started in {call.home.path}: deploy start FILE"
        )
    return UnknownJob(f"no job named {target.job!r}", hint=suggestion(target.job, names, kind="jobs"))


def agents_of(job: JobRecord, target: Target) -> list[str]:
    """The names of the processes that the target covers, in start order: an agent's id, or its replicas'."""
    groups = {agent.id: agent.group for agent in job.plan.agents}
    order = [process for level in job.plan.levels for agent in level for process in job.processes(agent)]
    return [process.name for process in order if target.covers(process, groups.get(process.agent))]


def labels(pairs: Sequence[str], what: str = "--label") -> dict[str, str]:
    """`k=v` pairs as a dictionary. Raises UserError for one without `=`."""
    found = {}
    for pair in pairs:
        key, sign, value = pair.partition("=")
        if not key or not sign:
            raise UserError(f"{what} {pair!r} is not KEY=VALUE")
        found[key] = value
    return found

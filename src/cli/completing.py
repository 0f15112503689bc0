"""Completion of names in the shell: jobs, agents, sessions, traces, runs, revisions, as the home knows them.

`app.command` gives every parameter of these names its type, so a new command has it too:
job, jobs, target, targets      JOB, JOB/AGENT, JOB/@GROUP, or a file
agent, session, trace_id, run_id, id, tokens, and the two sides of the `diff` commands

The home is read without an engine, but for `id`, of the registry. Whatever goes wrong, there is nothing to offer, and
no word of it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from typing import TYPE_CHECKING

import click
from click.shell_completion import CompletionItem

if TYPE_CHECKING:
    from teamwright.cli.app import Call

Found = Iterable[tuple[str, str]]
#: So many of the newest sessions, traces, runs and revisions are offered.
_NEWEST = 50


class Named(click.ParamType[str]):
    """Text that names something which the home knows. `files` may stand there as well."""

    def __init__(self, what: str, find: Callable[[Call, str], Found], *, files: bool = False) -> None:
        self.name = what
        self._find = find
        self._files = files

    def shell_complete(self, ctx: click.Context, param: click.Parameter, incomplete: str) -> list[CompletionItem]:
        """What begins as it was typed."""
        from teamwright.cli.app import Call

        found: list[CompletionItem] = []
        with suppress(Exception):
            call = ctx.find_object(Call) or Call()
            found = [
                CompletionItem(name, help=about or None)
                for name, about in self._find(call, incomplete)
                if name.startswith(incomplete)
            ]
        return found or ([CompletionItem(incomplete, type="file")] if self._files else [])


def _targets(call: Call, incomplete: str) -> Iterator[tuple[str, str]]:
    from teamwright.engine.store.state import StateReader

    with StateReader(call.home) as reader:
        jobs = reader.records()
    for name, job in jobs.items():
        yield name, job.phase
        if incomplete.startswith(f"{name}/"):
            yield from ((f"{name}/{agent.id}", agent.description) for agent in job.plan.agents)
            groups = sorted({agent.group for agent in job.plan.agents if agent.group})
            yield from ((f"{name}/@{group}", "group") for group in groups)


def _agents(call: Call, incomplete: str) -> Iterator[tuple[str, str]]:
    from teamwright.engine.store.state import StateReader

    with StateReader(call.home) as reader:
        for job in reader.records().values():
            yield from ((agent.id, job.name) for agent in job.plan.agents)


def _sessions(call: Call, incomplete: str) -> Iterator[tuple[str, str]]:
    from teamwright.agents.memory.conversations import conversations

    for each in conversations(call.home)[:_NEWEST]:
        yield each.session, f"{each.job}: {_short(each.question)}"


def _traces(call: Call, incomplete: str) -> Iterator[tuple[str, str]]:
    from teamwright.tracing.reading.filters import Filter
    from teamwright.tracing.reading.reader import SpanReader
    from teamwright.tracing.reading.view import trace_list

    with SpanReader(call.home.spans_db, call.home.spool_dir) as reader:
        for trace in trace_list(reader.list_traces(Filter(), limit=_NEWEST))["traces"]:
            size = max(8, len(incomplete))
            yield trace["trace_id"][:size], f"{trace['job']}: {_short(trace['query'] or trace['status'])}"


def _runs(call: Call, incomplete: str) -> Iterator[tuple[str, str]]:
    from teamwright.engine.store.state import StateReader
    from teamwright.tracing.reading.filters import Filter

    with StateReader(call.home) as reader:
        for run in reader.runs(Filter(), limit=_NEWEST):
            yield run["run_id"], f"{run['job']}: {_short(run['query'])}"


def _revisions(call: Call, incomplete: str) -> Iterator[tuple[str, str]]:
    from teamwright.engine.store.state import StateReader

    with StateReader(call.home) as reader:
        for row in reader.revisions()[:_NEWEST]:
            yield f"{row.job}@{row.revision}", row.plan.file
            yield row.job, "the newest"


def _tokens(call: Call, incomplete: str) -> Iterator[tuple[str, str]]:
    from teamwright.engine.store.state import StateReader

    with StateReader(call.home) as reader:
        for row in reader.tokens():
            if row.revoked is None:
                yield row.jti[: max(8, len(incomplete))], f"{row.role} {row.subject}"


def _registered(call: Call, incomplete: str) -> Iterator[tuple[str, str]]:
    """This one asks the engine, if there is one: the registry is in its memory."""
    from teamwright.client import launch

    with launch.connect(call.home, start=False, environ=call.environ) as client:
        yield from ((entry["id"], entry["name"]) for entry in client.agents())


def _short(text: str) -> str:
    words = " ".join(text.split())
    return words if len(words) <= 40 else words[:39] + "…"


TARGET = Named("target", _targets, files=True)
TRACE = Named("trace", _traces)
REVISION = Named("revision", _revisions, files=True)
#: By the parameter's name; `first` and `second` are traces below `trace`, else revisions.
TYPES = {
    "job": TARGET,
    "jobs": TARGET,
    "target": TARGET,
    "targets": TARGET,
    "agent": Named("agent", _agents),
    "session": Named("session", _sessions),
    "trace_id": TRACE,
    "id": Named("registry id", _registered),
    "run_id": Named("run", _runs),
    "tokens": Named("token", _tokens),
    "first": REVISION,
    "second": REVISION,
}


def complete_names(made: click.Command, group: str) -> None:
    """Give the parameters of a command their types, where they are plain text so far."""
    for parameter in made.params:
        if parameter.type is click.STRING and (kind := TYPES.get(parameter.name or "")) is not None:
            shown = parameter.make_metavar(click.Context(made)) if parameter.metavar is None else None
            parameter.type = TRACE if kind is REVISION and group == "trace" else kind
            if shown is not None:
                parameter.metavar = shown

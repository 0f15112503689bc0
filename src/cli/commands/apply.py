"""`deploy apply FILE`: a running job becomes what its file says, with as little disturbance as that takes."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from teamwright.cli.app import Call, Seconds, command, port_option
from teamwright.cli.job_file import job_file, kept, load

if TYPE_CHECKING:
    from teamwright.client.client import Client
    from teamwright.jobs.planner import Resolved


@command("apply")
@job_file
@click.option("-y", "--yes", is_flag=True, help="Don't ask.")
@click.option("--dry-run", is_flag=True, help="Show what would change, and change nothing.")
@click.option(
    "--drain",
    type=Seconds(0, 3600),
    default=60.0,
    show_default=True,
    help="Seconds that replaced agents may take to end what they work on.",
)
@port_option
@click.pass_obj
def apply(
    call: Call,
    file: Path,
    name: str | None,
    sets: Sequence[str],
    yes: bool,
    dry_run: bool,
    drain: float,
    port: int | None,
) -> None:
    """Change a running job to what its file says now; a job that doesn't run is started.

    Only agents that differ get new processes. Each comes up beside the old one, which ends what it is working on.
    If one doesn't get ready, the job stays as it was.

    \b
    deploy apply team.yaml              shows the changes and asks
    deploy apply team.yaml --dry-run    shows them only
    """
    from teamwright.cli.applying import follow_apply, is_running, nothing, words
    from teamwright.cli.connection import connected

    record, replay = kept(call, file, name)
    loaded = load(call, file, name=name, sets=sets, starting=not dry_run, record=record, replay=replay)
    plan = loaded.plan
    with connected(call, start=not dry_run, port=port, host=not dry_run) as client:
        if not is_running(client, plan.job):
            _start(call, client, loaded, dry_run=dry_run)
            return
        found = client.changes(plan, loaded.secrets)
        if nothing(found):
            _say(call, found, "unchanged", client.job(plan.job))
            return
        if not call.json:
            for line in words(found):
                click.echo(line)
        if dry_run:
            _say(call, found, "planned", client.job(plan.job))
            return
        _ask(call, file, plan.job, yes=yes)
        stream = client.apply(plan, loaded.secrets, expect=found["revision"]["before"], drain=drain)
        done = follow_apply(call, client, plan.job, len(plan.levels), stream)
        _say(call, found, "applied", done["job"])


def _ask(call: Call, file: Path, job: str, *, yes: bool) -> None:
    """Raise UserError where nobody can be asked, Abort when the answer is no."""
    from teamwright.errors import TeamwrightError, UserError

    if yes:
        return
    if call.json or not sys.stdin.isatty():
        raise UserError(
            f"{job} would be changed, and nobody is there to be asked", hint=call.next(f"apply {file} --yes")
        )
    if not click.confirm(f"apply this to {job}?", err=True):
        raise TeamwrightError(f"{job} is left as it is")


def _start(call: Call, client: Client, loaded: Resolved, *, dry_run: bool) -> None:
    """There is nothing to compare with: all of it is new."""
    from teamwright.cli.output import note
    from teamwright.cli.starting import follow_start

    plan = loaded.plan
    if dry_run:
        added = [agent.id for agent in plan.agents]
        if call.json:
            call.emit({"job": plan.job, "result": "planned", "status": None, "added": added})
        else:
            click.echo(f"{plan.job} does not run: it would be started, with {', '.join(added)}")
        return
    if not call.json:
        note(f"{plan.job} does not run: starting it")
    started = follow_start(call, client, plan.job, len(plan.levels), client.start(plan, loaded.secrets))
    if call.json:
        call.emit({**started.view, "result": "started", "added": [agent.id for agent in plan.agents]})
    else:
        from teamwright.cli.output import say_agents

        click.echo(f"{plan.job} is running")
        say_agents(started.view)


def _say(call: Call, found: dict[str, Any], result: str, view: dict[str, Any]) -> None:
    if call.json:
        call.emit({**view, **found, "result": result})
        return
    job = view["job"]
    if result == "unchanged":
        click.echo(f"{job} is already what its file says: nothing was changed")
    elif result == "planned":
        click.echo("nothing was changed: this was a dry run")
    else:
        from teamwright.cli.output import say_agents

        click.echo(f"{job} is at revision {view['revision']}")
        say_agents(view)

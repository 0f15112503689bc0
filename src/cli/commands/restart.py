"""`deploy restart TARGET`: a whole job reads its file and secrets again, a part of one uses the stored plan."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from teamwright.cli.app import Call, command

if TYPE_CHECKING:
    from teamwright.cli.targets import Target
    from teamwright.client.client import Client


@command("restart")
@click.argument("targets", metavar="TARGET...", nargs=-1)
@click.option("--all", "everything", is_flag=True, help="Every job.")
@click.pass_obj
def restart(call: Call, targets: tuple[str, ...], everything: bool) -> None:
    """Restart jobs (their files are read again), agents or groups.

    \b
    deploy restart research
    deploy restart research/writer
    """
    from teamwright.cli.connection import connected
    from teamwright.cli.targets import Target, known, parse, require_running
    from teamwright.errors import UserError

    if bool(targets) == everything:
        raise UserError("name what to restart, or --all" if not targets else "either targets or --all, not both")
    wanted = [parse(call, text) for text in targets]
    for target in wanted:
        require_running(known(call, target))
    views = []
    with connected(call) as client:
        if everything:
            active = ("running", "degraded")
            wanted = [Target(view["job"]) for view in client.jobs() if view["status"] in active]
        for target in wanted:
            views.append(_restart(call, client, target))
            if not call.json:
                click.echo(f"restarted {target}")
    if call.json:
        call.emit({"jobs": views} if len(views) != 1 else views[0])
    elif views:
        from teamwright.cli.output import say_agents

        say_agents(views[-1])
    else:
        click.echo("no job is running")


def _restart(call: Call, client: Client, target: Target) -> dict[str, object]:
    """Restart one target; its job's view afterwards."""
    from teamwright.cli.job_file import kept, load
    from teamwright.cli.starting import follow_start
    from teamwright.cli.targets import known

    job = known(call, target)
    levels = len(job.plan.levels)
    if target.whole:
        file = target.file or Path(job.plan.file)
        record, replay = kept(call, file, target.job)
        loaded = load(call, file, name=target.job, starting=True, record=record, replay=replay)
        stream = client.restart(plan=loaded.plan, secrets=loaded.secrets)
    else:
        stream = client.restart(targets=[str(target)])
    return follow_start(call, client, target.job, levels, stream).view

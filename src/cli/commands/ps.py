"""`deploy ps [JOB]`: the jobs of this home, or the agents of one."""

from __future__ import annotations

import click

from teamwright.cli.app import Call, command


@command("ps")
@click.argument("job", required=False)
@click.pass_obj
def ps(call: Call, job: str | None) -> None:
    """List jobs, or the agents of one.

    \b
    deploy ps
    deploy ps research --json
    """
    from teamwright.engine.store.state import StateReader

    if job is None:
        with StateReader(call.home) as reader:
            views = reader.jobs()
        if call.json:
            call.emit({"jobs": views})
            return
        if not views:
            click.echo(f"nothing has been started in {call.home.path}")
            click.echo("next: " + call.next("start FILE"))
            return
        from teamwright.cli.output import console, jobs_table, say_shedding

        console().print(jobs_table(views))
        say_shedding(call.home)
        return

    from teamwright.cli.targets import parse_job, unknown_job

    target = parse_job(call, job)
    with StateReader(call.home) as reader:
        view = reader.job(target.job)
        if view is None:
            raise unknown_job(call, target, reader.records())
    if call.json:
        call.emit(view)
        return
    from teamwright.cli.output import say_agents

    click.echo(f"{view['job']}  {view['status']}" + (f"  {view['error']}" if view.get("error") else ""))
    say_agents(view)

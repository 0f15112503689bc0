"""`deploy stop TARGET|--all`: in the normal way; without an engine, what is left over is swept."""

from __future__ import annotations

import click

from teamwright.cli.app import Call, command


@command("stop")
@click.argument("targets", metavar="TARGET...", nargs=-1)
@click.option("--all", "everything", is_flag=True, help="Every job, and the engine unless `engine start` started it.")
@click.pass_obj
def stop(call: Call, targets: tuple[str, ...], everything: bool) -> None:
    """Stop jobs, agents or groups.

    \b
    deploy stop research
    deploy stop research/@authors
    deploy stop --all
    """
    from teamwright.cli.connection import connected
    from teamwright.cli.targets import ALL, known, parse
    from teamwright.errors import EngineUnavailable, UserError

    if bool(targets) == everything:
        raise UserError("name what to stop, or --all" if not targets else "either targets or --all, not both")
    wanted = [parse(call, text) for text in targets]
    for target in wanted:
        known(call, target)
    names = [ALL] if everything else [str(target) for target in wanted]
    try:
        with connected(call) as client:
            client.stop(names)
        swept = 0
    except EngineUnavailable:
        swept = _sweep(call)
    if call.json:
        call.emit({"stopped": names, "swept": swept})
    elif swept:
        click.echo(f"no engine was running; {swept} process{'' if swept == 1 else 'es'} it had left behind: ended")
    else:
        click.echo(f"stopped {'everything' if everything else ', '.join(names)}")


def _sweep(call: Call) -> int:
    """End what an engine that is gone has left behind; how many processes that were."""
    from teamwright.client.launch import sweep

    return sweep(call.home) if call.home.exists else 0

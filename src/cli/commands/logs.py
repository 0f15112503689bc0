"""`deploy logs TARGET`: what the agents wrote, read from their log files without an engine."""

from __future__ import annotations

import click

from teamwright.cli.app import Call, command


@command("logs")
@click.argument("target")
@click.option("-f", "--follow", is_flag=True, help="Keep printing what is written.")
@click.option("-n", "--lines", type=click.IntRange(min=0), default=100, show_default=True, help="Lines from the end.")
@click.pass_obj
def logs(call: Call, target: str, follow: bool, lines: int) -> None:
    """Print what agents wrote."""
    from teamwright.cli.following import LogFile, follow_logs
    from teamwright.cli.output import log_printer
    from teamwright.cli.targets import agents_of, known, parse

    wanted = parse(call, target)
    agents = agents_of(known(call, wanted), wanted)
    files = [LogFile(agent, call.home.agent_log(wanted.job, agent)) for agent in agents]
    show = log_printer(call, wanted.job, agents)
    for file in files:
        for line in file.last(lines):
            show(file.agent, line)
    if follow:
        follow_logs(files, show)

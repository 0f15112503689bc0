"""`deploy top`: the agents that run, live."""

from __future__ import annotations

import sys
import time
from typing import TYPE_CHECKING

import click

from teamwright.cli.app import Call, Seconds, command

if TYPE_CHECKING:
    from teamwright.cli.watching import Watch

#: Seconds between the two looks that a CPU figure needs.
_FIRST = 0.5


@command("top")
@click.argument("targets", metavar="[JOB|JOB/AGENT]...", nargs=-1)
@click.option("--once", is_flag=True, help="Print one table and end; so it is in a pipe.")
@click.option("--every", type=Seconds(0.2, 60), default=2.0, show_default=True, help="Seconds between looks.")
@click.pass_obj
def top(call: Call, targets: tuple[str, ...], once: bool, every: float) -> None:
    """CPU, memory (PSS), messages in flight and queued, tokens and dollars of each agent, live; and those of each job.

    Keys: q or Ctrl-C leaves (exit code 0); c, m, f and n sort by CPU, memory, messages in flight and name; up and down
    scroll. CPU is in parts of one core. Tokens and dollars are of the last hour: a job's of its queries, an agent's
    of its own calls of models.

    \b
    deploy top
    deploy top research --once
    deploy top --json --every 5      one object a line until Ctrl-C; with --once a single one
    """
    from teamwright.cli.targets import known, parse
    from teamwright.cli.watching import Watch

    chosen = [parse(call, text) for text in targets]
    for target in chosen:
        known(call, target)
    watch = Watch(call, chosen)
    if call.json or once or not sys.stdout.isatty():
        _print(call, watch, every, once=once or not call.json)
        return
    from teamwright.cli.full_screen import Screen

    Screen(watch, every).run()


def _print(call: Call, watch: Watch, every: float, *, once: bool) -> None:
    from teamwright.cli.watching import rows

    watch.look()
    time.sleep(min(_FIRST, every))
    while True:
        found = watch.look()
        if call.json:
            call.emit(found)
        else:
            for _, line in rows(found):
                click.echo(line)
        if once:
            return
        time.sleep(every)

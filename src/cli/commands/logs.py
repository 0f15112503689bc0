"""`deploy logs TARGET`: what the agents wrote, read from their log files without an engine."""

from __future__ import annotations

import re

import click

from teamwright.cli.app import MOST, Call, command


@command("logs")
@click.argument("targets", metavar="TARGET...", nargs=-1, required=True)
@click.option("-f", "--follow", is_flag=True, help="Keep printing what is written, until Ctrl-C (exit code 130).")
@click.option("-n", "--lines", type=click.IntRange(0, MOST), help="Lines from the end of each log.  [default: 100]")
@click.option("--since", metavar="TIME", help="Only what was written within: 10m, 2h, 7d; from older files too.")
@click.option("--grep", metavar="REGEX", help="Only lines in which this is found.")
@click.option(
    "--level",
    type=click.Choice(["DEBUG", "INFO", "WARNING", "ERROR"], case_sensitive=False),
    help="Only lines of this level and above.",
)
@click.option("--run", metavar="ID", help="Only lines of this run, or of this trace; the first digits do.")
@click.pass_obj
def logs(
    call: Call,
    targets: tuple[str, ...],
    follow: bool,
    lines: int | None,
    since: str | None,
    grep: str | None,
    level: str | None,
    run: str | None,
) -> None:
    """Print what agents wrote: of a job, an agent, a group, or several of them, in the order of time.

    \b
    deploy logs research --since 10m --level warning
    deploy logs -f research/lead research/searcher --grep timeout
    """
    import time

    from teamwright.cli.log_lines import Wanted, printer
    from teamwright.cli.reading_logs import Logs
    from teamwright.cli.targets import known, parse
    from teamwright.tracing.reading.filters import nanoseconds

    chosen = [parse(call, text) for text in targets]
    for target in chosen:
        known(call, target)
    begin = time.time() - nanoseconds(since) / 1e9 if since else None
    found = Logs(call, chosen, Wanted(_pattern(grep), level.upper() if level else None, run, begin))
    show = printer(call, found.agents)
    for line in found.last(lines if lines is not None else None if since else 100):
        show(line)
    if follow:
        found.follow(show)


def _pattern(text: str | None) -> re.Pattern[str] | None:
    from teamwright.errors import UserError

    try:
        return re.compile(text) if text is not None else None
    except re.error as error:
        raise UserError(f"--grep {text!r} is not a regular expression: {error}") from None

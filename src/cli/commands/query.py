"""`deploy query JOB TEXT`: one question, one answer, one trace."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click

from teamwright.cli.app import Call, command, port_option
from teamwright.cli.receivers import otlp_options, send_to, wanted

if TYPE_CHECKING:
    pass


@command("query")
@click.argument("job", metavar="JOB|FILE")
@click.argument("text", metavar="TEXT|-")
@click.option(
    "--file", "paths", metavar="F", multiple=True, type=click.Path(path_type=Path), help="Send along; may be repeated."
)
@click.option("--out", metavar="DIR", type=click.Path(path_type=Path), help="Save the files of the answer here.")
@click.option("--session", metavar="ID", help="Continue a conversation.")
@click.option("--task", metavar="ID", help="TEXT is the answer to what this task has asked.")
@click.option("--user", metavar="NAME", help="On whose behalf.")
@click.option("--label", "pairs", metavar="KEY=VALUE", multiple=True, help="Put on the trace; may be repeated.")
@click.option("--keep", is_flag=True, help="Let a job that was started for this query run on.")
@otlp_options
@port_option
@click.pass_obj
def query(
    call: Call,
    job: str,
    text: str,
    paths: Sequence[Path],
    out: Path | None,
    session: str | None,
    task: str | None,
    user: str | None,
    pairs: Sequence[str],
    keep: bool,
    otlp: Sequence[str],
    otlp_content: bool,
    port: int | None,
) -> None:
    """Ask a job (or JOB/AGENT) something. A file starts its job first, and stops it again unless --keep."""
    from teamwright.cli.asking import ask_and_print, question
    from teamwright.cli.connection import connected
    from teamwright.cli.starting import ensure
    from teamwright.cli.targets import known, labels, parse, require_running
    from teamwright.client.files import attachments
    from teamwright.errors import UserError

    target = parse(call, job)
    if target.group is not None:
        raise UserError("a group can't be asked, only a job or one agent", hint=f"deploy query {target.job} …")
    marks = labels(pairs)
    words, files = question(text), attachments(paths, said="--file ")
    from_file = target.file is not None
    # A running engine was told of the environment's when it was started.
    receivers = wanted(call.environ, otlp, otlp_content) if from_file or otlp or otlp_content else []
    if not from_file:
        require_running(known(call, target))
    with connected(call, start=from_file, port=port, host=from_file) as client:
        send_to(client, receivers)
        ours = from_file and ensure(call, client, target)
        stop = ours
        try:
            ask_and_print(
                call, client, target.job, words,
                agent=target.agent, session=session, user=user, labels=marks, files=files, out=out,
                task=task, stays=keep or not ours,
            )  # fmt: skip
            stop = ours and not keep
        finally:
            if stop:
                from teamwright.cli.starting import stop_again

                stop_again(client, target.job)

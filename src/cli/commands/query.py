"""`deploy query JOB TEXT`: one question, one answer, one trace; `query URL TEXT` asks any A2A agent."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import click

from teamwright.cli.app import Call, Seconds, command, port_option
from teamwright.cli.receivers import otlp_options, send_to, wanted

_OUTSIDE = ("token", "binding", "a2a", "timeout")


@command("query")
@click.argument("job", metavar="JOB|FILE|URL")
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
@click.option("--token", metavar="TOKEN|@FILE", help="URL only: the bearer token to send.")
@click.option(
    "--binding",
    type=click.Choice(["JSONRPC", "HTTP+JSON"], case_sensitive=False),
    help="URL only: speak this instead of what the card puts first.",
)
@click.option("--a2a", type=click.Choice(["1.0", "0.3"]), help="URL only: this version of A2A.")
@click.option("--timeout", metavar="SECONDS", type=Seconds(0, 1e6, min_open=True), help="URL only: for the whole.")
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
    token: str | None,
    binding: str | None,
    a2a: str | None,
    timeout: float | None,
    otlp: Sequence[str],
    otlp_content: bool,
    port: int | None,
) -> None:
    """Ask a job (or JOB/AGENT) something. A file starts its job first, and stops it again unless --keep.

    A URL is any A2A agent's: what its card offers is negotiated, and said on stderr.

    \b
    deploy query research "What is new in batteries?" --label topic=batteries
    deploy query team.yaml - < question.txt
    deploy query https://agents.example.com/weather "Tokyo?" --token @token.txt
    """
    from teamwright.cli.asking import ask_and_print, question
    from teamwright.cli.connection import connected
    from teamwright.cli.conversations import say_if_elsewhere
    from teamwright.cli.starting import ensure
    from teamwright.cli.targets import known, labels, parse, require_running
    from teamwright.client.files import attachments
    from teamwright.errors import UserError

    given = {"token": token, "binding": binding, "a2a": a2a, "timeout": timeout}
    if "://" in job and job.partition("://")[0].isalnum():
        if strange := [name for name, on in (("--keep", keep), ("--otlp", otlp), ("--port", port)) if on]:
            raise UserError(f"{strange[0]} is for jobs, not for an agent at a URL")
        from teamwright.cli.outside import ask_outside

        ask_outside(
            call, job, question(text), token=token, binding=binding, version=a2a, timeout=timeout, session=session,
            task=task, user=user, labels=labels(pairs), files=attachments(paths, said="--file "), out=out,
        )  # fmt: skip
        return
    if strange := [f"--{name}" for name in _OUTSIDE if given[name] is not None]:
        raise UserError(f"{strange[0]} is for an agent at a URL", hint="the engine knows the tokens of its own jobs")
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
    say_if_elsewhere(call, session, target.job)
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

"""Asking a job something, and what a person sees of the answer."""

from __future__ import annotations

import shlex
import sys
from collections.abc import Generator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from teamwright.cli.app import Call
from teamwright.errors import QueryFailed, UserError

if TYPE_CHECKING:
    from teamwright.backends.api import File
    from teamwright.client.client import Client
    from teamwright.client.results import QueryResult

#: What to do when a job that was started for one query has asked something.
KEEP = "the same again with --keep: this job ends now, and its question with it"


def question(text: str) -> str:
    """The text to ask; `-` reads stdin. Raises UserError when there is nothing to ask or it isn't text."""
    if text == "-":
        try:
            text = sys.stdin.buffer.read().decode()
        except UnicodeDecodeError:
            raise UserError("what came on stdin is not text in UTF-8") from None
    else:
        try:
            text.encode()
        except UnicodeEncodeError:
            raise UserError("the query is not text in UTF-8") from None
    if not text.strip():
        raise UserError("the query is empty", hint='deploy query JOB "your question", or - to read it from stdin')
    return text


def ask_and_print(
    call: Call,
    client: Client,
    job: str,
    text: str,
    *,
    agent: str | None = None,
    session: str | None = None,
    user: str | None = None,
    labels: Mapping[str, str] | None = None,
    files: Sequence[File] = (),
    out: Path | None = None,
    task: str | None = None,
    stays: bool = True,
) -> None:
    """Ask and print the answer, then what it took. Raises QueryFailed when the status is not ok.

    A terminal gets the answer as it comes, anything else whole. Its files go into the folder `out`. A question back is
    followed by the command that answers it, if the job `stays`.
    """
    about: dict[str, Any] = {
        "agent": agent,
        "session": session,
        "user": user,
        "labels": labels,
        "files": files,
        "task": task,
    }
    if call.json:
        result = client.query(job, text, **about)
        call.emit(result.to_dict())
    elif sys.stdout.isatty():
        result = live(client.stream_query(job, text, **about))
    else:
        result = client.query(job, text, **about)
        if result.status == "ok":
            click.echo(result.answer)
    if result.files and out is not None:
        from teamwright.client.files import save

        for path in save(result.files, out, said="--out "):
            click.echo(f"saved {path}", err=True)
    elif result.files and not call.json:
        names = ", ".join(file.name if file.uri is None else file.uri for file in result.files)
        click.echo(f"files: {names} (--out DIR saves them)", err=True)
    if result.status == "ok" and not call.json:
        click.echo(summary(result, agents_in(call, result.trace_id)), err=True)
        if result.state == "input_required" and result.task_id:
            click.echo("next: " + (_reply(call, result, agent, user) if stays else KEEP), err=True)
        elif result.trace_id and result.traced:
            click.echo("next: " + call.next(f"trace show {result.trace_id[:8]}"), err=True)
    if result.status != "ok":
        run = f" (run {result.run_id[:8]})" if result.run_id else ""
        hint = call.next(f"trace show {result.trace_id[:8]}") + run if result.trace_id and result.traced else None
        raise QueryFailed(f"{result.agent or job}: {result.answer or result.state}", run_id=result.run_id, hint=hint)


def _reply(call: Call, result: QueryResult, agent: str | None, user: str | None) -> str:
    """The command that answers what a task has asked."""
    whom = f"{result.job}/{agent}" if agent else result.job
    named = f" --user {shlex.quote(user)}" if user is not None else ""
    return call.next(f"query {whom} 'your answer' --task {result.task_id}{named}")


def live(replies: Generator[dict[str, Any], None, QueryResult]) -> QueryResult:
    """Show an answer on the terminal as it comes."""
    from teamwright.cli.live import Live
    from teamwright.cli.output import spoken

    live = Live(lambda text: click.echo(spoken(text), nl=False))
    try:
        while True:
            live.take(next(replies))
    except StopIteration as over:
        result: QueryResult = over.value
    except BaseException:
        live.stop()
        raise
    if result.status == "ok":
        live.end(result.answer)
    else:
        live.stop()
    return result


def agents_in(call: Call, trace_id: str) -> int:
    """How many agents took part, as the home's spans tell; 0 when they don't."""
    from teamwright.errors import UnknownJob
    from teamwright.tracing.reading.reader import SpanReader
    from teamwright.tracing.reading.view import trace_show

    try:
        with SpanReader(call.home.spans_db, call.home.spool_dir) as reader:
            return len(trace_show(reader.show(trace_id))["summary"]["agents"])
    except UnknownJob:  # tracing is off
        return 0


def summary(result: QueryResult, agents: int) -> str:
    """One line: trace id, agents, seconds, dollars."""
    from teamwright.cli.output import dollars, milliseconds

    parts = [f"trace {result.trace_id[:8]}" if result.traced else "not traced"]
    if agents:
        parts.append(f"{agents} agent{'' if agents == 1 else 's'}")
    parts += [milliseconds(result.duration_ms), dollars(result.usage.get("cost_usd"))]
    return f"-- {', '.join(parts)}"

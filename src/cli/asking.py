"""Asking a job something, and what a person sees of the answer."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from typing import TYPE_CHECKING

import click

from teamwright.cli.app import Call
from teamwright.errors import QueryFailed, UserError

if TYPE_CHECKING:
    from teamwright.client.client import Client
    from teamwright.client.results import QueryResult


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
) -> None:
    """Ask and print the answer, then what it took. Raises QueryFailed when the status is not ok."""
    result = client.query(job, text, agent=agent, session=session, user=user, labels=labels)
    if call.json:
        call.emit(result.to_dict())
    elif result.status == "ok":
        click.echo(result.answer)
        click.echo(summary(result, agents_in(call, result.trace_id)), err=True)
        if result.trace_id:
            click.echo("next: " + call.next(f"trace show {result.trace_id[:8]}"), err=True)
    if result.status != "ok":
        run = f" (run {result.run_id[:8]})" if result.run_id else ""
        hint = call.next(f"trace show {result.trace_id[:8]}") + run if result.trace_id else None
        raise QueryFailed(f"{result.agent or job}: {result.answer or result.state}", run_id=result.run_id, hint=hint)


def agents_in(call: Call, trace_id: str) -> int:
    """How many agents took part, as the home's spans tell; 0 when they don't."""
    from teamwright.errors import UnknownJob
    from teamwright.tracing.reader import SpanReader
    from teamwright.tracing.view import trace_show

    try:
        with SpanReader(call.home.spans_db, call.home.spool_dir) as reader:
            return len(trace_show(reader.show(trace_id))["summary"]["agents"])
    except UnknownJob:  # tracing is off
        return 0


def summary(result: QueryResult, agents: int) -> str:
    """One line: trace id, agents, seconds, dollars."""
    from teamwright.cli.output import dollars, milliseconds

    parts = [f"trace {result.trace_id[:8]}"]
    if agents:
        parts.append(f"{agents} agent{'' if agents == 1 else 's'}")
    parts += [milliseconds(result.duration_ms), dollars(result.usage.get("cost_usd"))]
    return f"-- {', '.join(parts)}"

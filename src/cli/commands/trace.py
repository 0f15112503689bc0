"""`deploy trace`: list, show; in the files beside this one tail, export, send, diff, stats. Needs no engine."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from teamwright.cli.app import Call, app, command
from teamwright.cli.narrowing import limited, narrowed

if TYPE_CHECKING:
    from teamwright.tracing.reading.filters import Filter


@app.group("trace")
def trace() -> None:
    """Look at what agents did, query by query."""


@command("list", group=trace)
@narrowed()
@limited(20)
@click.option("--deployments", is_flag=True, help="Starts and stops of jobs instead of queries.")
@click.pass_obj
def list_traces(call: Call, which: Filter, limit: int, deployments: bool) -> None:
    """List traces, newest first.

    \b
    deploy trace list --job research --status error --since 1h
    """
    from dataclasses import replace

    from teamwright.tracing.reading.reader import SpanReader
    from teamwright.tracing.reading.view import trace_list

    wanted = replace(which, kind="deployment") if deployments else which
    with SpanReader(call.home.spans_db, call.home.spool_dir) as reader:
        found = trace_list(reader.list_traces(wanted, limit=limit))
    if call.json:
        call.emit(found)
        return
    if not found["traces"]:
        click.echo("there are no such traces" if call.home.exists else "there are no traces yet")
        click.echo("next: " + call.next("query JOB 'your question'"))
        return
    from teamwright.cli.output import console, say_shedding
    from teamwright.tracing.showing.tree import render_list

    screen = console()
    screen.print(render_list(found, screen.width))
    say_shedding(call.home)


@command("show", group=trace)
@click.argument("trace_id", required=False, metavar="[ID]")
@click.option("--job", metavar="JOB|FILE", help="The newest of this job.")
@click.option("--full", is_flag=True, help="Leave nothing out of what was said.")
@click.option("--span", "span_id", metavar="ID", help="Only this span, with everything it holds.")
@click.pass_obj
def show(call: Call, trace_id: str | None, job: str | None, full: bool, span_id: str | None) -> None:
    """Show one trace as a tree; the newest without an ID. The first digits of an ID are enough.

    `*` marks what the end waited for; `time` says where the time went, and adds up exactly.

    \b
    deploy trace show
    deploy trace show 5f2c9a --full
    """
    from teamwright.cli.targets import parse_job
    from teamwright.tracing.reading.reader import SpanReader
    from teamwright.tracing.reading.view import trace_show

    name = parse_job(call, job).job if job else None
    with SpanReader(call.home.spans_db, call.home.spool_dir) as reader:
        found = trace_show(reader.show(trace_id, job=name))
    if full or span_id is not None:
        _unfold(call, found)
    if span_id is not None:
        _show_span(call, found, span_id)
        return
    if call.json:
        call.emit(found)
        return
    from teamwright.cli.output import console
    from teamwright.tracing.showing.tree import render_trace

    screen = console(width=120)
    screen.print(render_trace(found, full=full, width=screen.width))


def _unfold(call: Call, show: dict[str, Any]) -> None:
    """Put the large texts back that lie in files of their own."""
    from teamwright.tracing.storing.parts import Parts, content_dir

    parts = Parts(content_dir(call.home.spool_dir))
    for span in show["spans"]:
        span["attributes"] = {name: parts.unfold(value) for name, value in span["attributes"].items()}


def _show_span(call: Call, show: dict[str, Any], span_id: str) -> None:
    from teamwright.errors import UserError

    spans = [span for span in show["spans"] if span["span_id"].startswith(span_id.lower())]
    if len(spans) != 1:
        raise UserError(f"{len(spans)} spans of this trace begin with {span_id!r}", hint="--json shows their ids")
    if call.json:
        call.emit(spans[0])
        return
    from teamwright.cli.output import console
    from teamwright.tracing.showing.tree import render_span

    console(width=120).print(render_span(spans[0]))


# The rest of the group, in files of their own.
from teamwright.cli.commands import trace_compare, trace_export, trace_send, trace_tail  # noqa: E402, F401

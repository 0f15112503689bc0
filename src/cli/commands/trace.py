"""`deploy trace list|show`: the traces of a home, read without an engine."""

from __future__ import annotations

import click

from teamwright.cli.app import Call, app, command


@app.group("trace")
def trace() -> None:
    """Look at what agents did, query by query."""


@command("list", group=trace)
@click.option("--job", metavar="JOB|FILE", help="Only this job's.")
@click.option("--deployments", is_flag=True, help="Starts and stops of jobs instead of queries.")
@click.option("-n", "--limit", type=click.IntRange(min=1), default=20, show_default=True, help="At most so many.")
@click.pass_obj
def list_traces(call: Call, job: str | None, deployments: bool, limit: int) -> None:
    """List traces, newest first."""
    from teamwright.cli.targets import parse_job
    from teamwright.tracing.reader import Filter, SpanReader
    from teamwright.tracing.view import trace_list

    name = parse_job(call, job).job if job else None
    wanted = Filter(job=name, kind="deployment" if deployments else "query")
    with SpanReader(call.home.spans_db, call.home.spool_dir) as reader:
        found = trace_list(reader.list_traces(wanted, limit=limit))
    if call.json:
        call.emit(found)
        return
    if not found["traces"]:
        click.echo("there are no traces yet")
        click.echo("next: " + call.next("query JOB 'your question'"))
        return
    from teamwright.cli.output import console
    from teamwright.tracing.tree import render_list

    console().print(render_list(found))


@command("show", group=trace)
@click.argument("trace_id", required=False, metavar="[ID]")
@click.option("--job", metavar="JOB|FILE", help="The newest of this job.")
@click.pass_obj
def show(call: Call, trace_id: str | None, job: str | None) -> None:
    """Show one trace as a tree; the newest without an ID. The first digits of an ID are enough."""
    from teamwright.cli.targets import parse_job
    from teamwright.tracing.reader import SpanReader
    from teamwright.tracing.view import trace_show

    name = parse_job(call, job).job if job else None
    with SpanReader(call.home.spans_db, call.home.spool_dir) as reader:
        found = trace_show(reader.show(trace_id, job=name))
    if call.json:
        call.emit(found)
        return
    from teamwright.cli.output import console
    from teamwright.tracing.tree import render_trace

    console(width=120).print(render_trace(found))

"""`deploy trace list|show`: the traces of a home, read without an engine."""

from __future__ import annotations

import click

from teamwright.cli.app import Call, app, command


@app.group("trace")
def trace() -> None:
    """Look at what agents did, query by query."""


@command("list", group=trace)
@click.option("--job", metavar="JOB", help="Only this job's.")
@click.option("-n", "--limit", type=click.IntRange(min=1), default=20, show_default=True, help="At most so many.")
@click.pass_obj
def list_traces(call: Call, job: str | None, limit: int) -> None:
    """List traces, newest first."""


@command("show", group=trace)
@click.argument("trace_id", required=False, metavar="[ID]")
@click.pass_obj
def show(call: Call, trace_id: str | None) -> None:
    """Show one trace as a tree; the newest without an ID. The first digits of an ID are enough."""

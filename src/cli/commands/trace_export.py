"""`deploy trace export`: one trace in a format that other tools open, or a view of all of them as a table."""

from __future__ import annotations

import sys
from pathlib import Path

import click

from teamwright.cli.app import Call, command
from teamwright.cli.commands.trace import trace


@command("export", group=trace)
@click.argument("trace_id", required=False, metavar="[ID]")
@click.option("--job", metavar="JOB|FILE", help="The newest of this job; with --view all of it.")
@click.option(
    "--view",
    type=click.Choice(["queries", "model_calls", "tool_calls", "a2a_calls", "runs"]),
    help="A table of all traces instead of one trace: csv or parquet.",
)
@click.option("--since", metavar="TIME", help="With --view: only what began within 10m, 2h, 7d.")
@click.option(
    "--format",
    "kind",
    type=click.Choice(["otlp", "chrome", "csv", "parquet"]),
    help="OTLP-JSON (the default); JSON for chrome://tracing and ui.perfetto.dev; a line per span. With --view csv.",
)
@click.option("-o", "--output", type=click.Path(path_type=Path, dir_okay=False), help="A file instead of stdout.")
@click.pass_obj
def export(
    call: Call,
    trace_id: str | None,
    job: str | None,
    view: str | None,
    since: str | None,
    kind: str | None,
    output: Path | None,
) -> None:
    """Give out one trace, the newest without an ID; or with --view a table of all.

    \b
    deploy trace export 5f2c > trace.json
    """
    from teamwright.cli.targets import parse_job
    from teamwright.errors import UserError

    name = parse_job(call, job).job if job else None
    if view is not None:
        if trace_id is not None or kind not in (None, "csv", "parquet"):
            raise UserError("--view gives a table of all traces", hint="--format csv or parquet, and no ID")
        _table(call, view, name, since, kind or "csv", output)
        return
    if kind == "parquet" or since is not None:
        raise UserError(f"{'--since' if since else 'parquet'} is for tables", hint="--view runs, for example")
    _one(call, trace_id, name, kind or "otlp", output)


def _one(call: Call, trace_id: str | None, job: str | None, kind: str, output: Path | None) -> None:
    import json

    from teamwright.tracing.reading.export import chrome, table
    from teamwright.tracing.reading.reader import SpanReader
    from teamwright.tracing.reading.view import trace_show

    with SpanReader(call.home.spans_db, call.home.spool_dir) as reader:
        found = reader.show(trace_id, job=job)
        if kind == "csv":
            text = table(trace_show(found))
        else:
            text = (
                json.dumps(found.to_otlp() if kind == "otlp" else chrome(trace_show(found)), ensure_ascii=False) + "\n"
            )
    if output is None:
        click.echo(text, nl=False)
        return
    place = call.cwd / output
    place.write_text(text)
    if call.json:
        call.emit({"trace_id": found.trace_id, "format": kind, "file": str(place)})
    else:
        click.echo(f"trace {found.trace_id[:8]} written to {call.shown(place)}")


def _table(call: Call, view: str, job: str | None, since: str | None, kind: str, output: Path | None) -> None:
    import time

    from teamwright.errors import UserError
    from teamwright.tracing.reading.filters import nanoseconds
    from teamwright.tracing.reading.reader import SpanReader
    from teamwright.tracing.reading.tables import columns, rows, write_csv, write_parquet

    begin = time.time_ns() - nanoseconds(since) if since else None
    if kind == "parquet" and output is None:
        raise UserError("Parquet goes into a file", hint="-o runs.parquet")
    with SpanReader(call.home.spans_db, call.home.spool_dir) as reader:
        names, found = columns(reader, view), rows(reader, view, job=job, since_ns=begin)
        if output is None:
            write_csv(sys.stdout, names, found)
            return
        place = call.cwd / output
        if kind == "parquet":
            count = write_parquet(place, names, found)
        else:
            with place.open("w", newline="") as file:
                count = write_csv(file, names, found)
    if call.json:
        call.emit({"view": view, "format": kind, "rows": count, "file": str(place)})
    else:
        click.echo(f"{count} rows of {view} written to {call.shown(place)}")

"""`deploy trace export`: one trace in a format that other tools open."""

from __future__ import annotations

from pathlib import Path

import click

from teamwright.cli.app import Call, command
from teamwright.cli.commands.trace import trace


@command("export", group=trace)
@click.argument("trace_id", required=False, metavar="[ID]")
@click.option("--job", metavar="JOB|FILE", help="The newest of this job.")
@click.option(
    "--format",
    "kind",
    type=click.Choice(["otlp", "chrome", "csv"]),
    default="otlp",
    show_default=True,
    help="OTLP-JSON; JSON for chrome://tracing and ui.perfetto.dev; a line per span.",
)
@click.option("-o", "--output", type=click.Path(path_type=Path, dir_okay=False), help="A file instead of stdout.")
@click.pass_obj
def export(call: Call, trace_id: str | None, job: str | None, kind: str, output: Path | None) -> None:
    """Give out one trace; the newest without an ID."""
    import json

    from teamwright.cli.targets import parse_job
    from teamwright.tracing.export import chrome, table
    from teamwright.tracing.reader import SpanReader
    from teamwright.tracing.view import trace_show

    name = parse_job(call, job).job if job else None
    with SpanReader(call.home.spans_db, call.home.spool_dir) as reader:
        found = reader.show(trace_id, job=name)
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

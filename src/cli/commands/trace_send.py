"""`deploy trace send`: one trace to an OTLP receiver, and a look whether it is there."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import click

from teamwright.cli.app import Call, command
from teamwright.cli.commands.trace import trace
from teamwright.cli.receivers import otlp_options, wanted

if TYPE_CHECKING:
    from teamwright.tracing.forwarding.read_back import Found


@command("send", group=trace)
@click.argument("trace_id", required=False, metavar="[ID]")
@click.option("--job", metavar="JOB|FILE", help="The newest of this job.")
@otlp_options
@click.option(
    "--read-back", "tool", metavar="TOOL=URL", help="Then look it up there; TOOL is jaeger, tempo, phoenix or mlflow."
)
@click.pass_obj
def send(
    call: Call, trace_id: str | None, job: str | None, otlp: Sequence[str], otlp_content: bool, tool: str | None
) -> None:
    """Send one trace that is stored here; the newest without an ID. Needs no engine.

    \b
    deploy trace send 5f2c --otlp http://127.0.0.1:4318
    """
    from teamwright.cli.targets import parse_job
    from teamwright.errors import TeamwrightError, UserError
    from teamwright.tracing.forwarding.sending import send as send_trace
    from teamwright.tracing.reading.reader import SpanReader

    name = parse_job(call, job).job if job else None
    kind, url = _tool(tool) if tool else ("", "")
    receivers = wanted(call.environ, otlp, otlp_content)
    if not receivers:
        raise UserError("where to?", hint="--otlp URL, or TEAMWRIGHT_OTLP_ENDPOINT")
    with SpanReader(call.home.spans_db, call.home.spool_dir) as reader:
        found = reader.show(trace_id, job=name)
    count = 0
    for endpoint in receivers:
        count = send_trace(found, endpoint)
        if not call.json:
            click.echo(f"trace {found.trace_id[:8]}: {count} spans sent to {endpoint.url}")
    back = None
    if kind:
        from teamwright.tracing.forwarding.read_back import read_back

        back = read_back(kind, url, found.trace_id, spans=count)
        if not call.json:
            click.echo(f"{kind} has {back.spans} of {count} spans{_details(back)}")
    if call.json:
        call.emit(_report(found.trace_id, count, [endpoint.url for endpoint in receivers], back))
    if back is not None and back.spans < count:
        raise TeamwrightError(f"{kind} has {back.spans} of {count} spans of {found.trace_id}")


def _tool(text: str) -> tuple[str, str]:
    from teamwright.errors import UserError
    from teamwright.tracing.forwarding.read_back import TOOLS

    kind, _, url = text.partition("=")
    if kind not in TOOLS or not url.startswith(("http://", "https://")):
        raise UserError(f"{text!r} is not TOOL=URL", hint=f"TOOL is {', '.join(TOOLS)}")
    return kind, url


def _details(found: Found) -> str:
    kinds = ", ".join(f"{count} {kind}" for kind, count in sorted(found.kinds.items()))
    session = f"; session {found.session}" if found.session else ""
    tokens = f"; tokens {found.input_tokens} in, {found.output_tokens} out" if found.input_tokens is not None else ""
    return (f": {kinds}" if kinds else "") + session + tokens


def _report(trace_id: str, count: int, sent_to: list[str], found: Found | None) -> dict[str, Any]:
    from dataclasses import asdict

    return {
        "trace_id": trace_id,
        "spans": count,
        "sent_to": sent_to,
        "read_back": None if found is None else {**asdict(found), "kinds": dict(found.kinds)},
    }

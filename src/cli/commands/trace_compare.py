"""`deploy trace diff|stats`: two traces side by side; many of them summed up."""

from __future__ import annotations

from typing import Any

import click

from teamwright.cli.app import Call, command
from teamwright.cli.commands.trace import trace


@command("diff", group=trace)
@click.argument("first", metavar="A")
@click.argument("second", metavar="B")
@click.pass_obj
def diff(call: Call, first: str, second: str) -> None:
    """What changed from trace A to trace B."""
    from teamwright.tracing.analysis import difference
    from teamwright.tracing.reader import SpanReader
    from teamwright.tracing.view import trace_show

    with SpanReader(call.home.spans_db, call.home.spool_dir) as reader:
        found = difference(trace_show(reader.show(first)), trace_show(reader.show(second)))
    if call.json:
        call.emit(found)
        return
    from teamwright.tracing.analysis import KINDS
    from teamwright.tracing.messages import plain_text
    from teamwright.tracing.wording import TIMES, duration, excerpt

    for name, (one, two) in found["changed"].items():
        sides = [plain_text(side) if name == "answer" else side for side in (one, two)]
        click.echo(f"{name}: {excerpt(str(sides[0]))} -> {excerpt(str(sides[1]))}")
    before, after = found["time_ns"]
    for kind in [kind for kind in KINDS if before.get(kind) or after.get(kind)]:
        sums = " -> ".join(duration(side.get(kind, 0) / 1e6) for side in (before, after))
        click.echo(f"time in {TIMES[kind]}: {sums}")
    if "revision" in found["changed"] and all(found["changed"]["revision"]):
        click.echo("next: " + call.next("diff " + " ".join(found["changed"]["revision"])))
    for span in found["spans"]:
        (count, counts), (errors, more), (took, takes) = span["count"], span["errors"], span["duration_ms"]
        mark = " " if (count, errors) == (counts, more) else "*"
        failed = f", errors {errors} -> {more}" if errors or more else ""
        where = f"{span['agent'] or '-'}: {span['name']}"
        click.echo(f"{mark} {where}: {count} -> {counts}, {took:.1f} -> {takes:.1f} ms{failed}")


@command("stats", group=trace)
@click.argument("job", required=False, metavar="[JOB|FILE]")
@click.option("-n", "--limit", type=click.IntRange(min=1), default=200, show_default=True, help="The newest so many.")
@click.pass_obj
def stats(call: Call, job: str | None, limit: int) -> None:
    """Sum up the newest queries: how long, how large, how dear, and where the time went."""
    from teamwright.cli.targets import parse_job
    from teamwright.tracing.reader import SpanReader
    from teamwright.tracing.stats import summed
    from teamwright.tracing.view import trace_show

    name = parse_job(call, job).job if job else None
    with SpanReader(call.home.spans_db, call.home.spool_dir) as reader:
        found: dict[str, Any] = summed(
            reader.stats(name, traces=limit), lambda trace: trace_show(reader.show(trace.hex()))
        )
    found = {"job": name, **found}
    if call.json:
        call.emit(found)
        return
    if not found["queries"]:
        click.echo("there are no traces yet")
        return
    took = found["duration_ms"]
    click.echo(f"{found['queries']} queries: " + ", ".join(f"{n} {what}" for what, n in found["status"].items()))
    click.echo(f"time: median {took['p50']:.0f} ms, 95 % within {took['p95']:.0f} ms, longest {took['max']:.0f} ms")
    click.echo(f"per query: {found['spans_per_query']:.1f} spans, {found['bytes_per_query']:.0f} bytes")
    cost = f"${found['cost_usd']:.4f}" + (" (estimated)" if found["estimated"] else "")
    unknown = f", {found['unpriced_queries']} queries of unknown price" if found["unpriced_queries"] else ""
    click.echo(f"cost: {cost}{unknown}; tokens {found['input_tokens']} in, {found['output_tokens']} out")
    from teamwright.tracing.wording import TIMES

    click.echo(
        "where the time went: " + ", ".join(f"{TIMES[kind]} {share:.1%}" for kind, share in found["time_share"].items())
    )
    click.echo(f"nobody accounts for: {found['unaccounted_share']:.1%} (agents' own code, between their spans)")
    click.echo(f"tracing itself: {found['tracing_share']:.2%} ({found['tracing_us_per_query']:.0f} us a query)")
    for one in found["agents"]:
        dear = "?" if one["cost_usd"] is None else f"${one['cost_usd']:.4f}"
        click.echo(f"  {one['agent']}: {one['model_calls']} model calls, {one['tool_calls']} tool calls, {dear}")

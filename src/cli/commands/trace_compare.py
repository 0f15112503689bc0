"""`deploy trace diff|stats`: two traces side by side; many of them summed up."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from teamwright.cli.app import Call, command
from teamwright.cli.commands.trace import trace
from teamwright.cli.narrowing import limited, narrowed

if TYPE_CHECKING:
    from teamwright.tracing.reading.filters import Filter

#: So many of the newest have a line of their own.
_SESSIONS = 10


@command("diff", group=trace)
@click.argument("first", metavar="A")
@click.argument("second", metavar="B")
@click.pass_obj
def diff(call: Call, first: str, second: str) -> None:
    """What changed from trace A to trace B.

    \b
    deploy trace diff 5f2c 9a01
    """
    from teamwright.tracing.reading.analysis import difference
    from teamwright.tracing.reading.reader import SpanReader
    from teamwright.tracing.reading.view import trace_show

    with SpanReader(call.home.spans_db, call.home.spool_dir) as reader:
        found = difference(trace_show(reader.show(first)), trace_show(reader.show(second)))
    if call.json:
        call.emit(found)
        return
    from teamwright.tracing.messages import plain_text
    from teamwright.tracing.reading.analysis import KINDS
    from teamwright.tracing.showing.wording import TIMES, duration, excerpt

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
@narrowed("job")
@limited(200)
@click.pass_obj
def stats(call: Call, which: Filter, limit: int) -> None:
    """Sum up the newest queries: how long, how large, how dear, and where the time went.

    \b
    deploy trace stats research --since 1d
    """
    from teamwright.tracing.reading.reader import SpanReader
    from teamwright.tracing.reading.stats import summed
    from teamwright.tracing.reading.view import trace_show

    with SpanReader(call.home.spans_db, call.home.spool_dir) as reader:
        found: dict[str, Any] = summed(
            reader.stats(which, traces=limit), lambda trace: trace_show(reader.show(trace.hex()))
        )
    found = {"job": which.job, **found}
    if call.json:
        call.emit(found)
        return
    if not found["queries"]:
        click.echo("there are no such traces" if call.home.exists else "there are no traces yet")
        return
    took = found["duration_ms"]
    click.echo(f"{_queries(found['queries'])}: " + ", ".join(f"{n} {what}" for what, n in found["status"].items()))
    click.echo(f"time: median {took['p50']:.0f} ms, 95 % within {took['p95']:.0f} ms, longest {took['max']:.0f} ms")
    click.echo(f"per query: {found['spans_per_query']:.1f} spans, {found['bytes_per_query']:.0f} bytes")
    click.echo(f"cost: {_cost(found)}; tokens {found['input_tokens']} in, {found['output_tokens']} out")
    from teamwright.tracing.showing.wording import TIMES

    click.echo(
        "where the time went: " + ", ".join(f"{TIMES[kind]} {share:.1%}" for kind, share in found["time_share"].items())
    )
    click.echo(f"nobody accounts for: {found['unaccounted_share']:.1%} (agents' own code, between their spans)")
    click.echo(f"tracing itself: {found['tracing_share']:.2%} ({found['tracing_us_per_query']:.0f} us a query)")
    for one in found["sessions"][:_SESSIONS]:
        dear = "?" if one["cost_usd"] is None else f"${one['cost_usd']:.4f}"
        click.echo(f"  session {one['session']}: {_queries(one['queries'])}, {dear}")
    if more := found["sessions"][_SESSIONS:]:
        click.echo(f"  and {len(more)} more sessions (--json)")
    for one in found["agents"]:
        dear = "?" if one["cost_usd"] is None else f"${one['cost_usd']:.4f}"
        click.echo(f"  {one['agent']}: {one['model_calls']} model calls, {one['tool_calls']} tool calls, {dear}")


def _cost(found: dict[str, Any]) -> str:
    """What is known of it, and how many queries nothing is known of."""
    if found["cost_usd"] is None:
        return "unknown"
    unknown = found["unpriced_queries"]
    known = f"${found['cost_usd']:.4f}" + (" (estimated)" if found["estimated"] else "")
    return f"{known} and {_queries(unknown)} of unknown price" if unknown else known


def _queries(count: int) -> str:
    return "1 query" if count == 1 else f"{count} queries"

"""`deploy diff A B`: what changed between two revisions of a job."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import click

from teamwright.cli.app import Call, command

if TYPE_CHECKING:
    from teamwright.cli.revisions import Side


@command("diff")
@click.argument("first", metavar="A")
@click.argument("second", required=False, metavar="[B]")
@click.pass_obj
def diff(call: Call, first: str, second: str | None) -> None:
    """What changed between two revisions of a job: file, prompts, code, packages; and how its queries fared.

    A and B are the first digits of a revision, JOB (its newest), JOB@prev (the one before) or a job file as it is now.
    One job alone is compared with the revision before.

    \b
    deploy diff research@prev research
    """
    from teamwright.cli.revisions import queries_of, sides
    from teamwright.jobs.difference import difference

    one, other = sides(call, first, second)
    found: dict[str, Any] = {
        "revisions": [one.to_dict(), other.to_dict()],
        **difference(one.plan, other.plan),
        "queries": queries_of(call, one, other),
    }
    if call.json:
        call.emit(found)
        return
    for line in _lines(found, one, other):
        click.echo(line)


def _lines(found: dict[str, Any], one: Side, other: Side) -> Iterator[str]:
    yield f"from {one.shown}"
    yield f"to   {other.shown}"
    if not (found["file"] or found["code"] or found["packages"]):
        yield "nothing differs"
    for change in found["file"]:
        if "lines" in change:
            yield f"{change['key']}:"
            yield from (f"    {line}" for line in change["lines"])
        else:
            yield f"{change['key']}: {_value(change['before'])} -> {_value(change['after'])}"
    for change in found["code"]:
        hashes = " -> ".join(side[:8] for side in (change["before"], change["after"]) if side)
        yield f"code {change['file']}: {change['change']} ({hashes})"
    for change in found["packages"]:
        yield f"package {change['name']}: {_value(change['before'])} -> {_value(change['after'])}"
    before, after = found["queries"]
    if before["queries"] or after["queries"]:
        yield "queries: " + ", ".join(f"{name.replace('_', ' ')} {_side(before, name)} -> {_side(after, name)}"
                                      for name in before)  # fmt: skip


def _value(value: Any) -> str:
    import json

    return "-" if value is None else value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def _side(queries: dict[str, Any], name: str) -> str:
    value = queries[name]
    return "?" if value is None else f"{value:g}" if isinstance(value, int) else f"{value:.4g}"

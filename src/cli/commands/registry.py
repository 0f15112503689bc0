"""`deploy registry list|search|export`: which agents are there to be asked, and what they can do."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import click

from teamwright.cli.app import Call, app, command


@app.group("registry")
def registry() -> None:
    """Look up the agents that are running: the registry of this home's engine."""


def _filters(function: Callable[..., Any]) -> Callable[..., Any]:
    for option in (
        click.option("--limit", type=click.IntRange(1), help="At most so many."),
        click.option("--health", metavar="STATUS", help="Only agents of that status, as `deploy ps` shows it."),
        click.option("--group", metavar="GROUP", help="Only agents of this group."),
        click.option("--job", metavar="JOB", help="Only agents of this job."),
        click.option("--name", metavar="TEXT", help="Only agents with this in their name or id."),
        click.option("--tag", metavar="TAG", help="Only agents with a skill of this tag."),
        click.option("--skill", metavar="SKILL", help="Only agents with a skill of this id, name or tag."),
    ):
        function = option(function)
    return function


@command("list", group=registry)
@_filters
@click.pass_obj
def list_agents(call: Call, /, limit: int | None, **only: str | None) -> None:
    """List the agents that are there, sorted by id.

    \b
    deploy registry list --skill writing
    """
    _show(call, limit, only)


@command("search", group=registry)
@click.argument("text", nargs=-1, required=True)
@_filters
@click.pass_obj
def search(call: Call, /, text: tuple[str, ...], limit: int | None, **only: str | None) -> None:
    """Find agents by free text over their cards, the best match first.

    \b
    deploy registry search check the weather
    """
    _show(call, limit, {**only, "q": " ".join(text)})


def _show(call: Call, limit: int | None, only: dict[str, str | None]) -> None:
    from teamwright.cli.connection import connected

    with connected(call) as client:
        found = client.agents(limit=limit, **only)
    if call.json:
        call.emit({"agents": found})
        return
    if not found:
        click.echo("no such agents are running" if any(only.values()) else "no agents are running")
        click.echo("next: " + call.next("ps"))
        return
    from teamwright.cli.output import console, table

    console().print(
        table(
            ("ID", "NAME", "STATUS", "GROUP", "SKILLS", "ADDRESS"),
            (
                (
                    entry["id"],
                    entry["name"],
                    entry["status"],
                    entry["group"] or "-",
                    _names(skill["id"] for skill in entry["skills"]),
                    entry["url"],
                )
                for entry in found
            ),
        )
    )


def _names(ids: Iterable[str], most: int = 6) -> str:
    """The first few, and how many more there are."""
    found = list(ids)
    more = f" +{len(found) - most}" if len(found) > most else ""
    return ", ".join(found[:most]) + more or "-"


from teamwright.cli.commands import registry_export  # noqa: E402, F401

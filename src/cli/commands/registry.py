"""`deploy registry list|search|export|add|remove`: which agents are there to be asked, and what they can do."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import click

from teamwright.cli.app import MOST, Call, app, command


@app.group("registry")
def registry() -> None:
    """Look up the agents that are running: the registry of this home's engine."""


def _filters(function: Callable[..., Any]) -> Callable[..., Any]:
    for option in (
        click.option("--limit", type=click.IntRange(1, MOST), help="At most so many."),
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


@command("add", group=registry)
@click.argument("url")
@click.option("--id", "name", metavar="NAME", help="It is listed as outside.NAME; else what its card calls it.")
@click.option("--group", metavar="GROUP", help="Its group, for the `discover` of others.")
@click.pass_obj
def add(call: Call, url: str, name: str | None, group: str | None) -> None:
    """List an A2A agent that runs elsewhere, so that others find it.

    \b
    deploy registry add https://agents.example.com --id partner
    """
    from teamwright.cli.connection import connected

    with connected(call) as client:
        entry = client.add_agent(url, name=name, group=group)
    if call.json:
        call.emit(entry)
        return
    click.echo(f"listed {entry['id']}: {' '.join(entry['name'].split())} at {entry['url']}")
    click.echo("next: " + call.next("registry list"))


@command("remove", group=registry)
@click.argument("id")
@click.pass_obj
def remove(call: Call, id: str) -> None:
    """Take an agent off the list. Those of a job list themselves again as long as they run.

    \b
    deploy registry remove outside.partner
    """
    from teamwright.cli.connection import connected
    from teamwright.errors import UserError

    with connected(call) as client:
        removed = bool(id) and client.remove_agent(id)
    if not removed:
        raise UserError(f"no agent {id or repr(id)} is listed", hint="deploy registry list")
    if call.json:
        call.emit({"removed": id})
    else:
        click.echo(f"removed {id}")


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
            spare=("GROUP", "NAME", "ADDRESS", "SKILLS"),
            broken="SKILLS",
        )
    )


def _names(ids: Iterable[str], most: int = 6) -> str:
    """The first few, and how many more there are."""
    found = list(ids)
    more = f" +{len(found) - most}" if len(found) > most else ""
    return ", ".join(found[:most]) + more or "-"


from teamwright.cli.commands import registry_export  # noqa: E402, F401

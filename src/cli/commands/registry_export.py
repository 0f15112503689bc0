"""`deploy registry export`: the cards of running agents as files, where A2A clients look for them."""

from __future__ import annotations

from pathlib import Path

import click

from teamwright.cli.app import Call, command
from teamwright.cli.commands.registry import registry


@command("export", group=registry)
@click.argument("folder", type=click.Path(path_type=Path, file_okay=False))
@click.option("--job", metavar="JOB", help="Only agents of this job.")
@click.pass_obj
def export(call: Call, folder: Path, job: str | None) -> None:
    """Write the card of each agent as FOLDER/JOB/AGENT/.well-known/agent-card.json, as the front door shows it.

    \b
    deploy registry export cards --job hello
    """
    from teamwright.cli.connection import connected
    from teamwright.errors import UserError

    with connected(call) as client:
        cards = {
            (entry["job"], entry["agent"]): client.card(entry["job"], entry["agent"])
            for entry in client.agents(job=job)
        }
    if not cards:
        raise UserError(f"no agents of {job} are running" if job else "no agents are running", hint="deploy ps")
    files = []
    for (of_job, agent), card in cards.items():
        place = folder / of_job / agent / ".well-known" / "agent-card.json"
        try:
            place.parent.mkdir(parents=True, exist_ok=True)
            place.write_text(card)
        except OSError as error:
            raise UserError(f"{place} can't be written: {error.strerror}") from None
        files.append(str(place))
    if call.json:
        call.emit({"files": files})
        return
    for name in files:
        click.echo(name)

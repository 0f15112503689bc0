"""`deploy init NAME`: a small job to begin with."""

from __future__ import annotations

from pathlib import Path

import click

from teamwright.cli.app import Call, command


@command("init")
@click.argument("name")
@click.option("--folder", type=click.Path(path_type=Path), help="Where to; else a new folder of that name.")
@click.pass_obj
def init(call: Call, name: str, folder: Path | None) -> None:
    """Write a small job: its file with one agent that needs no model, a tool, and a test that passes.

    Nothing is ever overwritten.

    \b
    deploy init weather-desk
    """
    from teamwright.jobs.beginning import begin

    made = begin(name, call.cwd / (folder or name))
    if call.json:
        call.emit({"job": name, "files": [str(path) for path in made]})
        return
    for path in made:
        click.echo(f"wrote {call.shown(path)}")
    click.echo("next: " + call.next(f"start {call.shown(made[0])}"))
    click.echo(f"next: pytest {call.shown(made[0].parent)}")

"""`deploy validate FILE`: whether the file can be used, without importing any of the user's code."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import click

from teamwright.cli.app import Call, command
from teamwright.cli.job_file import job_file, load


@command("validate")
@job_file
@click.pass_obj
def validate(call: Call, file: Path, name: str | None, sets: Sequence[str]) -> None:
    """Check a job file; everything that is wrong at once.

    \b
    deploy validate team.yaml
    """
    plan = load(call, file, name=name, sets=sets).plan
    if call.json:
        call.emit({"job": plan.job, "valid": True, "agents": len(plan.agents), "warnings": list(plan.warnings)})
        return
    click.echo(f"{file}: job {plan.job}, {_count(len(plan.agents), 'agent')}, {plan.topology}: valid")


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}{'' if number == 1 else 's'}"

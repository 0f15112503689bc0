"""A job file on the command line: loaded with the shell's variables, its warnings told once."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from teamwright.cli.app import Call
from teamwright.errors import MissingExtra, MissingKey

if TYPE_CHECKING:
    from teamwright.jobs.planner import Resolved

file_argument = click.argument("file", type=click.Path(path_type=Path))

_name = click.option("--name", metavar="NAME", help="The job's name instead of the file's.")
_set = click.option(
    "--set", "sets", metavar="PATH=VALUE", multiple=True, help="Set a key of the file, e.g. agents.lead.model=x."
)


def job_file(function: Callable[..., Any]) -> Callable[..., Any]:
    """FILE, --name and --set, as every command that reads a job file takes them."""
    return file_argument(_name(_set(function)))


def load(
    call: Call,
    file: Path,
    *,
    name: str | None = None,
    sets: Sequence[str] = (),
    starting: bool = False,
    record: Path | None = None,
    replay: Path | None = None,
) -> Resolved:
    """The plan in a file and the secrets its agents get. Raises JobFileError with everything that is wrong.

    `starting`: keys of models must be there as well. `record` and `replay` are folders of recordings.
    """
    from teamwright.cli.output import warn
    from teamwright.jobs import planner
    from teamwright.jobs.examples import located
    from teamwright.jobs.replaying import without_keys

    # What a program that starts us leaves in PWD may be another folder; `${PWD}` in a file means this one.
    environ = {**call.environ, "PWD": str(call.cwd)}
    try:
        loaded = planner.load(
            located(file), environ=environ, name=name, sets=sets, cwd=call.cwd, record=record, replay=replay
        )
        if starting:
            loaded.check_keys()
    except (MissingExtra, MissingKey) as error:
        raise type(error)(error.message, hint="; ".join(filter(None, (error.hint, without_keys(file))))) from None
    if not call.json:
        warn(loaded.warnings)
    return loaded


def kept(call: Call, file: Path, name: str | None) -> tuple[Path | None, Path | None]:
    """The folders that a running job of that file, or of that name, records to and replays from: it keeps them."""
    from teamwright.engine.store.state import StateReader
    from teamwright.jobs.examples import located

    path = str((call.cwd / located(file).expanduser()).resolve())
    with StateReader(call.home) as reader:
        jobs = [job for job in reader.records().values() if job.active]
    plans = [job.plan for job in jobs if job.plan.job == name or (name is None and job.plan.file == path)]
    found = next((plan for plan in plans if plan.record or plan.replay), None)
    if found is None:
        return None, None
    return Path(found.record) if found.record else None, Path(found.replay) if found.replay else None

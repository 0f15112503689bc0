"""Recordings of a job's models: where they are, what a plan with one is, and those that come with the examples."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import date
from pathlib import Path

from teamwright.backends.recordings import folder
from teamwright.errors import UserError
from teamwright.jobs import examples
from teamwright.jobs.names import suggestion
from teamwright.jobs.plan import Plan


def recorded_or_replayed(plan: Plan, record: Path | None, replay: Path | None) -> Plan:
    """The plan with one of both. Raises UserError when that folder can't be used for it."""
    if record is not None and replay is not None:
        raise UserError("either --record or --replay, not both", hint="a replay has nothing new to record")
    if replay is not None:
        folder.check(replay, plan.job)
        note = f"models: answered from the recording {replay}; nothing is sent to a model, and nothing is spent"
        return dataclasses.replace(plan, replay=str(replay), notes=(note, *_own(plan, "replayed")))
    note = f"models: every exchange is written to {record}"
    return dataclasses.replace(plan, record=str(record), notes=(*plan.notes, note, *_own(plan, "recorded")))


@contextmanager
def recording_to(place: Path | None, plan: Plan) -> Iterator[None]:
    """While a job is started that is recorded: the folder is there, and gone again when the start fails.

    Raises UserError where something is already.
    """
    if place is None:
        yield
        return
    thinking = [agent.id for agent in plan.agents if agent.kind in ("class", "declared")]
    folder.begin(place, plan.job, thinking, date.today().isoformat())
    try:
        yield
    except BaseException:
        folder.undo(place)
        raise


def located(given: str | Path, cwd: Path) -> Path:
    """The folder that `--replay` names: a path, or `example:NAME` for one that comes along. Raises UserError."""
    text = str(given)
    if not text.startswith(examples.PREFIX):
        return (cwd / Path(text).expanduser()).resolve()
    name = text.removeprefix(examples.PREFIX)
    if name not in names():
        hint = suggestion(name, names(), kind="there are") if names() else "the examples are not installed"
        raise UserError(f"there is no recording {name!r}", hint=hint)
    return _bundled() / name


def names() -> list[str]:
    """What can stand behind `example:`."""
    return sorted(path.parent.name for path in _bundled().glob(f"*/{folder.INDEX}"))


def without_keys(job_file: str | Path) -> str | None:
    """How an example can be started without keys and packages, where a recording of it comes along."""
    text = str(job_file)
    found = next((name for name in names() if name.startswith(text.removeprefix(examples.PREFIX))), None)
    if not text.startswith(examples.PREFIX) or found is None:
        return None
    return f"without any: deploy start {text} --replay {examples.PREFIX}{found}"


def _bundled() -> Path:
    return examples.root() / "examples" / "recordings"


def _own(plan: Plan, what: str) -> tuple[str, ...]:
    """Agents whose models are asked by the user's own code."""
    ids = [agent.id for agent in plan.agents if agent.kind not in ("class", "declared") or agent.backend == "executor"]
    return (f"not {what}: {', '.join(ids)} (their own code asks their models)",) if ids else ()

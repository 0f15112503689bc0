"""Starting a job and watching it come up; an interrupted start is undone before the command ends."""

from __future__ import annotations

import time
from collections.abc import Generator
from contextlib import closing
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from teamwright.cli.app import Call
from teamwright.cli.output import note
from teamwright.cli.progress import Progress
from teamwright.cli.signals import undisturbed
from teamwright.errors import StartFailed, TeamwrightError

if TYPE_CHECKING:
    from teamwright.cli.targets import Target
    from teamwright.client.client import Client

#: Seconds that the engine may take to stop what an interrupted start had begun.
UNDO_DEADLINE = 25.0
_MOVING = ("starting", "stopping")


@dataclass(frozen=True, slots=True)
class Started:
    """A job that is up: its view, as `ps JOB --json` shows it, and whether it was this command that started it."""

    view: dict[str, Any]
    by_us: bool


def follow_start(
    call: Call, client: Client, job: str, levels: int, stream: Generator[dict[str, Any], None, None]
) -> Started:
    """Follow the stream of a start (or restart) to its end. Raises StartFailed when the job did not get ready.

    When the command is interrupted the connection is closed, which the engine takes as the order to undo the start;
    KeyboardInterrupt comes out of here when that is done, or after UNDO_DEADLINE.
    """
    try:
        with closing(stream), Progress(job, levels, quiet=call.json) as progress:
            for line in stream:
                event = line.get("event")
                if event in ("done", "unchanged"):
                    for words in () if call.json else line.get("notes", ()):
                        note(words)
                    return Started(line["job"], by_us=event == "done")
                if event == "failed":
                    raise failure(line["error"])
                progress.take(line)
    except KeyboardInterrupt:
        with undisturbed():
            note(f"interrupted: stopping what was started of {job}")
            settle(client, job)
        raise
    raise StartFailed(
        f"the engine ended before {job} was ready", hint=f"see {call.home.engine_log} and {call.home.guard_log}"
    )


def ensure(call: Call, client: Client, target: Target) -> bool:
    """Start the job of a file when it doesn't run; whether that was needed."""
    from teamwright.cli.job_file import load

    assert target.file is not None
    if any(view["job"] == target.job and view["status"] in ("running", "degraded") for view in client.jobs()):
        return False
    loaded = load(call, target.file, starting=True)
    stream = client.start(loaded.plan, loaded.secrets)
    return follow_start(call, client, target.job, len(loaded.plan.levels), stream).by_us


def stop_again(client: Client, job: str) -> None:
    """Stop a job that this command has started, because the command was interrupted or is done with it."""
    with undisturbed():
        client.stop([job])
        settle(client, job)


def settle(client: Client, job: str, *, deadline: float = UNDO_DEADLINE) -> None:
    """Wait until the job neither starts nor stops any more."""
    until = time.monotonic() + deadline
    while time.monotonic() < until:
        try:
            view = client.job(job)
        except TeamwrightError:
            return
        if view["status"] not in _MOVING and not view["changing"]:
            return
        time.sleep(0.05)


def failure(error: dict[str, Any]) -> TeamwrightError:
    """The error that the stream of a start ended with."""
    return StartFailed(
        error["message"], agent=error.get("agent"), tail=tuple(error.get("tail") or ()), hint=error.get("hint")
    )

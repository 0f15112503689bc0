"""The folder of a recording: `recording.json` says what it is, `AGENT/0001.json` and so on have a message each."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from teamwright.backends.recordings.values import Message
from teamwright.errors import UserError

FORMAT, VERSION = "teamwright-recording", 1
INDEX = "recording.json"


def begin(folder: Path, job: str, agents: Sequence[str], made: str) -> None:
    """Make the folder and say whose recording it will be; `made` is the date. Raises UserError where something is."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        if any(folder.iterdir()):
            hint = "give a new folder; `--replay` answers from one that is there"
            raise UserError(f"--record: {folder} is not empty", hint=hint)
        about = {"format": FORMAT, "version": VERSION, "job": job, "agents": list(agents), "made": made}
        (folder / INDEX).write_text(json.dumps(about, indent=2) + "\n")
    except OSError as error:
        raise UserError(f"--record: {folder} can't be written: {error.strerror}") from None


def undo(folder: Path) -> None:
    """Take back what `begin` made, where nothing was recorded."""
    if [path.name for path in folder.iterdir()] == [INDEX]:
        (folder / INDEX).unlink()
        folder.rmdir()


def check(folder: Path, job: str) -> None:
    """Raise UserError, one line, when that is no recording of the job that this version can answer from."""
    if not folder.is_dir():
        raise UserError(f"--replay: there is no folder {folder}", hint="`deploy start FILE --record DIR` makes one")
    try:
        about = json.loads((folder / INDEX).read_text())
        form, version, made_for = about["format"], about["version"], about["job"]
        if form != FORMAT or not isinstance(version, int):
            raise ValueError
    except FileNotFoundError:
        found = "is empty" if not any(folder.iterdir()) else f"is no recording: it has no {INDEX}"
        hint = "`deploy start FILE --record DIR` makes one"
        raise UserError(f"--replay: {folder} {found}", hint=hint) from None
    except OSError as error:
        raise UserError(f"--replay: {folder / INDEX} can't be read: {error.strerror}") from None
    except (ValueError, LookupError, TypeError):
        raise UserError(f"--replay: {folder / INDEX} is not the {INDEX} of a recording") from None
    if version > VERSION:
        message = f"--replay: {folder} has format {version}, and this Teamwright reads up to {VERSION}"
        raise UserError(message, hint="upgrade Teamwright, or record anew")
    if made_for != job:
        hint = f"start that one, or give this one its name: --name {made_for}"
        raise UserError(f"--replay: {folder} is a recording of the job {made_for!r}, not of {job!r}", hint=hint)
    if not any(folder.glob("*/*.json")):
        raise UserError(f"--replay: nothing was asked while {folder} was recorded", hint="record it anew, with a query")
    for place in {path.parent for path in folder.glob("*/*.json")}:
        read(folder, place.name)


def write(folder: Path, agent: str, message: Mapping[str, Any]) -> Path:
    """Write a message as the agent's next. Never half: it is there whole, or not at all. Raises OSError."""
    place = folder / agent
    place.mkdir(parents=True, exist_ok=True)
    partial = place / f".{os.getpid()}-{id(message):x}"
    partial.write_text(json.dumps(message, indent=1, ensure_ascii=False) + "\n")
    try:
        number = len(list(place.glob("*.json")))
        while True:  # another process of the same agent may take a number first
            number += 1
            target = place / f"{number:04}.json"
            try:
                os.link(partial, target)
                return target
            except FileExistsError:
                continue
    finally:
        partial.unlink()


def read(folder: Path, agent: str) -> list[tuple[str, Message]]:
    """The messages of an agent in their order, each with its name. Raises UserError for a file that isn't one."""
    found = []
    for path in sorted((folder / agent).glob("*.json")):
        try:
            found.append((f"{agent}/{path.name}", Message.from_dict(json.loads(path.read_text()))))
        except (OSError, ValueError, LookupError, TypeError, AttributeError) as error:
            raise UserError(f"{path} is not a recorded message: {error}", hint="record it anew") from None
    return found

"""What the CLI has written down of a conversation, below its configuration folder; every name begins with its id."""

from __future__ import annotations

import shutil
import uuid
from pathlib import Path

_SESSIONS = uuid.UUID("6f1c7c0e-2a55-5d0b-9f4e-0d7c5e1b7a21")


def session_id(conversation: str) -> str:
    """The CLI's id of a conversation: the same after every restart."""
    return str(uuid.uuid5(_SESSIONS, conversation))


def transcripts(folder: Path, session: str) -> list[Path]:
    """What it reads when it goes on with that session."""
    return list(folder.glob(f"projects/*/{session}.jsonl"))


def forget(folder: Path, session: str) -> None:
    """Remove what is written of the session `session` (its transcript, files' versions, lists). Raises OSError."""
    for path in [*folder.glob(f"*/{session}*"), *folder.glob(f"projects/*/{session}*")]:
        if path.is_dir():
            shutil.rmtree(path)
        else:
            path.unlink(missing_ok=True)

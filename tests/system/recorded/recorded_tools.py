"""Tools whose results are never the same twice, and one that a test can change."""

import os
import uuid
from datetime import UTC, datetime
from pathlib import Path

from teamwright import File


def stamp(word: str) -> str:
    """Stamps a word."""
    place = Path(os.environ["TMPDIR"], uuid.uuid4().hex, "x")
    port = os.getpid() % 9000 + 1000
    return f"{word} {uuid.uuid4()} {datetime.now(UTC).isoformat()} {place} http://127.0.0.1:{port}/"


def count() -> File:
    """What stands in count.txt beside the job file, as a file."""
    return File("count.txt", "text/plain", Path("count.txt").read_bytes())

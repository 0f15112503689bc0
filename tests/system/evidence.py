"""That the traces of docs/what-a-trace-shows.md are what their commands print: a group of blocks, run by the script."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]


def agrees(group: str, environment: dict[str, str]) -> None:
    """Run the page's blocks of `group`; they must print what stands there."""
    done = subprocess.run(
        [sys.executable, "scripts/evidence.py", "--check", "--only", group],
        cwd=ROOT, env=environment, capture_output=True, text=True, timeout=280,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    ran = done.stdout.splitlines()[0].removeprefix("ran: ").split()
    page = (ROOT / "docs" / "what-a-trace-shows.md").read_text()
    assert ran == re.findall(rf"evidence\.py writes ({group}/[\w-]+)", page)

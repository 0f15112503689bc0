"""What every test may use: a clean environment, a fresh home, and nothing of the caller's shell."""

from __future__ import annotations

import os
import signal
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent

# Started in the background of a script, or by nohup, we ignore these, and so would every process a test sends one to.
for number, handler in ((signal.SIGINT, signal.default_int_handler), (signal.SIGHUP, signal.SIG_DFL)):
    if signal.getsignal(number) is signal.SIG_IGN:
        signal.signal(number, handler)


@pytest.fixture
def root() -> Path:
    """The project's own folder."""
    return ROOT


def clean_environment(folder: Path) -> dict[str, str]:
    """All that a process started by a test may see: built here, never inherited.

    HOME and TMPDIR lie under the test's own folder, so whatever a test leaves running can be told by its environment.
    """
    person, scratch = folder / "person", folder / "tmp"
    person.mkdir()
    scratch.mkdir()
    return {
        "PATH": os.pathsep.join((str(Path(sys.executable).parent), "/usr/local/bin", "/usr/bin", "/bin")),
        "HOME": str(person),
        "TMPDIR": str(scratch),
        "LANG": "C.UTF-8",
        "TZ": "UTC",
    }


@pytest.fixture
def environment(tmp_path: Path) -> dict[str, str]:
    """The environment of what one test starts."""
    return clean_environment(tmp_path)


@pytest.fixture(scope="module")
def shared_environment(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """The environment of what all tests of a module use together; HOME's parent is their folder."""
    return clean_environment(tmp_path_factory.mktemp("shared"))


@pytest.fixture
def home_path(tmp_path: Path) -> Path:
    """Where a test's home goes; not made yet."""
    return tmp_path / "logs"

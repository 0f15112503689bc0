"""httpx without its command line: lighter, and whole for everybody else."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

_PROBE = """
import json, sys
{first}
import httpx
spared = "rich" not in sys.modules and "httpx._main" not in sys.modules
import httpx._main
print(json.dumps([spared, callable(httpx._main.main), httpx.Client.__module__]))
"""


@pytest.mark.parametrize(
    ("first", "spared"),
    [
        ("from teamwright.lean import import_httpx; import_httpx()", True),
        ("", False),
        ("import httpx; from teamwright.lean import import_httpx; import_httpx()", False),
    ],
)
def test_httpx_without_its_command_line(first: str, spared: bool) -> None:
    done = subprocess.run(
        [sys.executable, "-I", "-c", _PROBE.format(first=first)], capture_output=True, text=True, check=True, timeout=60
    )
    assert json.loads(done.stdout) == [spared, True, "httpx"]

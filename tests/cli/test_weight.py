"""Commands that are typed all day import little."""

from __future__ import annotations

import json
import resource
import subprocess
import sys
from pathlib import Path

import pytest

_PROBE = """
import json, sys
from teamwright.cli.boundary import run
code = run(sys.argv[1:])
sys.stdout.flush()
print(json.dumps([code, sorted({name.partition(".")[0] for name in sys.modules} | set(sys.modules))]), file=sys.stderr)
"""
_HEAVY = {"pydantic", "a2a", "opentelemetry.sdk", "google", "uvicorn", "starlette", "psutil", "asyncio", "httpx"}
_HEAVY |= {
    "claude_agent_sdk",
    "google.genai",
    "crewai",
    "mcp",
    "prompt_toolkit",
    "teamwright.backends.openai",
    "teamwright.backends.gemini",
}


@pytest.mark.parametrize(
    ("arguments", "barred"),
    [
        (["--help"], _HEAVY | {"rich", "yaml", "sqlite3"}),
        (["ps", "--json"], _HEAVY | {"rich"}),
        (["ps"], _HEAVY),
        (["start", "--help"], _HEAVY | {"rich"}),
        (["chat", "--help"], _HEAVY | {"rich", "sqlite3"}),
    ],
)
def test_imports(arguments: list[str], barred: set[str], environment: dict[str, str], tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-I", "-c", _PROBE, *arguments],
        env=environment,
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=60,
    )
    code, modules = json.loads(done.stderr.splitlines()[-1])
    assert code == 0
    assert barred & set(modules) == set()


def test_help_is_quick(environment: dict[str, str], tmp_path: Path) -> None:
    program = str(Path(sys.executable).with_name("deploy"))
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    subprocess.run([program, "--help"], env=environment, cwd=tmp_path, capture_output=True, check=True)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    worked = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    assert worked < 1.0  # 0.15 s of CPU time, which others don't make longer as they do the wait for it

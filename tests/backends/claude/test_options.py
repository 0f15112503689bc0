"""The options of the claude backend: every wrong value is named with its key; without the SDK."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from teamwright.backends.claude import options
from teamwright.errors import UserError


@pytest.mark.parametrize(
    ("given", "path", "words"),
    [
        ({"builtin_tool": []}, ("builtin_tool",), "unknown key"),
        ({"builtin_tools": "Read"}, ("builtin_tools",), "must be a list"),
        ({"builtin_tools": ["Read", "Reed"]}, ("builtin_tools", 1), "the CLI has no tool 'Reed'"),
        ({"builtin_tools": ["Bash(rm"]}, ("builtin_tools", 0), "must be a tool like"),
        ({"deny": [7]}, ("deny", 0), "must be a tool like"),
        ({"setting_sources": ["home"]}, ("setting_sources", 0), "must be one of user, project, local"),
        ({"cwd": "nowhere"}, ("cwd",), "no folder"),
        ({"clients": 0}, ("clients",), "at least 1"),
        ({"idle": True}, ("idle",), "must be seconds"),
        ({"retries": 1.5}, ("retries",), "must be a whole number"),
    ],
)
def test_wrong_options(given: dict[str, Any], path: tuple[str, ...], words: str, tmp_path: Path) -> None:
    (fault,) = options.faults(given, {}, str(tmp_path))
    assert fault.path == ("backend_options", *path) and words in fault.message and not fault.warning
    with pytest.raises(UserError, match="backend_options"):
        options.read(given, {}, str(tmp_path))


@pytest.mark.parametrize("given", [{"thinking": 10}, {"effort": "huge"}, {"max_tokens": "8000"}, {"max_token": 8000}])
def test_wrong_model_options(given: dict[str, Any], tmp_path: Path) -> None:
    (fault,) = options.faults({}, given, str(tmp_path))
    assert fault.path == ("model_options", *given)


def test_what_the_cli_cannot_do_is_a_warning(tmp_path: Path) -> None:
    (fault,) = options.faults({}, {"temperature": 0.2}, str(tmp_path))
    assert fault.warning
    assert options.read({}, {"temperature": 0.2}, str(tmp_path)) == options.Options()


def test_right_ones(tmp_path: Path) -> None:
    given = {"builtin_tools": ["Read", "Bash(git log *)"], "setting_sources": ["project"], "cwd": ".", "idle": 2.5}
    read = options.read(given, {"thinking": False, "max_tokens": 100}, str(tmp_path))
    assert read == options.Options(
        ("Read", "Bash(git log *)"), (), ("project",), str(tmp_path), idle=2.5, max_tokens=100, thinking=False
    )
    assert options.note(given) is None
    assert "the CLI's own tools" in (options.note({}) or "")

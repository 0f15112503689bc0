"""The real ruff, bandit and radon on planted faults."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from examples.tools import code_review
from examples.tools.code_review import find_security_issues, lint, measure_complexity

PLANTED = """\
import os
import pickle
import subprocess


def load(data, seen=[]):
    password = "hunter2-hunter2"
    subprocess.call("cat " + data, shell=True)
    return pickle.loads(data), undefined_name


def tangled(a, b, c):
    if a and b:
        for x in c:
            if x > 1 and x < 5 or x == 9:
                while a:
                    a -= 1
                    if a == 3:
                        return 1
                    elif a == 4:
                        return 2
                    elif a == 5 and b:
                        return 3
                    elif a == 6 or c:
                        return 4
    return None
"""

ToolFunction = Callable[[str], dict[str, Any]]
ALL: list[ToolFunction] = [lint, find_security_issues, measure_complexity]


def rules(report: dict[str, Any]) -> dict[str, int]:
    """The line of each rule's first finding."""
    found: dict[str, int] = {}
    for finding in report["findings"]:
        found.setdefault(finding["rule"], finding["line"])
    return found


@pytest.fixture
def planted(working_folder: Path) -> Path:
    path = working_folder / "src" / "planted.py"
    path.parent.mkdir()
    path.write_text(PLANTED)
    return path


def test_ruff_names_the_planted_faults(planted: Path) -> None:
    report = lint("src/planted.py")
    found = rules(report)
    assert found["F401"] == 1
    assert found["B006"] == 6
    assert found["F841"] == 7
    assert found["F821"] == 9
    assert {finding["file"] for finding in report["findings"]} == {"src/planted.py"}
    assert [f["severity"] for f in report["findings"] if f["rule"] == "F821"] == ["high"]
    assert "undefined_name" in next(f["message"] for f in report["findings"] if f["rule"] == "F821")
    lines = [(finding["file"], finding["line"], finding["rule"]) for finding in report["findings"]]
    assert lines == sorted(lines)
    assert report["summary"].startswith(f"ruff: {len(lines)} findings in src/planted.py (1 file): 1 high,")


def test_bandit_names_the_planted_faults(planted: Path) -> None:
    report = find_security_issues("src/planted.py")
    found = rules(report)
    assert (found["B403"], found["B404"], found["B105"], found["B602"], found["B301"]) == (2, 3, 7, 8, 9)
    assert next(f["severity"] for f in report["findings"] if f["rule"] == "B602") == "high"
    assert "CWE-502" in next(f["message"] for f in report["findings"] if f["rule"] == "B301")


def test_radon_names_the_tangled_function(planted: Path) -> None:
    report = measure_complexity("src/planted.py")
    assert rules(report) == {"complexity-C": 12}
    assert report["most_complex"][0]["name"] == "tangled"
    assert report["most_complex"][0]["complexity"] > 10
    assert [item["file"] for item in report["maintainability"]] == ["src/planted.py"]
    assert "2 functions" in report["summary"]


@pytest.mark.parametrize("tool", ALL)
def test_a_question_that_names_a_path_or_holds_the_code(planted: Path, tool: ToolFunction) -> None:
    expected = rules(tool("src/planted.py"))
    assert rules(tool("Please review `src/planted.py`, it looks odd.")) == expected
    assert rules(tool("Review the files in src/.")) == expected
    for question in (PLANTED, f"Is this good?\n```python\n{PLANTED}```\nThanks!", f"Review this:\n\n{PLANTED}"):
        report = tool(question)
        assert rules(report) == expected
        assert {finding["file"] for finding in report["findings"]} == {"pasted.py"}
        assert report["target"] == "the code in the question"


def test_code_on_one_line() -> None:
    assert rules(find_security_issues("Is this safe: eval(input())")) == {"B307": 1}
    assert rules(find_security_issues("```\neval(input())\n```")) == {"B307": 1}
    assert rules(find_security_issues("Look: ```eval(input())```")) == {"B307": 1}


def test_broken_code_is_a_finding(working_folder: Path) -> None:
    (working_folder / "broken.py").write_text("def f(:\n    pass\n")
    for tool, rule in (
        (lint, "invalid-syntax"),
        (find_security_issues, "unreadable"),
        (measure_complexity, "unreadable"),
    ):
        report = tool("broken.py")
        assert rules(report)[rule] == 1
        assert report["findings"][0]["severity"] == "high"


@pytest.mark.parametrize("tool", ALL)
def test_clean_code_has_no_findings(working_folder: Path, tool: ToolFunction) -> None:
    (working_folder / "clean.py").write_text('"""Nothing wrong."""\n\n\ndef double(x: int) -> int:\n    return 2 * x\n')
    report = tool("clean.py")
    assert report["findings"] == []
    assert report["summary"].startswith(f"{report['tool']}: no findings in clean.py (1 file).")


def test_a_folder_without_what_is_not_the_users_code(planted: Path) -> None:
    for name in (".hidden", "__pycache__", "node_modules", "venv"):
        folder = planted.parent / name
        folder.mkdir()
        (folder / "bad.py").write_text("import os\n")
    (planted.parent / "venv" / "pyvenv.cfg").touch()
    (planted.parent / "empty.py").touch()
    for tool in ALL:
        report = tool("src")
        assert report["files"] == 2
        assert {finding["file"] for finding in report["findings"]} == {"src/planted.py"}


def test_the_callers_settings_change_nothing(
    planted: Path, working_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    expected = [tool("src/planted.py")["findings"] for tool in ALL]
    (working_folder / "pyproject.toml").write_text('[tool.ruff.lint]\nselect = ["D"]\n[tool.radon]\ncc_min = "F"\n')
    (working_folder / "radon.cfg").write_text("[radon]\ncc_min = F\n")
    (working_folder / ".bandit").write_text("[bandit]\nskips: B602,B301\n")
    (working_folder / "ruff.py").write_text("raise SystemExit(7)\n")
    monkeypatch.setenv("RADONCFG", str(working_folder / "radon.cfg"))
    monkeypatch.setenv("HOME", str(working_folder))
    monkeypatch.chdir(working_folder)
    assert [tool("src/planted.py")["findings"] for tool in ALL] == expected


def test_a_project_below_a_folder_that_bandit_would_pass_over(working_folder: Path) -> None:
    folder = working_folder / "work.git" / ".tox"
    folder.mkdir(parents=True)
    (folder / "app.py").write_text("eval(input())\n")
    assert rules(find_security_issues("work.git/.tox/app.py")) == {"B307": 1}


def test_many_findings_are_cut_the_most_severe_stay(working_folder: Path) -> None:
    lines = [f"import os as name{number}" for number in range(150)]
    (working_folder / "many.py").write_text("\n".join([*lines, "print(undefined)"]) + "\n")
    report = lint("many.py")
    assert len(report["findings"]) == code_review.MAX_FINDINGS
    assert report["omitted"] > 0
    assert "F821" in rules(report)


@pytest.mark.parametrize("tool", ALL)
@pytest.mark.parametrize(
    ("target", "message"),
    [
        ("", "nothing to review"),
        ("src/nothing.py", "no such file or folder"),
        ("hello there", "no such file or folder"),
        ("x" * 5000, "no such file or folder"),
        ("notes.txt", "not a Python file"),
        ("empty", "no Python files"),
        ("big.py", "the limit is"),
        ("a\0b", "no such file or folder"),
    ],
)
def test_a_wrong_target_says_what_is_wrong(working_folder: Path, tool: ToolFunction, target: str, message: str) -> None:
    (working_folder / "notes.txt").write_text("secret")
    (working_folder / "empty").mkdir()
    (working_folder / "big.py").write_text("#" * 1_000_001)
    with pytest.raises(ValueError, match=message):
        tool(target)


def test_a_tool_that_is_missing_says_how_to_add_it(planted: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(RuntimeError, match=r"bandit is not installed .*; add it with `uv pip install .* bandit`"):
        find_security_issues("src/planted.py")


def test_a_tool_that_takes_too_long(planted: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(code_review, "DEADLINE", 0.001)
    with pytest.raises(RuntimeError, match="radon did not finish within"):
        measure_complexity("src/planted.py")

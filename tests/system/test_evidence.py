"""docs/what-a-trace-shows.md: its traces are real (those of vendors in test_claude, test_gemini, test_crewai)."""

from __future__ import annotations

import importlib.util
import re
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from teamwright.tracing import glossary
from tests.system.conftest import check_nothing_left
from tests.system.evidence import ROOT, agrees


@pytest.mark.parametrize("group", ["faults", "openai", "mcp"])
def test_the_page_shows_what_its_commands_print(group: str, environment: dict[str, str], mark: str) -> None:
    if group == "mcp":
        pytest.importorskip("mcp")
    agrees(group, environment)
    check_nothing_left(mark, set())


def test_the_names_on_the_page_are_those_of_the_vocabulary() -> None:
    page = (ROOT / "docs" / "what-a-trace-shows.md").read_text()
    names = set(re.findall(r"`((?:teamwright|gen_ai|a2a|mcp|network|session|user)\.[\w.]+)`", page))
    events = set(re.findall(r"events? `([^`]+)`", page))
    assert len(names) > 15 and len(events) > 8
    assert (names - set(glossary.ATTRIBUTES), events - set(glossary.EVENTS)) == (set(), set())


def test_a_trace_that_changes_is_noticed(tmp_path: Path) -> None:
    """What the script leaves out is what differs from run to run, and nothing else."""
    spec = importlib.util.spec_from_file_location("evidence_script", ROOT / "scripts" / "evidence.py")
    assert spec is not None and spec.loader is not None
    script = importlib.util.module_from_spec(spec)
    sys.modules.pop("evidence_script", None)
    spec.loader.exec_module(script)

    def shown(took: str, tool: str) -> list[str]:
        lines: Iterator[str] = script.kept(
            f"trace {'0' * 32}  ok  job j · {took} · 2 spans · $0.01\n"
            f"time: models {took}\n\n"
            f"SPAN                      AGENT   TIME\n"
            f"invoke_workflow j *       lead {took} ███\n"
            f"└─ execute_tool {tool} *    lead {took}   █▍\n"
            f"      {{}} -> 3\n\nlead ────\n"
        )
        return list(lines)

    first = shown("12 ms", "add")
    assert first == shown("1.20 s", "add") != shown("12 ms", "sub")
    assert first[0] == "trace …  ok  job j · 2 spans"
    assert [line.split() for line in first[1:]] == [
        ["invoke_workflow", "j", "lead"], ["└─", "execute_tool", "add", "lead"], ["{}", "->", "3"],
    ]  # fmt: skip

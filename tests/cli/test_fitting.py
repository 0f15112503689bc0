"""Tables on wide and narrow terminals, and in a pipe."""

from __future__ import annotations

import io

import pytest
from rich.console import Console

from teamwright.cli.output import table

ROW = ("barkeeper", "healthy", "http://127.0.0.1:8600", "0", "it has said many words in many languages, 漢字 too")
HEAD = ("AGENT", "STATUS", "ADDRESS", "LEVEL", "WORDS")


@pytest.mark.parametrize(
    ("width", "terminal", "head"),
    [
        (200, True, "AGENT STATUS ADDRESS LEVEL WORDS"),
        (80, True, "AGENT STATUS ADDRESS LEVEL WORDS"),
        (66, True, "AGENT STATUS ADDRESS WORDS"),
        (42, True, "AGENT STATUS WORDS"),
        (200, False, "AGENT STATUS ADDRESS LEVEL WORDS"),
    ],
)
def test_what_is_left_out(width: int, terminal: bool, head: str) -> None:
    out = io.StringIO()
    console = Console(file=out, width=width, force_terminal=terminal, color_system=None, highlight=False)
    console.print(table(HEAD, [ROW], spare=("LEVEL", "ADDRESS"), broken="WORDS"))
    printed = out.getvalue().splitlines()
    assert " ".join(printed[0].split()) == head and (len(printed) == 2) is (width == 200), out.getvalue()
    assert "barkeeper  healthy" in printed[1] and max(map(len, printed)) <= width
    assert ("http://127.0.0.1:8600" in printed[1]) is ("ADDRESS" in head)

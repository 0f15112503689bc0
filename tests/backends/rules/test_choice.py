"""Which tools and peers a question is for, and in which order."""

from __future__ import annotations

import pytest

from teamwright.backends.api import Peer
from teamwright.backends.rules.choice import choose
from teamwright.backends.rules.words import asked, keywords, paths

PEERS = [
    Peer("a", "Alpha", "Finds sources"), Peer("b", "Beta", "Summarizes sources"), Peer("c", "Gamma", "Checks sources"),
]  # fmt: skip


def order(prompt: str) -> dict[str, set[str]]:
    return {item.name: set(item.after) for item in choose("sources", [], PEERS, prompt=prompt)}


@pytest.mark.parametrize(
    ("prompt", "after"),
    [
        ("Ask everybody.", {"a": set(), "b": set(), "c": set()}),
        ("First ask Alpha, then Beta and Gamma.", {"a": set(), "b": {"a"}, "c": {"a"}}),
        ("Ask Alpha and Beta, then Gamma.", {"a": set(), "b": set(), "c": {"a", "b"}}),
        ("Gamma comes after Alpha. Beta comes after Gamma.", {"a": set(), "b": {"c"}, "c": {"a"}}),
        ("Alpha comes after Beta. Beta comes after Alpha.", {"a": {"b"}, "b": set(), "c": set()}),
    ],
)
def test_order(prompt: str, after: dict[str, set[str]]) -> None:
    assert order(prompt) == after


def test_what_somebody_needs_is_asked_as_well() -> None:
    peers = [Peer("a", "Alpha", "Finds"), Peer("b", "Beta", "Writes reports, after Alpha")]
    assert [item.name for item in choose("a report", [], peers)] == ["a", "b"]


def test_code_paths_and_quotes_say_nothing_about_who_is_meant() -> None:
    text = 'Review `maps.py` and src/maps/draw.py, "maps", and\n```python\nmaps = 1\n```\n\nEarlier results:\nx: maps'
    assert keywords(asked(text)) == keywords("review")
    assert paths(text) == ["maps.py", "src/maps/draw.py"]


@pytest.mark.parametrize(
    "group",
    [
        ("review", "reviews", "reviewing", "reviewer", "reviewed"),
        ("summary", "summaries"),
        ("stop", "stopped", "stopping"),
        ("analyse", "analysed", "analysing"),
        ("city", "cities"),
    ],
)
def test_stems(group: tuple[str, ...]) -> None:
    assert len(keywords(*group)) == 1, keywords(*group)

"""What is taken from a question, parameter by parameter."""

from __future__ import annotations

from typing import Annotated, Any, Literal

import pytest
from pydantic import Field

from teamwright.agents.tools import as_tool
from teamwright.backends.rules.arguments import fill


def places(origin: str, destination: str, mode: Literal["road", "air"] = "road", stops: int | None = None) -> None:
    """The route between two cities."""


def history(symbol: str, days: int = 30, adjusted: bool = False) -> None:
    """Prices of a share."""


def review(target: Annotated[str, Field(description="The path of a file, or Python code itself.")]) -> None:
    """Review code."""


def ask(question: str, limit: int = 5) -> None:
    """Search the library."""


def count(text: str) -> None:
    """Count words."""


def convert(value: float, units: Literal["c", "f"]) -> None:
    """Convert a temperature."""


def add(numbers: list[float]) -> None:
    """Add numbers."""


def mix(names: list[str]) -> None:
    """Mix colours."""


def load(config: dict[str, Any]) -> None:
    """Load a configuration."""


def cite(source: Annotated[str, Field(description="The id of a source, as in its citation.")], query: str = "") -> None:
    """Cite a source."""


@pytest.mark.parametrize(
    ("function", "text", "found"),
    [
        (
            places,
            "route from Berlin to New York by air",
            {"origin": "Berlin", "destination": "New York", "mode": "air"},
        ),
        (places, "route from berlin to lisbon with 3 stops", {"origin": "berlin", "destination": "lisbon", "stops": 3}),
        (history, "KITE over 90 days", {"symbol": "KITE", "days": 90}),
        (history, "adjusted prices, symbol=VOLT, days: 5", {"symbol": "VOLT", "days": 5, "adjusted": True}),
        (history, "prices of KITE, not adjusted", {"symbol": "KITE", "adjusted": False}),
        (review, "Look at src/app.py, please", {"target": "src/app.py"}),
        (review, "Is this fine?\n```python\nx = 1\n```", {"target": "x = 1\n"}),
        (review, "Is eval(x) fine?", {"target": "Is eval(x) fine?"}),
        (ask, "What is AI?", {"question": "What is AI?"}),
        (ask, 'Look for "robots", limit 3', {"question": "robots", "limit": 3}),
        (count, "Count: one two three", {"text": "one two three"}),
        (count, "Count this text:\n```\nfour words\n```", {"text": "four words"}),
        (count, "Count\n\nEarlier results:\na: b c", {"text": "a: b c"}),
        (convert, "convert 21.5 with units f", {"value": 21.5, "units": "f"}),
        (convert, "convert 1,000 degrees", {"value": 1000.0, "units": "c"}),
        (add, "add 1, 2.5 and -3", {"numbers": [1.0, 2.5, -3.0]}),
        (mix, "mix Red, Green and Blue", {"names": ["Red", "Green", "Blue"]}),
        (load, 'load {"a": 1}', {"config": {"a": 1}}),
        (cite, "Cite [imf-2024] and [pew-2023]", {"source": "imf-2024, pew-2023"}),
    ],
)
def test_found(function: Any, text: str, found: dict[str, Any]) -> None:
    assert fill(as_tool(function), text) == [found]


@pytest.mark.parametrize(
    ("function", "text"),
    [(places, "a route"), (convert, "convert it"), (add, "add them"), (load, "load it"), (mix, "mix")],
)
def test_what_is_not_there_is_not_made_up(function: Any, text: str) -> None:
    assert fill(as_tool(function), text) == []


def test_values_of_earlier_results_go_first() -> None:
    assert fill(as_tool(count), "Count it", {"text": "from before"}) == [{"text": "from before"}]
    assert fill(as_tool(history), "KITE", {"days": "many"}) == [{"symbol": "KITE"}]

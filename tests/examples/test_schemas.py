"""Every function that a job file may name as a tool can be one: described, each parameter described."""

from __future__ import annotations

import importlib
import inspect

import pytest

from teamwright.agents.tools import load_tools

TOOLS = {
    "code_review": ["lint", "find_security_issues", "measure_complexity"],
    "research": ["search_library", "read_source", "summarize_source", "check_claim", "check_claims", "cite"],
    "market": ["stock_price", "price_history", "price_indicators", "financial_ratios", "compare"],
    "weather": ["current_weather", "forecast"],
    "maps": ["find_city", "distance", "route"],
    "files": ["ingest", "transform", "validate", "write"],
    "arithmetic": ["calculate"],
    "text": ["word_count", "top_words", "readability"],
}


@pytest.mark.parametrize("path", [f"examples.tools.{module}:{name}" for module in TOOLS for name in TOOLS[module]])
def test_a_tool_is_described(path: str) -> None:
    (tool,) = load_tools([path])
    assert tool.name == path.partition(":")[2]
    assert len(tool.description.splitlines()[0]) > 30
    assert tool.parameters["required"]
    for name, parameter in tool.parameters["properties"].items():
        assert parameter.get("description"), name


@pytest.mark.parametrize("module", TOOLS)
def test_every_function_that_is_written_for_a_model_is_listed(module: str) -> None:
    found = importlib.import_module(f"examples.tools.{module}")
    public = [
        name
        for name, value in vars(found).items()
        if inspect.isfunction(value)
        and value.__module__ == found.__name__
        and not name.startswith("_")
        and value.__annotations__.get("return") in ("dict[str, Any]", "Batch")
    ]
    assert sorted(public) == sorted(TOOLS[module])

"""Every example: start, a query, the trace with its shape, stop. No model, no key, no network."""

from __future__ import annotations

import importlib
import json
import re
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from teamwright.agents.loading import add_search_path
from tests.system.test_hello import whole

if TYPE_CHECKING:
    from tests.system.conftest import Deploy

MARK = "[offline, no model]"
#: Each needs what the one before found.
STEPS = ("find_fall", "find_region", "find_customer", "find_product", "compare_prices_and_pieces", "explain_fall")


@dataclass(frozen=True)
class Example:
    """A question, what its answer must hold, and who works on it, each with its tools, in the order they begin."""

    question: str
    holds: tuple[str, ...]
    shape: tuple[tuple[str, tuple[str, ...]], ...]


EXAMPLES = {
    "code-review": Example(
        "Review examples/data/faulty.py",
        ("F401", "B006", "F821", "B301", "B602", "price has a cyclomatic complexity of 20"),
        (
            ("lead", ("query_agent", "query_agent", "query_agent")),
            ("linter", ("lint",)),
            ("security", ("find_security_issues",)),
            ("complexity", ("measure_complexity",)),
        ),
    ),
    "stock-workflow": Example(
        "What is the price of KITE, the weather in Lisbon, and the route from Berlin to Lisbon?",
        ("Kitehill Software (KITE) closed at", "Lisbon: ", "Berlin - ", "bundled sample data"),
        (
            ("controller", ("query_agent", "query_agent", "query_agent")),
            ("stock", ("stock_price", "price_history")),
            ("weather", ("current_weather",)),
            ("maps", ("route",)),
        ),
    ),
    "financial-analysis": Example(
        "Analyse KITE and VOLT: trend, risk, valuation, and compare them.",
        ("trend ", "P/E 31.18", "P/E none (loss)", "Best: "),
        (
            ("analyst", ("query_agent", "query_agent", "query_agent")),
            ("technical", ("price_indicators", "price_indicators")),
            ("fundamentals", ("financial_ratios", "financial_ratios")),
            ("comparison", ("compare",)),
        ),
    ),
    "research-assistant": Example(
        "Research the impact of AI on employment, verify claims, produce a cited report",
        ("## Findings", "## Claims checked", "## References", "12 claims checked"),
        (
            ("coordinator", ("plan", "synthesis")),
            ("searcher", ("search_library",)),
            ("summarizer", ("summarize_source",)),
            ("fact_checker", ("check_claims",)),
        ),
    ),
    "reasoning": Example(
        "Why did sales fall? Explain it down to the product.",
        ("Sales fell most in 2025-03: 15523.78 EUR", "Kowalski Sp. (North) and Desk, -5625.90 EUR, 54 %"),
        (("reasoner", STEPS),),
    ),
    "file-pipeline": Example(
        "Process orders.csv",
        ("176 clean rows, 20 rejected", "out/orders.clean.csv"),
        (
            ("ingest", ("ingest",)),
            ("transform", ("transform",)),
            ("validate", ("validate",)),
            ("write", ("write",)),
        ),
    ),
}


@pytest.fixture
def folder(root: Path, tmp_path: Path) -> Path:
    """Where the caller is: a folder of its own with what the questions name."""
    place = tmp_path / "caller"
    (place / "examples" / "data").mkdir(parents=True)
    shutil.copy(root / "examples" / "data" / "faulty.py", place / "examples" / "data")
    return place


@pytest.mark.parametrize("name", EXAMPLES)
def test_example(name: str, deploy: Deploy, root: Path, folder: Path) -> None:
    example = EXAMPLES[name]
    file = root / "examples" / "jobs" / f"{name}.yaml"
    started = deploy("start", file, "--json", folder=folder).ok().json
    agents = {agent["id"]: agent["pid"] for agent in started["agents"]}
    assert (started["job"], started["status"]) == (name, "running")
    assert len(set(agents.values())) == len(agents)

    asked = deploy("query", name, example.question, "--json", folder=folder).ok().json
    assert asked["status"] == "ok"
    assert asked["answer"].startswith(MARK)
    assert asked["answer"].count(MARK) == 1
    for words in example.holds:
        assert words in asked["answer"], words
    assert asked["usage"]["cost_usd"] == 0

    trace = deploy("trace", "show", asked["trace_id"], "--json").ok().json
    spans = whole(trace)
    assert spans[0]["name"] == f"invoke_workflow {name}"
    assert {span["status"] for span in spans} == {"ok"}, [span["message"] for span in spans if span["status"] != "ok"]
    assert shape_of(spans) == example.shape
    assert {span["agent"] for span in spans if span["kind"] == "SERVER"} == set(agents)
    deploy("stop", name).ok()
    deploy("stop", "--all").ok()


def shape_of(spans: list[dict[str, Any]]) -> tuple[tuple[str, tuple[str, ...]], ...]:
    """The agents in the order in which their callers began to ask them, each with the tools it called."""
    by_id = {span["span_id"]: span for span in spans}
    servers = [span for span in spans if span["kind"] == "SERVER"]
    asked = {span["agent"]: by_id[span["parent_id"]]["start_ns"] for span in servers}
    tools: dict[str, list[str]] = {agent: [] for agent in sorted(asked, key=lambda agent: asked[agent])}
    for span in sorted(spans, key=lambda span: span["start_ns"]):
        if span["name"].startswith("execute_tool "):
            tools[span["agent"]].append(span["name"].removeprefix("execute_tool "))
    return tuple((agent, tuple(called)) for agent, called in tools.items())


def test_what_the_review_says_is_what_the_programs_say(deploy: Deploy, root: Path, folder: Path) -> None:
    """Findings by file, line and rule: those of the tools, called here, and each from a process of its own."""
    add_search_path([str(root)])
    tools = importlib.import_module("examples.tools.code_review")
    target = folder / "examples" / "data" / "faulty.py"
    expected = {
        (item["line"], item["rule"])
        for tool in (tools.lint, tools.find_security_issues, tools.measure_complexity)
        for item in tool(str(target))["findings"]
    }
    assert len(expected) >= 10
    named = by_the_programs(target)
    assert min(len(found) for found in named.values()) >= 1, named
    for program, found in named.items():
        assert found <= expected, program
    deploy("start", root / "examples" / "jobs" / "code-review.yaml", folder=folder).ok()
    code = target.read_text()
    for question in (f"Review {target}", f"Review this code:\n```python\n{code}```"):
        asked = deploy("query", "code-review", "-", "--json", input=question, folder=folder).ok().json
        said = re.findall(r"[\w./]+\.py:(\d+) ([\w-]+) (?:high|medium|low) ", asked["answer"])
        assert {(int(line), rule) for line, rule in said} == expected
        spans = deploy("trace", "show", asked["trace_id"], "--json").ok().json["spans"]
        workers = {span["agent"] for span in spans if span["name"].startswith("execute_tool ")}
        assert workers == {"lead", "linter", "security", "complexity"}
    deploy("stop", "--all").ok()


def by_the_programs(target: Path) -> dict[str, set[tuple[int, str]]]:
    """What ruff, bandit and radon say of a file when nobody is in between: lines with rules."""

    def run(*words: str | Path) -> Any:
        command = [sys.executable, "-m", *map(str, words)]
        return json.loads(subprocess.run(command, capture_output=True, text=True, timeout=60).stdout)

    ruff = run("ruff", "check", "--isolated", "--select", "F,B", "--output-format", "json", target)
    bandit = run("bandit", "-q", "-f", "json", target)["results"]
    (blocks,) = run("radon", "cc", "-j", target).values()
    return {
        "ruff": {(item["location"]["row"], item["code"]) for item in ruff},
        "bandit": {(item["line_number"], item["test_id"]) for item in bandit},
        "radon": {(block["lineno"], f"complexity-{block['rank']}") for block in blocks if block["rank"] > "B"},
    }


def test_every_citation_of_the_report_leads_to_a_source(deploy: Deploy, root: Path) -> None:
    question = EXAMPLES["research-assistant"].question
    asked = deploy("query", "example:research-assistant", question, "--json").ok().json
    head, _, references = asked["answer"].partition("## References")
    findings = re.findall(r"^- (.+) \[([a-z0-9-]+)\]$", head.partition("## Claims")[0], re.MULTILINE)
    assert len(findings) >= 10
    for sentence, source in findings:
        text = (root / "examples" / "tools" / "library" / f"{source}.md").read_text()
        assert sentence in " ".join(text.split()), (source, sentence)
    cited = set(re.findall(r"\[([a-z0-9]+(?:-[a-z0-9]+)+)\]", head))
    assert len(cited) >= 5
    library = {path.stem for path in (root / "examples" / "tools" / "library").glob("*.md")}
    assert cited <= library
    assert cited == set(re.findall(r"^- \[([a-z0-9-]+)\] .+ \(\d{4}\)\. ", references, re.MULTILINE))
    deploy("stop", "--all").ok()


def test_files_of_the_pipeline_are_written_where_the_caller_is(deploy: Deploy, root: Path, folder: Path) -> None:
    (folder / "mine.csv").write_text((root / "examples" / "data" / "orders.csv").read_text())
    deploy("query", "example:file-pipeline", "Process mine.csv", folder=folder).ok()
    assert sorted(path.name for path in (folder / "out").glob("*.clean.csv")) == ["mine.clean.csv"]
    assert len((folder / "out" / "mine.clean.csv").read_text().splitlines()) == 177
    deploy("stop", "--all").ok()


def test_calls_of_one_tool_at_the_same_time_keep_their_own_results(deploy: Deploy) -> None:
    """The model's answer that only calls is those calls; each call's span and result are its own."""
    deploy("start", "example:stock-workflow").ok()
    question = "What is the weather in Lisbon, Paris and Berlin?"
    asked = deploy("query", "stock-workflow/weather", question, "--json").ok().json
    spans = whole(deploy("trace", "show", asked["trace_id"], "--json").ok().json)
    first, last = [span["attributes"] for span in spans if span["name"] == "chat offline"]
    (message,) = json.loads(first["gen_ai.output.messages"])
    assert [part["type"] for part in message["parts"]] == ["tool_call"] * 3
    wanted = {part["id"]: part["arguments"]["city"] for part in message["parts"]}
    assert sorted(wanted.values()) == ["Berlin", "Lisbon", "Paris"]
    tools = [span["attributes"] for span in spans if span["name"] == "execute_tool current_weather"]
    results = {found["gen_ai.tool.call.id"]: found["gen_ai.tool.call.result"] for found in tools}
    assert results.keys() == wanted.keys()
    for call, city in wanted.items():
        assert json.loads(results[call])["city"] == city
    answers = json.loads(last["gen_ai.input.messages"])[-1]
    assert {part["id"]: part["response"] for part in answers["parts"]} == results
    assert all(f"{city}: " in asked["answer"] for city in wanted.values())
    deploy("stop", "--all").ok()


def test_each_step_of_the_reasoning_hands_its_state_on(deploy: Deploy) -> None:
    """One call a round, and what it is given is what the one before gave, longer by a step each time."""
    deploy("start", "example:reasoning").ok()
    asked = deploy("query", "reasoning", EXAMPLES["reasoning"].question, "--json").ok().json
    spans = whole(deploy("trace", "show", asked["trace_id"], "--json").ok().json)
    tools = [span for span in spans if span["name"].startswith("execute_tool ")]
    given = [json.loads(span["attributes"]["gen_ai.tool.call.arguments"]).get("trail") for span in tools]
    trails = [json.loads(span["attributes"]["gen_ai.tool.call.result"])["trail"] for span in tools]
    assert given == [None, *trails[:-1]]
    assert [trail.count("=") for trail in trails] == [3, 4, 5, 6, 7, 7]
    rounds = [span for span in spans if span["name"] == "chat offline"]
    assert len(rounds) == len(tools) + 1
    for chat, tool, after in zip(rounds, tools, rounds[1:], strict=False):
        assert chat["end_ns"] <= tool["start_ns"] <= tool["end_ns"] <= after["start_ns"]
    deploy("stop", "--all").ok()


def test_a_session_goes_on(deploy: Deploy) -> None:
    deploy("start", "example:stock-workflow").ok()
    words = ("--session", "trip", "--json")
    deploy("query", "stock-workflow/weather", "What is the weather in Lisbon?", *words).ok()
    asked = deploy("query", "stock-workflow/weather", "And in Paris?", *words).ok().json
    assert "Paris: " in asked["answer"]
    deploy("stop", "--all").ok()


def test_an_example_that_is_not_there(deploy: Deploy) -> None:
    done = deploy("start", "example:code-reviw")
    assert done.code == 2
    assert "did you mean 'code-review'?" in done.err

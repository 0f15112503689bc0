"""Wrong input through the real command line: one line that says what, where and what to write instead; exit code 2."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from tests.system.conftest import Deploy

ONE = "agents: [{id: a, backend: offline}]\n"
BOMB = "a: &a [x, x, x, x, x, x, x, x, x, x]\n" + "".join(
    f"{name}: &{name} [{', '.join([f'*{before}'] * 10)}]\n" for before, name in zip("abcdefgh", "bcdefghi", strict=True)
)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("agents: [{id: a, bakend: offline}]", ["job.yaml:1", "bakend", "did you mean 'backend'?"]),
        ("agents: [{id: a, backend: offline, max_concurrent: many}]", ["job.yaml:1", "max_concurrent"]),
        ("agents: [{id: a, backend: offline}, {id: a, backend: offline}]", ["job.yaml:1", "'a'"]),
        (ONE + "topology: {type: hub-spoke, hub: a, spokes: [bb]}", ["job.yaml:2", "bb"]),
        (
            "agents:\n  - {id: a, backend: offline, calls: [b]}\n  - {id: b, backend: offline, calls: [a]}",
            ["a", "b", "cycle"],
        ),
        (
            "defaults: {backend: offline}\nagents:\n- {id: a, config: {port: 9021}}\n- {id: b, config: {port: 9021}}",
            ["job.yaml:4", "9021"],
        ),
        ("agents: [{id: a, type: Nobody, module: nowhere.at_all}]", ["nowhere.at_all"]),
        ("agents: [{id: a, type: Nobody, module: helper}]", ["Nobody", "helper"]),
        ("agents: [{id: a, type: Broken, module: broken}]", ["broken.py:1", "syntax error"]),
        ("", ["empty"]),
        ("\0\1\2", ["binary"]),
        ("- a\n- b\n", ["list"]),
        (BOMB + ONE, ["aliases"]),
        ("agents: [{id: a, backend: offline, prompt: '${NOWHERE}'}]", ["NOWHERE"]),
        ("agents: [{id: a, backend: oflline}]", ["oflline", "did you mean 'offline'?"]),
        ("agents: [{id: a, backend: offline, max_concurrent: 0}]", ["max_concurrent"]),
        (ONE + "watch: {}\n", ["watch"]),
    ],
)
def test_job_files(deploy: Deploy, tmp_path: Path, text: str, expected: list[str]) -> None:
    (tmp_path / "job.yaml").write_text(text)
    (tmp_path / "helper.py").write_text("class Somebody: ...\n")
    (tmp_path / "broken.py").write_text("class Broken(:\n")
    done = deploy("start", "job.yaml", folder=tmp_path)
    assert done.code == 2, str(done)
    assert done.out == ""
    assert done.err.startswith("error: ")
    assert "Traceback" not in done.err
    for word in expected:
        assert word in done.err, str(done)
    assert not deploy.home.exists()
    again = deploy("validate", "job.yaml", "--json", folder=tmp_path)
    assert again.code == 2
    assert again.json["error"]["message"] in done.err.replace("error: ", "")


@pytest.mark.parametrize("extra", ["claude", "gemini", "crewai"])
def test_a_missing_extra(deploy: Deploy, tmp_path: Path, extra: str) -> None:
    from importlib.util import find_spec

    module = {"claude": "claude_agent_sdk", "gemini": "google.genai", "crewai": "crewai"}[extra]
    try:
        installed = find_spec(module) is not None
    except ModuleNotFoundError:
        installed = False
    (tmp_path / "job.yaml").write_text(f"agents: [{{id: a, backend: {extra}, env: []}}]")
    keys = {"ANTHROPIC_API_KEY": "x", "GEMINI_API_KEY": "x", "GOOGLE_API_KEY": "x", "OPENAI_API_KEY": "x"}
    done = deploy("validate", "job.yaml", folder=tmp_path, environment=keys)
    if installed:
        assert "extra" not in done.err
    else:
        assert done.code == 2
        assert extra in done.err


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (("start", "nowhere.yaml"), "no file nowhere.yaml"),
        (("ps", "nobody"), "no job named 'nobody'"),
        (("logs", "nobody"), "no job named 'nobody'"),
        (("stop", "nobody"), "no job named 'nobody'"),
        (("restart", "nobody"), "no job named 'nobody'"),
        (("query", "nobody", "hi"), "no job named 'nobody'"),
        (("query", "nobody", ""), "the query is empty"),
        (("query", "nobody", " \n"), "the query is empty"),
        (("query", "nobody", "hi", "--label", "blue"), "--label 'blue' is not KEY=VALUE"),
        (("stop",), "name what to stop, or --all"),
        (("stop", "a", "--all"), "either targets or --all, not both"),
        (("ps", "No Such"), "neither a job nor a job file"),
        (("trace", "show", "xyz"), "'xyz' is not a trace id"),
        (("trace", "show"), "there are no traces yet"),
        (("token", "create", "--ttl", "soon"), "--ttl must be a duration"),
        (("start",), "missing argument 'FILE'"),
        (("start", "a.yaml", "--port", "70000"), "70000"),
    ],
)
def test_arguments(deploy: Deploy, tmp_path: Path, arguments: tuple[str, ...], expected: str) -> None:
    done = deploy(*arguments, folder=tmp_path)
    assert done.code == 2, str(done)
    assert done.out == ""
    assert done.err.startswith("error: ")
    assert expected in done.err.splitlines()[0]
    assert deploy.processes() == []


def test_unknown_job_suggests(deploy: Deploy, tmp_path: Path) -> None:
    (tmp_path / "weather.yaml").write_text(ONE)
    deploy("start", "weather.yaml", folder=tmp_path).ok()
    for arguments in (("ps", "wether"), ("query", "wether", "hi"), ("stop", "wether"), ("logs", "wether")):
        done = deploy(*arguments)
        assert done.code == 2
        assert done.err == "error: no job named 'wether'\nhint: did you mean 'weather'?\n"
    agent = deploy("logs", "weather/b")
    assert (agent.code, agent.err.splitlines()[0]) == (2, "error: job weather has no agent 'b'")
    deploy("stop", "--all").ok()


def test_jobs_that_do_not_run(deploy: Deploy, tmp_path: Path) -> None:
    (tmp_path / "one.yaml").write_text(ONE)
    deploy("start", "one.yaml", folder=tmp_path).ok()
    deploy("stop", "--all").ok()
    for arguments in (("query", "one", "hi"), ("restart", "one")):
        done = deploy(*arguments)
        assert done.code == 1
        assert done.err == f"error: job one is stopped, not running\nhint: deploy start {tmp_path / 'one.yaml'}\n"
    assert deploy("stop", "one").code == 0


def test_big_and_strange_queries(deploy: Deploy, tmp_path: Path) -> None:
    (tmp_path / "one.yaml").write_text(ONE)
    deploy("start", "one.yaml", folder=tmp_path).ok()
    big = deploy("query", "one", "-", "--json", input="word " * 200_000)
    if big.code == 0:
        assert big.json["status"] == "ok"
    else:
        assert "too large" in big.err or "too long" in big.err
    assert deploy("query", "one", "-", input=b"\xff\xfe").code == 2
    assert deploy("query", "one", "-", input="").code == 2
    unusual = "tab\t, \"quotes\", 'single', ünï, 日本, \N{GRINNING FACE}, \u2028, [bold]x[/], \x07"
    shown = deploy("query", "one", "-", "--json", input=unusual).ok()
    trace = deploy("trace", "show", shown.json["trace_id"], "--json").ok().json
    assert any("日本" in str(value) for value in trace["spans"][0]["attributes"].values())
    deploy("trace", "show", shown.json["trace_id"]).ok()
    deploy("stop", "--all").ok()


@pytest.mark.parametrize(
    ("module", "expected"),
    [
        (
            "import sys\nfrom teamwright import Agent\nclass Bad(Agent):\n    ...\nsys.exit('my last words')\n",
            "my last words",
        ),
        ("class Bad: ...\nraise RuntimeError('no luck')\n", "no luck"),
        (
            "import time\nfrom teamwright import Agent\nprint('asleep', flush=True)\ntime.sleep(600)\n"
            "class Bad(Agent):\n    ...\n",
            "not ready after 5 s",
        ),
    ],
)
def test_agents_that_do_not_start(deploy: Deploy, tmp_path: Path, module: str, expected: str) -> None:
    """The agent's own last lines are shown, and what was started before it is stopped again."""
    (tmp_path / "job.yaml").write_text(
        "agents:\n  - {id: good, backend: offline}\n"
        "  - {id: bad, type: Bad, module: bad_agent, backend: offline, calls: [good]}\n"
        f"deployment: {{timeout: {5 if 'not ready' in expected else 60}}}\n"
    )
    (tmp_path / "bad_agent.py").write_text(module)
    done = deploy("start", "job.yaml", folder=tmp_path)
    assert done.code == 1, str(done)
    assert "bad" in done.err
    assert expected in done.err, str(done)
    assert "Traceback" not in done.err or "  | " in done.err
    assert deploy("ps", "job", "--json").ok().json["status"] == "failed"
    deploy("stop", "--all").ok()


def test_json_is_all_there_is_on_stdout(deploy: Deploy, tmp_path: Path) -> None:
    """Every command that prints data prints one object, whether it works out or not."""
    (tmp_path / "one.yaml").write_text(ONE + "deployment: {network: bridge}\n")
    commands: list[tuple[str, ...]] = [
        ("validate", "one.yaml"),
        ("plan", "one.yaml"),
        ("start", "one.yaml"),
        ("ps",),
        ("ps", "one"),
        ("query", "one", "hi"),
        ("trace", "list"),
        ("trace", "show"),
        ("engine", "status"),
        ("token", "create"),
        ("token", "create", "--job", "one", "--ttl", "10m"),
        ("restart", "one"),
        ("stop", "one"),
        ("stop", "--all"),
        ("ps", "nobody"),
        ("engine", "status"),
        ("validate", "nowhere.yaml"),
    ]
    for arguments in commands:
        done = deploy(*arguments, "--json", folder=tmp_path)
        assert isinstance(done.json, dict), str(done)
        assert bool(done.json.get("error")) == (done.code != 0), str(done)
        assert json.dumps(done.json) == done.out.rstrip("\n")

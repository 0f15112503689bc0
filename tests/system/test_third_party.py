"""A backend that another package brings: installed, started, asked, traced, stopped; and packages that are broken."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from teamwright.jobs.planner import load
from tests.backends.third_party import install, of_contributing, project, shown
from tests.standins.ollama_chat import OllamaChat
from tests.standins.script import Call, Reply

if TYPE_CHECKING:
    from tests.system.conftest import Deploy

TOOLS = """
from teamwright import tool

@tool
def get_weather(city: str) -> str:
    "The weather in a city."
    return f"21 degrees in {city}"
"""
#: Packages and what is wrong with each: name of the backend, code, what the entry point refers to, words of the error.
BROKEN = {
    "wants-more": ("wants", "import no_such_sdk\n", "Backend", "can't be loaded: ModuleNotFoundError: No module named"),
    "raises": ("raises", "1 / 0\n", "Backend", "can't be loaded: ZeroDivisionError: division by zero"),
    "leaves": ("leaves", "raise SystemExit(3)\n", "Backend", "can't be loaded: SystemExit: 3"),
    "empty-one": ("empty", "", "Backend", "can't be loaded: AttributeError"),
    "a-number": ("number", "Backend = 7\n", "Backend", "is no class or function that makes a backend, but 7"),
    "half": ("half", "class Backend:\n    name = 'half'\n", "Backend", "a Backend has no open, run, close"),
    "not-async": (
        "plain",
        "class Backend:\n    name = 'plain'\n    def open(self, config): ...\n    run = close = open\n",
        "Backend",
        "its open() is not an `async def`",
    ),
    "no-info": (
        "odd",
        "class Backend:\n    name, info = 'odd', {}\n",
        "Backend",
        "its `info` is no BackendInfo, but {}",
    ),
    "first-one": ("twice", "Backend = 1\n", "Backend", "both bring a backend 'twice'"),
    "other-one": ("twice", "Backend = 1\n", "Backend", "both bring a backend 'twice'"),
}
#: One that takes a built-in one's name.
CLASH = ("bold", "openai", "raise AssertionError('never imported')\n")


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the package of CONTRIBUTING.md installed in it."""
    folder = tmp_path_factory.mktemp("package")
    of_contributing(folder / "source", folder / "site")
    return folder / "site"


@pytest.fixture(scope="module")
def broken(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with all broken packages in it."""
    folder = tmp_path_factory.mktemp("broken")
    for package, (backend, code, refers_to, _) in BROKEN.items():
        install(project(package, backend, code, refers_to=refers_to), folder / package, folder / "site")
    package, backend, code = CLASH
    install(project(package, backend, code), folder / package, folder / "site")
    return folder / "site"


def write(folder: Path, **agent: Any) -> Path:
    file = folder / "local.yaml"
    file.write_text(json.dumps({"agents": [{"id": "lead", **agent}]}))
    return file


def findings(data: Any) -> dict[str, dict[str, Any]]:
    return {item["name"]: item for item in data["findings"] if item["kind"] == "backend"}


def test_a_team_with_the_backend_of_a_package(
    deploy: Deploy, installed: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "local_tools.py").write_text(TOOLS)
    lead = {
        "backend": "ollama",
        "model": "qwen3",
        "prompt": "You answer briefly.",
        "tools": ["local_tools:get_weather"],
    }
    job = write(tmp_path, **lead)
    with OllamaChat() as model:
        deploy.environment |= {"PYTHONPATH": str(installed), "OLLAMA_HOST": model.url}
        monkeypatch.syspath_prepend(installed)
        assert load(job, environ={}).plan.packages["teamwright-ollama"] == "0.1.0"
        started = deploy("start", job, "--json").ok().json
        assert [agent["backend"] for agent in started["agents"]] == ["ollama"]
        model.say(Reply(calls=[Call("get_weather", {"city": "Rome"})]), Reply("It is 21 degrees in Rome."))
        asked = deploy("query", "local", "What is the weather in Rome?", "--json").ok().json
        assert asked["answer"] == "It is 21 degrees in Rome."
        assert asked["usage"]["input_tokens"] == 40 and asked["usage"]["tool_calls"] == 1
        # the agent was told where the code is, whatever its own environment says
        second = deploy("restart", "local/lead", environment={"PYTHONPATH": ""})
        assert second.code == 0, str(second)
        model.say(Reply("Well."))
        assert deploy("query", "local", "And now?", "--json").ok().json["answer"] == "Well."
    shown_trace = deploy("trace", "show", asked["trace_id"], "--json").ok().json
    assert shown_trace["complete"] is True
    spans = {span["span_id"]: span for span in shown_trace["spans"]}
    tree = [
        (span["name"], spans[span["parent_id"]]["name"] if span["parent_id"] else None)
        for span in sorted(spans.values(), key=lambda span: int(span["start_ns"]))
    ]
    assert tree == [
        ("invoke_workflow local", None),
        ("invoke_agent lead", "invoke_workflow local"),
        ("chat qwen3", "invoke_agent lead"),
        ("execute_tool get_weather", "invoke_agent lead"),
        ("chat qwen3", "invoke_agent lead"),
    ]
    first = next(span for span in spans.values() if span["name"] == "chat qwen3")["attributes"]
    assert first["gen_ai.provider.name"] == "ollama" and first["gen_ai.usage.input_tokens"] == 20
    deploy("stop", "--all").ok()
    deploy.nothing_left(patience=20)


def test_what_a_job_file_may_say_of_it(deploy: Deploy, installed: Path, tmp_path: Path) -> None:
    deploy.environment["PYTHONPATH"] = str(installed)
    for agent, line in (
        ({"backend": "olama"}, "agents[0].backend: agent 'lead': no backend 'olama' (did you mean 'ollama'?)"),
        ({"backend": "ollama"}, "agents[0].backend: agent 'lead': the backend ollama needs a model (write model: …)"),
        (
            {"backend": "ollama", "model": "m", "backend_options": {"hots": "x"}},
            "the backend ollama has no option 'hots' (did you mean 'host'?)",
        ),
    ):
        done = deploy("start", write(tmp_path, **agent))
        assert (done.code, done.out) == (2, "")
        assert line in done.err and len(done.err.splitlines()) == 1
    assert findings(deploy("doctor", "--json").ok().json)["ollama"]["detail"] == "teamwright-ollama 0.1.0"
    # without its package nothing knows it
    deploy.environment["PYTHONPATH"] = ""
    done = deploy("start", write(tmp_path, backend="ollama", model="m"))
    assert done.code == 2 and "no backend 'ollama' (built in: offline, claude" in done.err
    assert findings(deploy("doctor", "--json").ok().json) == {}
    assert not deploy.home.exists()


def test_broken_packages_get_one_line_each(deploy: Deploy, broken: Path, tmp_path: Path) -> None:
    deploy.environment["PYTHONPATH"] = str(broken)
    agents = [{"id": f"a{number}", "backend": backend} for number, (backend, *_) in enumerate(BROKEN.values())]
    file = tmp_path / "broken.yaml"
    file.write_text(json.dumps({"agents": agents, "execution": {"entry_point": "a0"}}, indent=0))
    done = deploy("start", file)
    assert (done.code, done.out) == (2, "")
    lines = done.err.splitlines()
    assert len(lines) == len(BROKEN), done.err
    for line, (package, (_, _, _, words)) in zip(lines, BROKEN.items(), strict=True):
        assert words in line and line.endswith(")")
        assert package in line and "pip uninstall" in line
        assert "broken.yaml:" in line and ".backend" in line
    found = findings(deploy("doctor", "--json").ok().json)
    assert {name: one["state"] for name, one in found.items()} == {
        **{backend: "unusable" for backend, *_ in BROKEN.values()},
        "openai": "unusable",
    }
    assert all(one["command"].startswith("pip uninstall ") for one in found.values())
    assert not deploy.home.exists()


def test_a_built_in_name_stays_built_in(deploy: Deploy, broken: Path, tmp_path: Path) -> None:
    deploy.environment |= {"PYTHONPATH": str(broken), "OPENAI_API_KEY": "sk"}
    done = deploy("plan", write(tmp_path, backend="openai", model="gpt-4o")).ok()
    words = " ".join((done.out + done.err).split())
    assert "the built-in backend openai is used, not that of bold 1.2.3" in words


def test_help_and_ps_import_none_of_it(installed: Path, environment: dict[str, str]) -> None:
    probe = (
        "import sys\nfrom teamwright.cli.boundary import run\nrun(sys.argv[1:])\n"
        "sys.stderr.write(repr('teamwright_ollama' in sys.modules))"
    )
    for words in (["--help"], ["ps"]):
        done = subprocess.run(
            [sys.executable, "-c", probe, *words],
            env={**environment, "PYTHONPATH": str(installed), "TEAMWRIGHT_HOME": environment["HOME"] + "/logs"},
            capture_output=True,
            text=True,
            timeout=60,
        )
        assert done.stderr.endswith("False"), done.stderr


def test_the_contract_runs_over_it(installed: Path, root: Path, environment: dict[str, str], tmp_path: Path) -> None:
    """As CONTRIBUTING.md says; three of its checks here."""
    (tmp_path / "contract_ollama.py").write_text(shown()["contract_ollama.py"])
    environment |= {"PYTHONPATH": f"{installed}:{tmp_path}", "TEAMWRIGHT_CONTRACT": "contract_ollama:ADAPTER"}
    words = ["-n0", "-q", "-p", "no:cacheprovider", "tests/backends/contract"]
    only = "ollama and (test_a_text or test_one_tool or test_a_server_that_is_not_there)"
    done = subprocess.run(
        [sys.executable, "-m", "pytest", *words, "-k", only],
        cwd=root, env=environment, capture_output=True, text=True, timeout=280,
    )  # fmt: skip
    assert done.returncode == 0 and "passed" in done.stdout, done.stdout

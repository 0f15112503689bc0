from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from teamwright.jobs.modules import check_class, check_function, closure, find, search_path

if TYPE_CHECKING:
    from tests.jobs.conftest import Folder

CODE = """
raise SystemExit("validate must never import this")
from elsewhere import Imported
import package.other as renamed

class SearcherAgent: ...
def helper(): ...
constant: int = 3
if constant:
    class Inner: ...
Made = type("Made", (), {})
"""


def job(module: str, kind: str = "SearcherAgent") -> str:
    return f"agents:\n  - id: searcher\n    type: {kind}\n    module: {module}\n"


def test_a_class_is_found_without_importing(folder: Folder) -> None:
    folder.write("agents/searcher.py", CODE)
    agent = folder.load(job("agents.searcher") + "    config: {port: 9021, name: Searcher}\n").plan.agent("searcher")
    assert (agent.kind, agent.module, agent.type) == ("class", "agents.searcher", "SearcherAgent")
    assert (agent.port, agent.config) == (9021, {"name": "Searcher"})
    assert "agents.searcher" not in sys.modules


@pytest.mark.parametrize(
    ("kind", "backend"),
    [("Hosts", "executor"), ("Typed", "executor"), ("Below", "executor"), ("Not", "offline"), ("Plain", "offline")],
)
def test_a_hosted_executor_is_called_so(kind: str, backend: str, folder: Folder) -> None:
    folder.write(
        "hosts.py",
        "class Hosts(Agent):\n    executor = Theirs\n"
        "class Typed(Agent):\n    executor: Any = theirs.Executor()\n"
        "class Below(Typed): ...\n"
        "class Not(Below):\n    executor = None\n"
        "class Plain(Agent):\n    def executor(self): ...\n",
    )
    plan = folder.load(job("hosts", kind)).plan
    assert plan.agents[0].backend == backend


@pytest.mark.parametrize("kind", ["Imported", "Inner", "Made", "renamed"])
def test_what_may_be_a_class_is_accepted(kind: str, folder: Folder) -> None:
    folder.write("searcher.py", CODE)
    assert folder.load(job("searcher", kind)).plan.agents[0].type == kind


@pytest.mark.parametrize(
    ("module", "kind", "says"),
    [
        (
            "agents.searchr",
            "SearcherAgent",
            "agents[0].module: agent 'searcher': no module agents.searchr (did you mean 'agents.searcher'?)",
        ),
        ("nowhere.at.all", "SearcherAgent", "no module nowhere.at.all (looked in /"),
        (
            "agents.searcher",
            "SearchAgent",
            "agents[0].type: agent 'searcher': no class SearchAgent in agents.searcher (did you mean 'SearcherAgent'?)",
        ),
        ("agents.searcher", "helper", "agents.searcher.helper is not a class"),
        ("agents", "SearcherAgent", "no class SearcherAgent in agents"),
        ("agents.broken", "SearcherAgent", "broken.py:2: syntax error in module agents.broken: "),
    ],
)
def test_module_or_class_missing_and_syntax_errors(module: str, kind: str, says: str, folder: Folder) -> None:
    folder.write("agents/searcher.py", CODE)
    folder.write("agents/broken.py", "class A:\n  def x(:\n")
    (line,) = folder.lines(job(module, kind))
    assert says in line


def test_type_needs_module_but_module_may_stand_alone(folder: Folder) -> None:
    folder.write("one.py", "class Only: ...\n")
    (line,) = folder.lines("agents: [{id: a, type: Only}]")
    assert "type needs module" in line
    assert folder.load("agents: [{id: a, module: one}]").plan.agents[0].kind == "class"


def test_tools_are_looked_up_too(folder: Folder) -> None:
    folder.write("tools/text.py", "def word_count(text): ...\n")
    resolved = folder.load("agents: [{id: a, tools: ['tools.text:word_count', 'os.path:join']}]")
    assert resolved.plan.agents[0].tools == ("tools.text:word_count", "os.path:join")
    (line,) = folder.lines("agents: [{id: a, tools: ['tools.text:wordcount']}]")
    assert line.endswith("agents[0].tools[0]: agent 'a': no wordcount in tools.text (did you mean 'word_count'?)")


def test_open_modules_are_given_the_benefit_of_the_doubt(tmp_path: Path) -> None:
    (tmp_path / "star.py").write_text("from x import *\n")
    (tmp_path / "lazy.py").write_text("def __getattr__(name): ...\n")
    roots = [str(tmp_path)]
    assert check_class("star", "Any", roots) == (None, None)
    assert check_class("lazy", "Any", roots) == (None, None)
    assert check_function("sys:exit", roots) is None
    fault = check_function("star2:any", roots)
    assert fault is not None
    assert fault.hint == "did you mean 'star'?"


def test_installed_packages_are_found_and_not_imported(tmp_path: Path) -> None:
    assert find("yaml.nodes", [str(tmp_path)]) is not None
    assert find("xml.dom.minidom", [str(tmp_path)]) is not None
    assert "xml.dom.minidom" not in sys.modules
    assert find("sys", []) is not None
    assert find("nothing_like_it", []) is None


def test_the_search_path_is_folder_then_project_then_current(tmp_path: Path) -> None:
    (tmp_path / "project" / "jobs").mkdir(parents=True)
    (tmp_path / "project" / "pyproject.toml").touch()
    folder = tmp_path / "project" / "jobs"
    assert search_path(folder, tmp_path) == (str(folder), str(tmp_path / "project"), str(tmp_path))
    assert search_path(tmp_path / "project", tmp_path / "project") == (str(tmp_path / "project"),)


def test_the_code_of_a_module_is_what_it_imports_below_the_roots(tmp_path: Path) -> None:
    package = tmp_path / "package"
    package.mkdir()
    for name, text in {
        "__init__": "",
        "a": "import os\nfrom . import b\nfrom .c import thing\nimport package.d",
        "b": "from package import a",
        "c": "",
        "d": "import (",
        "unused": "",
    }.items():
        (package / f"{name}.py").write_text(text)
    found = closure([package / "a.py"], [str(tmp_path)])
    assert {file.name for file in found} == {"a.py", "b.py", "c.py", "d.py", "__init__.py"}

"""MCP servers of an agent with real processes: spans, names, limits, death and return, lists that change, the end."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING, Any

import psutil
import pytest

from tests.agents.conftest import Team, answer_text, wait_for
from tests.standins import mcp_server

if TYPE_CHECKING:
    from collections.abc import Callable

SERVER = str(Path(mcp_server.__file__))

#: Calls what it is told to: `TOOL` or `TOOL TEXT`; `tools` names all there are.
CODE = '''
    from teamwright import Agent, tool
    from teamwright.backends import loop
    from teamwright.backends.api import Answer

    class Caller(Agent):
        @tool
        def add(self, a: int) -> str:
            """Ours."""
            return "ours"

        async def run(self, turn):
            tools = {tool.name: tool for tool in turn.tools}
            name, _, text = turn.text.partition(" ")
            if name == "tools":
                return " ".join(sorted(tools))
            arguments = {"a": 1} if name == "add" else {"text": text} if text else {}
            return (await loop.call_tool(turn, tools, loop.ToolCall("1", name, arguments))).text
'''


def stdio(**more: Any) -> dict[str, Any]:
    env = {"PYTHONDONTWRITEBYTECODE": "1", "WORD": "xyzzy"}
    return {"command": sys.executable, "args": [SERVER], "env": env, **more}


@pytest.fixture(scope="module")
def team(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Team]:
    with closing(Team(tmp_path_factory.mktemp("mcp"))) as made:
        made.write("caller.py", CODE)
        yield made


@pytest.fixture(scope="module")
def call(team: Team) -> Callable[[str], str]:
    """An agent with two servers that have the same tools; the words of its answer."""
    servers = {"words": stdio(timeout=5.0), "more": stdio(args=[SERVER, "few"])}
    team.start("caller", module="caller", type="Caller", mcp_servers=servers)
    return lambda text: answer_text(team.ask("caller", text))


def children(team: Team, agent: str) -> list[psutil.Process]:
    return psutil.Process(team.processes[agent].pid).children(recursive=True)


def last_span(team: Team, agent: str, name: str) -> Mapping[str, Any]:
    return [span for span in team.spans(agent) if span["name"] == f"execute_tool {name}"][-1]


def test_names_are_the_servers_own_where_nobody_else_has_them(call: Callable[[str], str]) -> None:
    names = call("tools").split()
    assert {"add", "words_add", "die", "words_shout", "more_shout"} <= set(names)
    assert not {"shout", "more_add"} & set(names)


def test_a_call_is_a_span_and_its_trace_goes_along(team: Team, call: Callable[[str], str]) -> None:
    said = call("words_shout hi")
    span = last_span(team, "caller", "words_shout")
    assert said.startswith(f"HI! 00-{span['trace_id']}-{span['span_id']}-01")
    found = span["attributes"]
    assert (found["teamwright.tool.source"], found["teamwright.mcp.server"]) == ("mcp", "words")
    assert (found["mcp.method.name"], found["network.transport"]) == ("tools/call", "pipe")
    assert found["mcp.protocol.version"] >= "2025"


def test_failures_are_results(team: Team, call: Callable[[str], str]) -> None:
    assert "out of words" in call("fail")
    assert last_span(team, "caller", "fail")["status"] == 2
    assert "took longer than 5 s" in call("hang")
    assert "cancelled: hang" in wait_for(lambda: "cancelled: hang" in team.log("caller") and team.log("caller"))
    assert call("words_shout on").startswith("ON!")


def test_stderr_is_in_the_log_and_the_environment_is_its_own(team: Team, call: Callable[[str], str]) -> None:
    assert "words: I am here" in team.log("caller")
    assert call("getenv WORD") == "xyzzy"
    assert call("getenv TEAMWRIGHT_MARK").endswith(team.specs["caller"].incarnation)


def test_a_list_that_changes_is_asked_for_again(call: Callable[[str], str]) -> None:
    assert "whisper" not in call("tools").split()
    call("learn")
    assert "whisper" in call("tools").split()
    assert call("whisper HI") == "hi"


def test_one_that_dies_is_started_again_then_after_a_pause(team: Team, call: Callable[[str], str]) -> None:
    before = {process.pid for process in children(team, "caller")}
    assert "the MCP server words failed" in call("die")
    assert call("words_shout again").startswith("AGAIN!")
    for _ in range(5):  # the pause doubles from death to death: the first may be over on a busy machine
        call("die")
        if "next try in" in (meanwhile := call("words_shout wait")):
            break
    assert "the MCP server words is not there (its connection broke off); next try in" in meanwhile
    assert call("more_shout other").startswith("OTHER!")
    assert wait_for(lambda: "WAIT!" in call("words_shout wait"))
    assert len(before - {process.pid for process in children(team, "caller")}) >= 1
    assert team.spans("caller")


@pytest.mark.parametrize("number", [15, 9])
def test_no_process_is_left(team: Team, number: int) -> None:
    agent = f"end{number}"
    servers = {"words": stdio(args=[SERVER, "stubborn"])}
    team.start(agent, module="caller", type="Caller", mcp_servers=servers)
    assert "shout" in answer_text(team.ask(agent, "tools")).split()
    below = children(team, agent)
    assert len(below) == 2  # the server and its own child
    try:
        team.stop(agent, number)
        if number == 15:
            psutil.wait_procs(below, timeout=60)
            assert [process for process in below if process.is_running()] == []
    finally:
        for process in below:  # without a host nobody sweeps after a kill: tests/system/test_mcp.py
            if process.is_running():
                process.kill()


def test_http_and_a_server_that_went_away(team: Team) -> None:
    with subprocess.Popen([sys.executable, SERVER, "http"], stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        url = process.stdout.readline().strip()
        servers = {"web": {"url": url}, "gone": {"command": "/no/such"}, "away": {"url": "http://127.0.0.1:9/mcp"}}
        team.start("web", module="caller", type="Caller", mcp_servers=servers)
        try:
            assert answer_text(team.ask("web", "shout hi")).startswith("HI! 00-")
            found = last_span(team, "web", "shout")["attributes"]
            assert found["network.transport"] == "tcp"
            assert (found["server.address"], str(found["server.port"])) == ("127.0.0.1", url.split(":")[2][:-4])
            assert found["mcp.session.id"]
            assert "no program /no/such" in team.log("web")
        finally:
            process.kill()
    assert "the MCP server web" in answer_text(team.ask("web", "shout hi"))


def test_only_variables_of_its_own(team: Team) -> None:
    team.start("keys", module="caller", type="Caller", mcp_servers={"w": stdio()}, secrets={"OPENAI_API_KEY": "k"})
    assert answer_text(team.ask("keys", "getenv OPENAI_API_KEY")) == "None"

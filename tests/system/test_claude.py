"""`deploy` with the backend claude: the real SDK and CLI, a stand-in of the API, and what the trace says of it all."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import psutil
import pytest

from tests.standins.messages import Messages
from tests.standins.script import Call, Reply, Seen, Tokens
from tests.system.conftest import check_nothing_left
from tests.system.evidence import agrees

if TYPE_CHECKING:
    from tests.system.conftest import Deploy

pytest.importorskip("claude_agent_sdk")
FOLDER = Path(__file__).parent / "claude"
JOB = "claude-team"


@pytest.fixture(scope="module")
def server() -> Iterator[Messages]:
    with Messages() as made:
        yield made


@pytest.fixture(scope="module")
def team(server: Messages, shared_deploy: Deploy) -> Iterator[Deploy]:
    """The running team; it is stopped, and nothing of it may be left."""
    shared_deploy.environment.update({"ANTHROPIC_BASE_URL": server.url, "ANTHROPIC_API_KEY": "dummy"})
    done = shared_deploy("start", FOLDER / "team.yaml").ok()
    assert "claude (poet): off: the CLI's own tools" in done.err
    assert "claude (lead): off: settings files" in done.err
    yield shared_deploy
    shared_deploy("stop", "--all").ok()
    assert clis(shared_deploy) == []


@pytest.fixture
def api(server: Messages) -> Iterator[Messages]:
    server.say()
    yield server
    assert (server.unexpected, server.unsaid) == ([], 0)


def clis(team: Deploy) -> list[int]:
    """The living processes of the CLI."""
    return [process.pid for process in team.processes() if "_bundled/claude" in process.command]


def ask(team: Deploy, text: str, session: str = "s", user: str = "ann", job: str = JOB) -> dict[str, Any]:
    """A query's result, and its spans by name."""
    result: dict[str, Any] = team("query", job, text, "--session", session, "--user", user, "--json").json
    shown = team("trace", "show", result["trace_id"], "--json").ok().json
    assert shown["complete"]
    result["spans"] = shown["spans"]
    return result


def named(result: dict[str, Any], name: str) -> list[dict[str, Any]]:
    return [span for span in result["spans"] if span["name"] == name]


def events(result: dict[str, Any]) -> list[dict[str, Any]]:
    return [event for span in result["spans"] for event in span["events"]]


def below(result: dict[str, Any], span: dict[str, Any]) -> list[str]:
    """The names of what hangs below a span, by start."""
    return [other["name"] for other in result["spans"] if other["parent_id"] == span["span_id"]]


def test_tools_a_peer_and_denials(team: Deploy, api: Messages) -> None:
    calls = [
        Call("add", {"a": 1, "b": 2}),
        Call("query_agent", {"agent": "poet", "message": "rain"}),
        Call("Read", {"file_path": str(FOLDER / "private" / "diary.txt")}),
        Call("Read", {"file_path": str(FOLDER / "claude_tools.py")}),
        Call("Bash", {"command": "id"}),
    ]

    def script(seen: Seen) -> Reply:
        if "You write poems." in seen.system:
            return Reply("Rain, rain.")
        return Reply(" | ".join(seen.results.values())) if seen.results else Reply(calls=calls)

    api.always(script)
    result = ask(team, "do it all")
    api.say()
    assert result["status"] == "ok"
    assert all(text in result["answer"] for text in ("3", "Rain, rain.", "Adds two numbers."))
    assert "nobody reads this" not in result["answer"]
    (lead,) = named(result, "invoke_agent lead")
    (poet,) = [span for span in named(result, "invoke_agent poet") if span["kind"] == "SERVER"]
    assert below(result, poet) == ["chat claude-sonnet-4-5"]
    assert sorted(below(result, lead)) == [
        "chat claude-sonnet-4-5", "chat claude-sonnet-4-5", "execute_tool Bash", "execute_tool Read",
        "execute_tool Read", "execute_tool add", "execute_tool query_agent",
    ]  # fmt: skip
    denied = [span for span in result["spans"] if span["attributes"].get("error.type") == "denied"]
    rules = {span["events"][0]["attributes"]["teamwright.rule"] for span in denied}
    assert rules == {"backend_options.builtin_tools", "backend_options.deny"}
    assert [span["name"] for span in denied if span["status"] != "error"] == []
    (read,) = [span for span in named(result, "execute_tool Read") if span not in denied]
    assert "Adds two numbers." in read["attributes"]["gen_ai.tool.call.result"]
    assert read["attributes"]["teamwright.tool.source"] == "builtin"


def test_nothing_of_a_person_or_project_gets_in(team: Deploy, api: Messages) -> None:
    person = Path(team.environment["HOME"])
    (person / ".claude").mkdir(exist_ok=True)
    (person / ".claude" / "CLAUDE.md").write_text("Words of a person: xylophone.")
    api.say(Reply("hello"))
    assert ask(team, "hi", "clean")["answer"] == "hello"
    seen = api.wait()
    assert "xylophone" not in str(seen.body)
    assert set(seen.tools) == {"Agent", "Read", "add", "query_agent", "list_peers", "ask_user"}
    assert [path.name for path in person.rglob("*") if path.is_file()] == ["CLAUDE.md"]


def test_a_conversation_is_shortened(team: Deploy, api: Messages) -> None:
    api.say(Reply("a lot", tokens=Tokens(190_000, 5, 0)))
    ask(team, "much", "long")
    # the CLI asks for the summary in one request or two
    api.always(lambda seen: Reply("SUMMARY" if "summary" in seen.user else "after"))
    result = ask(team, "and now", "long")
    api.say()
    assert result["answer"] == "after"
    (event,) = [event for event in events(result) if event["name"] == "compaction"]
    assert event["attributes"]["teamwright.compaction.tokens_before"] > 150_000
    assert event["attributes"]["teamwright.compaction.tokens_after"] < 100_000
    shortened, said = named(result, "chat claude-sonnet-4-5")
    assert shortened["attributes"]["teamwright.reason"] == "compaction"
    assert "SUMMARY" in shortened["attributes"]["gen_ai.output.messages"]
    assert "SUMMARY" in said["attributes"]["gen_ai.input.messages"]
    assert shortened["end_ns"] <= said["start_ns"]
    assert result["usage"]["input_tokens"] > said["attributes"]["gen_ai.usage.input_tokens"]


def test_killed_between_messages_and_in_one(team: Deploy, api: Messages) -> None:
    api.say(Reply("one"))
    ask(team, "first", "kills")
    kill(team)
    api.say(Reply("two"))
    result = ask(team, "second", "kills")
    assert result["answer"] == "two"
    assert list(api.wait().said) == ["first", "one", "second"]
    assert "resumed" in {event["name"] for event in events(result)}

    api.say(Reply("never", end="hang", after=3))
    asking = team.begin("query", JOB, "third", "--session", "kills", "--user", "ann", "--json")
    api.wait()
    kill(team)
    asking.communicate(timeout=60)
    listed = team("trace", "list", "--json").ok().json["traces"]
    shown = team("trace", "show", listed[0]["trace_id"], "--json").ok().json
    (lead,) = [span for span in shown["spans"] if span["name"] == "invoke_agent lead"]
    assert lead["attributes"]["error.type"] == "process_lost"
    (chat,) = [span for span in shown["spans"] if span["name"].startswith("chat ")]
    assert chat["status"] == "error"

    api.say(Reply("four"))
    assert ask(team, "fourth", "kills")["answer"] == "four"
    assert list(api.wait().said)[:3] == ["first", "one", "second"]


def kill(team: Deploy) -> None:
    for pid in (found := clis(team)):
        os.kill(pid, signal.SIGKILL)
    assert found
    end = time.monotonic() + 60
    while set(clis(team)) & set(found):
        assert time.monotonic() < end
        time.sleep(0.02)


def test_an_agent_that_dies_in_a_message_leaves_nothing_and_goes_on(team: Deploy, api: Messages) -> None:
    api.say(Reply("one"))
    ask(team, "before", "death")
    agents = team("ps", JOB, "--json").ok().json["agents"]
    lead = next(agent for agent in agents if agent["id"] == "lead")
    api.say(Reply("never", end="hang", after=3))
    asking = team.begin("query", JOB, "now", "--session", "death", "--user", "ann", "--json")
    api.wait()
    below = psutil.Process(lead["pid"]).children(recursive=True)
    assert {child.pid for child in below} & set(clis(team))
    os.kill(lead["pid"], signal.SIGKILL)
    assert asking.communicate(timeout=60)[0]
    end = time.monotonic() + 60
    assert psutil.wait_procs(below, timeout=60)[1] == []
    while not ready(team, lead["pid"]):
        assert time.monotonic() < end, "the agent does not come back"
        time.sleep(0.05)
    api.say(Reply("two"))
    assert ask(team, "after", "death")["answer"] == "two"
    assert list(api.wait().said)[:2] == ["before", "one"] and api.wait().user == "after"


def ready(team: Deploy, old: int) -> bool:
    agents = team("ps", JOB, "--json").ok().json["agents"]
    lead = next(agent for agent in agents if agent["id"] == "lead")
    return bool(lead["pid"] != old and lead["status"] == "healthy")


def test_subagents_nest(team: Deploy, api: Messages) -> None:
    def script(seen: Seen) -> Reply:
        if any("count the files" in text for text in seen.said) and "delegate" not in seen.said:
            return Reply("3 files") if seen.results else Reply(calls=[Call("add", {"a": 1, "b": 2})])
        if seen.results:
            return Reply("6 files")
        task = {"description": "count", "subagent_type": "general-purpose"}
        return Reply(calls=[Call("Agent", {**task, "prompt": f"count the files {number}"}) for number in (1, 2)])

    api.always(script)
    result = ask(team, "delegate", "sub")
    api.say()
    assert result["answer"] == "6 files"
    (lead,) = named(result, "invoke_agent lead")
    assert below(result, lead).count("execute_tool Agent") == 2
    for tool in named(result, "execute_tool Agent"):
        (agent,) = [span for span in result["spans"] if span["parent_id"] == tool["span_id"]]
        assert agent["name"] == "invoke_agent general-purpose"
        assert [name.split()[0] for name in below(result, agent)] == ["chat", "execute_tool", "chat"]
        assert tool["start_ns"] <= agent["start_ns"] and agent["end_ns"] <= tool["end_ns"]
    assert result["usage"]["tool_calls"] == 4


def test_one_conversation_from_start_to_stop(team: Deploy, api: Messages) -> None:
    """A tool, a peer, a denial, a compaction, `kill -9` of the CLI: each in the trace; after `stop` nobody is left."""
    job = "claude-whole"
    team("start", FOLDER / "team.yaml", "--name", job).ok()
    before = set(clis(team))
    calls = [
        Call("add", {"a": 1, "b": 2}),
        Call("query_agent", {"agent": "poet", "message": "rain"}),
        Call("Read", {"file_path": str(FOLDER / "private" / "diary.txt")}),
    ]

    def script(seen: Seen) -> Reply:
        if "You write poems." in seen.system:
            return Reply("Rain, rain.")
        if "summary" in seen.user:
            return Reply("SUMMARY of sums and rain")
        if seen.user == "do it all" and not seen.results:
            return Reply(calls=calls)
        if seen.results:
            return Reply(" | ".join(seen.results.values()), tokens=Tokens(190_000, 5, 0))
        return Reply(f"heard {seen.user}")

    api.always(script)
    first = ask(team, "do it all", "whole", job=job)
    assert "3" in first["answer"] and "Rain, rain." in first["answer"] and "nobody" not in first["answer"]
    (add,), (asks,), (read,) = (named(first, f"execute_tool {call.name}") for call in calls)
    assert (add["status"], add["attributes"]["gen_ai.tool.call.result"]) == ("ok", "3")
    (client,) = [span for span in first["spans"] if span["parent_id"] == asks["span_id"]]
    (server,) = [span for span in first["spans"] if span["parent_id"] == client["span_id"]]
    assert (client["kind"], server["kind"], server["agent"]) == ("CLIENT", "SERVER", "poet")
    assert below(first, server) == ["chat claude-sonnet-4-5"]
    assert (read["status"], read["attributes"]["error.type"]) == ("error", "denied")
    assert read["events"][0]["attributes"]["teamwright.rule"] == "backend_options.deny"

    second = ask(team, "and now", "whole", job=job)
    assert "compaction" in {event["name"] for event in events(second)}
    assert [span["attributes"].get("teamwright.reason") for span in named(second, "chat claude-sonnet-4-5")] == [
        "compaction", None,
    ]  # fmt: skip

    (cli,) = [pid for pid in set(clis(team)) - before if "poet" not in str(Path(f"/proc/{pid}/cwd").readlink())]
    os.kill(cli, signal.SIGKILL)
    psutil.wait_procs([psutil.Process(cli)] if psutil.pid_exists(cli) else [], timeout=60)
    api.say(Reply("back again"))
    third = ask(team, "still there?", "whole", job=job)
    assert third["answer"] == "back again"
    assert list(api.wait().said)[-3:] == ["and now", "heard and now", "still there?"]
    assert "resumed" in {event["name"] for event in events(third)}

    agents = [psutil.Process(agent["pid"]) for agent in team("ps", job, "--json").ok().json["agents"]]
    family = [each for agent in agents for each in (agent, *agent.children(recursive=True))]
    assert len(family) >= 4  # two agents, a CLI each
    team("stop", job).ok()
    assert psutil.wait_procs(family, timeout=60)[1] == []
    assert set(clis(team)) <= before


def test_the_page_shows_what_its_commands_print(environment: dict[str, str], mark: str) -> None:
    """docs/what-a-trace-shows.md, with homes and processes of its own."""
    agrees("claude", environment)
    check_nothing_left(mark, set())


def test_two_people_in_one_session_id(team: Deploy, api: Messages) -> None:
    api.say(Reply("noted"), Reply("noted"))
    ask(team, "my secret is plum", "same", "ann")
    ask(team, "what is it?", "same", "bob")
    assert list(api.wait(2).said) == ["what is it?"]
    api.say(Reply("plum"))
    ask(team, "and mine?", "same", "ann")
    assert list(api.wait().said) == ["my secret is plum", "noted", "and mine?"]

"""`deploy sessions`: what agents remember is listed, shown and deleted for good."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from teamwright.agents.memory.conversations import conversations
from teamwright.agents.memory.sessions import SessionKey, peer_session
from teamwright.backends.claude.written import session_id
from teamwright.client.launch import connect
from teamwright.home import Home

if TYPE_CHECKING:
    from tests.system.conftest import Deploy

TEAM = Path(__file__).parent / "team" / "keepers.yaml"
OTHER = """
job: {name: waiting}
agents:
  - {id: asks, module: asks, type: Asks}
"""
ASKS = """
from teamwright import Agent

class Asks(Agent):
    async def run(self, turn):
        return await turn.ask_user("which one?")
"""


@pytest.fixture(scope="module")
def team(shared_deploy: Deploy) -> Iterator[Deploy]:
    folder = shared_deploy.home.parent
    (folder / "waiting.yaml").write_text(OTHER)
    (folder / "asks.py").write_text(ASKS)
    shared_deploy("start", TEAM).ok()
    shared_deploy("start", folder / "waiting.yaml").ok()
    yield shared_deploy
    shared_deploy("stop", "--all").ok()


def say(deploy: Deploy, text: str, session: str, user: str) -> str:
    return str(deploy("query", "keepers", text, "--session", session, "--user", user, "--json").ok().json["answer"])


def listed(deploy: Deploy, *more: str) -> list[tuple[str, str, int]]:
    found = deploy("sessions", "list", *more, "--json").ok().json["sessions"]
    return sorted((each["session"], each["user"], each["turns"]) for each in found)


def kept(deploy: Deploy, word: str) -> list[Path]:
    """The files of agents that hold a word."""
    files = [*deploy.home.glob("jobs/*/sessions/*"), *deploy.home.glob("jobs/*/backends/**/*")]
    return [path for path in files if path.is_file() and word.encode() in path.read_bytes()]


def written(deploy: Deploy, session: str, user: str) -> Path:
    """What the CLI of the backend claude would have written at `back` for its talk with `front`."""
    home = Home(deploy.home)
    (found,) = [each for each in conversations(home) if (each.session, each.user) == (session, user)]
    key = SessionKey("keepers/front", user, peer_session("keepers/front", "keepers/back", user, found.session))
    path = home.job_dir("keepers") / "backends/back/config/projects/-work" / f"{session_id(repr(tuple(key)))}.jsonl"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("{}")
    return path


def test_list_show_delete(team: Deploy) -> None:
    assert say(team, "quartz", "s-one", "ann") == "quartz | quartz"
    assert say(team, "basalt", "s-one", "ann") == "quartz basalt | quartz basalt"
    assert say(team, "feldspar", "s-one", "bob") == "feldspar | feldspar"
    assert listed(team, "keepers") == [("s-one", "ann", 2), ("s-one", "bob", 1)]
    assert listed(team, "keepers", "--user", "bob") == [("s-one", "bob", 1)]
    table = team("sessions", "list").ok().out
    assert "SESSION" in table and "feldspar | feldspar" in table

    shown: dict[str, Any] = team("sessions", "show", "s-o", "--user", "ann", "--json").ok().json
    assert (shown["job"], shown["agents"], shown["subject"]) == ("keepers", ["front"], "operator")
    said = [(each["agent"], each["question"], each["answer"]) for each in shown["exchanges"]]
    assert said == [("front", "quartz", "quartz | quartz"), ("front", "basalt", "quartz basalt | quartz basalt")]
    assert "ann: quartz\nfront: quartz | quartz" in team("sessions", "show", "s-one", "--user", "ann").ok().out

    assert {path.name.partition(".")[0] for path in kept(team, "quartz")} == {"front", "back"}
    several = team("sessions", "delete", "s-one")
    assert (several.code, "2 users have a session s-one" in several.err) == (2, True)
    gone = team("sessions", "delete", "s-one", "--user", "ann", "--json").ok().json["deleted"]
    assert gone == [{"job": "keepers", "session": "s-one", "agents": ["back", "front"], "exchanges": 4}]
    assert kept(team, "quartz") == []
    assert listed(team, "keepers") == [("s-one", "bob", 1)]
    assert say(team, "new", "s-one", "ann") == "new | new", "somebody still remembers"
    assert say(team, "mica", "s-one", "bob") == "feldspar mica | feldspar mica"


def test_one_clear_line_for_what_is_not_there(team: Deploy) -> None:
    say(team, "jade", "s-two", "ann")
    for arguments, line in (
        (("show", "nothing"), "there is no session 'nothing'"),
        (("delete", "nothing"), "there is no session 'nothing'"),
        (("show", "s-two", "--job", "waiting"), "the session s-two is of job keepers, not of waiting"),
        (("delete", "s-two", "--job", "waiting"), "the session s-two is of job keepers, not of waiting"),
        (("show", "s-two", "--user", "eve"), "the session s-two is not of eve"),
        (("list", "keeper"), "no job named 'keeper'"),
        (("clear", "keepers"), "would be deleted"),
    ):
        done = team("sessions", *arguments)
        assert (done.code, done.out) == (2, ""), done
        assert line in done.err.splitlines()[0], done
    assert kept(team, "jade")


def test_one_in_use_stays(team: Deploy) -> None:
    """A question to the user is open: the work goes on with its answer, so nothing of it may go before."""
    first = team("query", "waiting", "begin", "--session", "s-ask", "--json").ok().json
    assert first["state"] == "input_required"
    refused = team("sessions", "delete", "s-ask")
    assert (refused.code, "error: the session is in use: asks works on it" in refused.err) == (1, True), refused
    cleared = team("sessions", "clear", "waiting", "--yes", "--json")
    assert (cleared.code, cleared.json["deleted"]) == (1, [])
    assert [name for name, _, _ in listed(team, "waiting")] == ["s-ask"]
    with connect(Home(team.home), start=False, environ=team.environment) as client:
        result = client.query("waiting", "marble", session="s-ask", task=first["task_id"])
        assert (result.answer, result.state, result.task_id) == ("marble", "completed", first["task_id"])
    elsewhere = team("query", "keepers", "opal", "--session", "s-ask").ok()
    assert (
        elsewhere.err.splitlines()[0] == "the session s-ask is of waiting; keepers begins one of its own by that name"
    )
    assert "is of" not in team("query", "keepers", "opal", "--session", "s-ask").ok().err
    team("sessions", "delete", "s-ask", "--job", "keepers").ok()
    team("sessions", "delete", "s-ask").ok()
    assert (listed(team, "waiting"), kept(team, "marble")) == ([], [])


def test_without_an_engine(team: Deploy) -> None:
    say(team, "obsidian", "s-three", "ann")
    team("stop", "--all").ok()
    assert ("s-three", "ann", 1) in listed(team)
    assert "obsidian" in team("sessions", "show", "s-three").ok().out
    transcript = written(team, "s-three", "ann")
    team("sessions", "delete", "s-three").ok()
    assert (kept(team, "obsidian"), transcript.exists()) == ([], False)
    assert len(listed(team, "keepers")) >= 1
    team("sessions", "clear", "keepers", "--yes").ok()
    assert listed(team, "keepers") == []

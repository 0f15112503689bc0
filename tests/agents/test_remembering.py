"""Conversations of real agent processes, over kills and between users."""

from __future__ import annotations

import signal
from typing import TYPE_CHECKING, Any

import httpx

if TYPE_CHECKING:
    from .conftest import Team

CODE = """
    from teamwright import Agent

    class Keeper(Agent):
        async def run(self, turn):
            if turn.text.startswith("ask "):
                return (await turn.ask_peer("keeper", turn.text[4:])).text
            return " ".join([*(word.text for word in turn.history if word.role == "user"), turn.text])
"""


def say(team: Team, agent: str, text: str, *, user: str = "ann", session: str = "s") -> str:
    token = team.issuer.mint(user, f"team/{agent}", job="team", role="front-door")
    task: dict[str, Any] = team.ask(agent, text, token=token, contextId=session)["task"]
    assert task["status"]["state"] == "TASK_STATE_COMPLETED", task
    return "".join(part["text"] for artifact in task["artifacts"] for part in artifact["parts"])


def test_a_killed_agent_goes_on_with_every_conversation(team: Team) -> None:
    team.write("keeper.py", CODE)
    folder = str(team.home.sessions_dir("team"))
    team.launch("keeper", module="keeper", type="Keeper", sessions_dir=folder, callers=("front-door", "team/lead"))
    team.start("lead", module="keeper", type="Keeper", sessions_dir=folder, calls=("keeper",))
    httpx.get(f"{team.url('keeper')}/readyz", timeout=180).raise_for_status()
    assert say(team, "keeper", "1") == "1"
    assert say(team, "keeper", "1", user="bob") == "1"
    assert say(team, "lead", "ask 1") == "1"
    assert say(team, "lead", "ask 2", user="bob") == "2"
    for number, how in ((2, signal.SIGKILL), (3, signal.SIGTERM)):
        for agent in ("keeper", "lead"):
            spec = team.specs[agent]
            team.stop(agent, how)
            team.launch(agent, spec)
        assert say(team, "keeper", str(number)) == " ".join(map(str, range(1, number + 1)))
        assert say(team, "keeper", "x", session=f"other {number}") == "x"
    # The peer's conversation is found again by a caller that has forgotten everything itself.
    assert say(team, "lead", "ask 2") == "1 2"
    assert say(team, "lead", "ask 3", user="bob") == "2 3"
    assert say(team, "keeper", "2", user="bob") == "1 2"

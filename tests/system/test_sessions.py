"""Conversations are their users' own, and go on after every death."""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

import psutil
import pytest

from teamwright.client.client import Client
from teamwright.client.launch import connect
from teamwright.client.results import QueryResult
from teamwright.errors import TeamwrightError
from teamwright.home import Home

if TYPE_CHECKING:
    from tests.system.conftest import Deploy

TEAM = Path(__file__).parent / "team" / "keepers.yaml"
SESSIONS, TURNS = 10, 5


@pytest.fixture
def team(deploy: Deploy) -> Iterator[Deploy]:
    deploy("start", TEAM).ok()
    yield deploy
    deploy("stop", "--all").ok()


def say(deploy: Deploy, text: str, *, user: str = "ann", session: str = "s") -> str:
    done = deploy("query", "keepers", text, "--session", session, "--user", user, "--json").ok().json
    return str(done["answer"])


def both(*words: str) -> str:
    """What the front answers when it and the back have heard these."""
    return f"{' '.join(words)} | {' '.join(words)}"


def killed(deploy: Deploy, process: str) -> None:
    """Kill a process of the engine or an agent, and wait until it is gone."""
    if process in ("front", "back"):
        agents = deploy("ps", "keepers", "--json").ok().json["agents"]
        pid = next(agent["pid"] for agent in agents if agent["id"] == process)
    else:
        pid = deploy("engine", "status", "--json").ok().json["processes"][process]
    os.kill(pid, signal.SIGKILL)
    with suppress(psutil.NoSuchProcess):
        psutil.Process(pid).wait(timeout=60)


def persist(client: Client, text: str, session: str) -> tuple[str, int]:
    """Ask until there is an answer, as a person would; it and how often it took another try."""
    end = time.monotonic() + 120
    tries = 0
    while True:
        try:
            result: QueryResult = client.query("keepers", text, session=session)
            if result.status == "ok":
                return result.answer, tries
        except TeamwrightError:
            pass
        assert time.monotonic() < end, "no answer in 120 s"
        tries += 1
        time.sleep(0.2)


def test_twenty_conversations_of_two_users_with_an_agent_killed_half_way(team: Deploy) -> None:
    """Both users name their conversations alike, and each goes on as if nobody else were there."""
    home = Home(team.home)
    half_way = threading.Barrier(2 * SESSIONS + 1, timeout=120)
    with connect(home, start=False, environ=team.environment) as operator:
        url = operator.status()["url"]
        tokens = {user: operator.create_token(subject=user, ttl=3600)["token"] for user in ("ann", "bob")}

        def talk(user: str, number: int) -> list[tuple[str, int]]:
            answers = []
            with Client(url, tokens[user]) as client:
                for turn in range(TURNS):
                    if turn == 2:
                        half_way.wait()
                    answers.append(persist(client, f"{user}-{number}-{turn}", f"conversation-{number}"))
            return answers

        who = [(user, number) for user in tokens for number in range(SESSIONS)]
        with ThreadPoolExecutor(len(who)) as pool:
            talks = [pool.submit(talk, user, number) for user, number in who]
            half_way.wait()
            killed(team, "back")
            killed(team, "front")
            conversations = dict(zip(who, (each.result() for each in talks), strict=True))
    for (user, number), answers in conversations.items():
        for turn, (answer, _) in enumerate(answers):
            for remembered in answer.split(" | "):
                # A word may stand there twice where the kill came after it was kept and before it was answered.
                words = list(dict.fromkeys(remembered.split()))
                assert words == [f"{user}-{number}-{each}" for each in range(turn + 1)], answer
    ps: dict[str, Any] = team("ps", "keepers", "--json").ok().json
    assert [agent["restarts"] for agent in ps["agents"]] == [1, 1]


@pytest.mark.parametrize("process", ["engine", "host", "zygote", "front", "back"])
def test_a_conversation_outlives(team: Deploy, process: str) -> None:
    assert say(team, "one") == both("one")
    assert say(team, "uno", user="bob") == both("uno")
    killed(team, process)
    with connect(Home(team.home), start=False, environ=team.environment) as client:
        end = time.monotonic() + 120
        while (found := persist_as(client, "two")) is None:
            assert time.monotonic() < end
            time.sleep(0.2)
    assert found.replace("two two", "two") == both("one", "two")
    assert say(team, "tres", user="bob") == both("uno", "tres")


def persist_as(client: Client, text: str) -> str | None:
    """Ann's next word, if somebody answers."""
    try:
        result = client.query("keepers", text, session="s", user="ann")
    except TeamwrightError:
        return None
    return result.answer if result.status == "ok" else None


def test_a_conversation_outlives_the_job(deploy: Deploy) -> None:
    deploy("start", TEAM).ok()
    assert say(deploy, "one") == both("one")
    deploy("restart", "keepers").ok()
    assert say(deploy, "two") == both("one", "two")
    deploy("restart", "keepers/back").ok()
    assert say(deploy, "three") == both("one", "two", "three")
    deploy("stop", "--all").ok()
    deploy("start", TEAM).ok()
    assert say(deploy, "four") == both("one", "two", "three", "four")
    assert say(deploy, "new", session="t") == both("new")
    deploy("stop", "--all").ok()

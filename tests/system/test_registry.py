"""The registry through the real command line and HTTP: who is listed, found, watched, and who may change what."""

from __future__ import annotations

import json
import os
import signal
import time
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import httpx
import pytest

from teamwright.home import Home
from teamwright.safety.tokens import Issuer

if TYPE_CHECKING:
    from .conftest import Deploy

JOB = """
execution: {entry_point: sky}
agents:
  - id: sky
    description: Weather reports
    skills: [{id: forecast, name: Forecasts, description: Tells of tomorrow, tags: [weather]}]
    group: outdoors
  - {id: maps, description: Finds streets, restart: {policy: never}}
"""


class World:
    """A running job, and the engine's address with an operator's token."""

    def __init__(self, deploy: Deploy) -> None:
        self.deploy = deploy
        job = deploy.home.parent / "land.yaml"
        job.write_text(JOB)
        deploy("start", job, environment={"TEAMWRIGHT_LEASE": "5"}).ok()
        url = deploy("engine", "status", "--json").ok().json["url"]
        token = Home(deploy.home).operator_token.read_text().strip()
        self.http = httpx.Client(base_url=url, headers={"authorization": f"Bearer {token}"}, timeout=60)

    def listed(self, *words: str) -> list[str]:
        found = self.deploy("registry", *words, "--json").ok().json["agents"]
        return [entry["id"] for entry in found]

    def changes(self, since: str, until: int) -> list[dict[str, Any]]:
        """That many changes behind a revision, from the stream."""
        found: list[dict[str, Any]] = []
        with self.http.stream("GET", f"/agents/changes?since={since}") as stream:
            for line in stream.iter_lines():
                if line.startswith("data: ") and "change" in (data := json.loads(line[6:])):
                    found.append(data)
                    if len(found) == until:
                        break
        return found


@pytest.fixture(scope="module")
def world(shared_deploy: Deploy) -> Iterator[World]:
    made = World(shared_deploy)
    yield made
    made.http.close()
    shared_deploy("stop", "--all").ok()


def test_list_and_search(world: World) -> None:
    assert world.listed("list") == ["land.maps", "land.sky"]
    assert world.listed("list", "--group", "outdoors") == world.listed("list", "--tag", "weather") == ["land.sky"]
    assert world.listed("search", "who", "reports", "weather?") == ["land.sky"]
    assert world.listed("search", "streets", "--skill", "forecast") == []
    assert world.listed("list", "--limit", "1") == ["land.maps"]
    text = world.deploy("registry", "search", "weather").ok().out
    assert "land.sky" in text and "forecast" in text and "outdoors" in text
    assert "no such agents" in world.deploy("registry", "list", "--job", "sea").ok().out


def test_it_tells_how_to_use_it(world: World) -> None:
    plain = httpx.Client(base_url=world.http.base_url, timeout=60)  # without a token
    with plain:
        assert "GET /agents/search" in plain.get("/docs").text
        about = plain.get("/openapi.json").json()
        assert {"/agents", "/agents/search", "/agents/changes", "/agents/register"} < set(about["paths"])
        assert "land" not in json.dumps(about) and plain.get("/agents").status_code == 401


def test_what_is_no_place_in_the_changes_is_not_repeated(world: World) -> None:
    for since in ("nonsense", "x\nevent: listed\ndata: {}\n\n"):
        with world.http.stream("GET", "/agents/changes", params={"since": since}) as stream:
            told = (line for line in stream.iter_lines())
            lines = [next(told) for _ in range(6)]
        place = world.http.get("/agents").json()["revision"].partition("-")[0]
        assert [lines[0], lines[4]] == ["event: ready", "event: reset"]
        assert lines[1].startswith(f"id: {place}-") and lines[5].startswith(f"id: {place}-")


def test_an_etag_counts_with_and_without_its_mark(world: World) -> None:
    tag = world.http.get("/agents").headers["etag"]
    assert tag.startswith('W/"')
    for known in (tag, tag[2:], f'"other", {tag}', "*"):
        assert world.http.get("/agents", headers={"if-none-match": known}).status_code == 304, known
    assert world.http.get("/agents", headers={"if-none-match": '"other"'}).status_code == 200


def test_a_revoked_token_hears_no_more_changes(world: World) -> None:
    made = world.http.post("/tokens", json={"ttl": 600}).json()
    theirs = {"authorization": f"Bearer {made['token']}"}
    with httpx.stream("GET", f"{world.http.base_url}/agents/changes", headers=theirs, timeout=60) as stream:
        lines = stream.iter_lines()
        assert next(lines) == "event: ready"
        assert world.http.post("/tokens/revoke", json={"tokens": [made["id"]]}).status_code == 200
        world.http.delete("/agents/land.maps")
        assert not [line for line in lines if line.startswith("event: ")]  # to its end
    end = time.monotonic() + 60
    while world.listed("list") != ["land.maps", "land.sky"]:  # it lists itself again
        assert time.monotonic() < end


def test_only_the_agent_itself(world: World) -> None:
    """Its token, its address and its process: nobody else gets on the list as land.sky."""
    evil = {"url": "http://127.0.0.1:1", "name": "evil"}
    sky = world.http.get("/agents/land.sky").json()
    issuer = Issuer.load(Home(world.deploy.home))
    stolen = issuer.mint("land/sky", "engine", job="land", agent="sky", role="agent")
    maps = issuer.mint("land/maps", "engine", job="land", agent="maps", role="agent")
    ghost = issuer.mint("sea/fish", "engine", job="sea", agent="fish", role="agent")
    for token, path, body, why in (
        (None, "register", evil, "is no agent that can be called"),  # an operator may add others, if they are there
        (None, "land.sky/heartbeat", {}, "only agents register"),
        (stolen, "register", evil, f"land.sky is at {sky['url']}, not at"),
        (stolen, "register", {**evil, "url": sky["url"], "incarnation": "x"}, "another process is land.sky"),
        (ghost, "register", evil, "sea.fish is not an agent that runs here"),
        (maps, "land.sky/heartbeat", {}, "land/maps may not change the entry of land.sky"),
    ):
        headers = {"authorization": f"Bearer {token}"} if token else {}
        answer = world.http.post(f"/agents/{path}", json=body, headers=headers)
        assert answer.status_code in (401, 403, 502) and why in answer.text, answer.text
    assert world.http.delete("/agents/land.sky", headers={"authorization": f"Bearer {maps}"}).status_code == 401
    assert world.http.get("/agents/land.sky").json()["name"] == sky["name"]


def test_a_restarted_agent_is_listed_as_itself(world: World) -> None:
    before = world.http.get("/agents").json()
    world.deploy("restart", "land/maps").ok()
    leaving, gone, back = world.changes(before["revision"], 3)
    assert (leaving["id"], leaving["change"], leaving["entry"]["status"]) == ("land.maps", "changed", "stopping")
    assert (gone["id"], gone["change"], back["id"], back["change"]) == ("land.maps", "delisted", "land.maps", "listed")
    assert back["entry"]["incarnation"] != before["agents"][0]["incarnation"]


def test_a_lease_that_is_none(deploy: Deploy) -> None:
    done = deploy("engine", "start", environment={"TEAMWRIGHT_LEASE": "0"})
    assert (done.code, done.err.splitlines()[0]) == (2, "error: TEAMWRIGHT_LEASE=0 is not from 1 to 86400")
    done = deploy("engine", "start", environment={"TEAMWRIGHT_LEASE": "soon"})
    assert done.code == 2 and "TEAMWRIGHT_LEASE='soon' is not a number" in done.err


def test_silent_agents_are_delisted_and_come_back(world: World) -> None:
    since = world.http.get("/agents").json()["revision"]
    pid = next(
        agent["pid"] for agent in world.deploy("ps", "land", "--json").ok().json["agents"] if agent["id"] == "sky"
    )
    os.kill(pid, signal.SIGSTOP)
    try:
        (gone,) = [c for c in world.changes(since, 1) if c["change"] != "changed"]
        assert (gone["id"], gone["change"], gone["reason"]) == ("land.sky", "delisted", "lease")
        assert world.listed("list") == ["land.maps"]
    finally:
        os.kill(pid, signal.SIGCONT)
    back = world.changes(since, 2)[1]
    assert (back["id"], back["change"], back["entry"]["skills"][0]["id"]) == ("land.sky", "listed", "forecast")


def test_a_dead_agent_is_delisted_at_once_and_a_new_engine_hears_of_the_others(world: World) -> None:
    since = world.http.get("/agents").json()["revision"]
    agents = world.deploy("ps", "land", "--json").ok().json["agents"]
    os.kill(next(agent["pid"] for agent in agents if agent["id"] == "maps"), signal.SIGKILL)
    assert world.changes(since, 1)[0]["reason"] == "died"
    world.deploy("engine", "restart").ok()
    end = time.monotonic() + 60
    while world.listed("list") != ["land.sky"]:
        assert time.monotonic() < end
    with world.http.stream("GET", "/agents/changes", headers={"last-event-id": since}) as stream:
        events = (line for line in stream.iter_lines() if line.startswith("event: "))
        assert [next(events), next(events)] == ["event: ready", "event: reset"]

"""The registry: entries by lease, each changed only by its own agent."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import replace
from typing import Any

import httpx
import pytest
from starlette.applications import Starlette
from starlette.requests import Request

from teamwright.engine.answers import on_error
from teamwright.errors import Refused, TeamwrightError, TokenRefused, UnknownJob, UserError
from teamwright.registry.service import Registry, due, routes
from teamwright.safety.tokens import Claims

AGENT = Claims("home", "team/lead", "engine", "agent", 0, 0.0, 900.0, "j", "team", "lead")
OTHER = replace(AGENT, sub="team/other", agent="other")
OPERATOR = replace(AGENT, sub="operator", role="operator", job=None, agent=None)
ENTRY: dict[str, Any] = {
    "url": "http://127.0.0.1:8600",
    "name": "Lead",
    "description": "Leads the team",
    "skills": [{"id": "lead", "name": "Leading", "description": "Lead people", "tags": ["boss"]}],
}


class Clock:
    now = 1000.0

    def __call__(self) -> float:
        return self.now


def test_a_lease_ends() -> None:
    clock = Clock()
    registry = Registry(lease=30, clock=clock)
    registry.register(ENTRY, AGENT)
    clock.now += 29
    registry.heartbeat("team.lead", {"status": "busy"}, AGENT)
    clock.now += 29
    assert registry.get("team.lead").status == "busy"
    clock.now += 2
    assert registry.list() == []
    with pytest.raises(UnknownJob):
        registry.get("team.lead")
    with pytest.raises(UnknownJob, match="not registered"):
        registry.heartbeat("team.lead", {}, AGENT)


def test_only_its_own_entry() -> None:
    registry = Registry()
    registry.register(ENTRY, AGENT)
    for act in (registry.remove, lambda entry, claims: registry.heartbeat(entry, {}, claims)):
        with pytest.raises(TokenRefused, match=r"team/other may not change the entry of team\.lead"):
            act("team.lead", OTHER)
    with pytest.raises(Refused):
        registry.register(ENTRY, OPERATOR)
    assert registry.register({**ENTRY, "job": "x", "agent": "y"}, OTHER).id == "team.other"
    assert registry.remove("team.lead", AGENT) is True and registry.remove("team.lead", AGENT) is False
    assert registry.remove("team.other", OPERATOR) is True


def test_finding() -> None:
    registry = Registry()
    registry.register(ENTRY, AGENT)
    registry.register({"url": "http://127.0.0.1:1", "name": "Other"}, OTHER)
    assert [entry.id for entry in registry.list()] == ["team.lead", "team.other"]
    assert [entry.id for entry in registry.list(skill="boss")] == ["team.lead"]
    assert [entry.id for entry in registry.list(skill="lead")] == ["team.lead"]
    assert [entry.id for entry in registry.list(text="leads TEAM people")] == ["team.lead"]
    assert registry.list(job="nobody") == [] and registry.list(text="nothing of it") == []


@pytest.mark.parametrize(
    "data",
    [None, [], {}, {"url": "file:///x"}, {**ENTRY, "skills": "x"}, {**ENTRY, "name": 5}, {**ENTRY, "details": 1}],
)
def test_bad_entries(data: Any) -> None:
    with pytest.raises(UserError):
        Registry().register(data, AGENT)


def test_a_dead_process_is_dropped_its_successor_not() -> None:
    registry = Registry()
    registry.register({**ENTRY, "incarnation": "b"}, AGENT)
    registry.drop("team", "lead", "a")
    assert registry.list()
    registry.drop("team", "lead", "b")
    assert registry.list() == []


def test_tokens_are_due_at_half_time() -> None:
    assert not due(AGENT, 449) and due(AGENT, 451) and due(AGENT, 5000)


@pytest.fixture
async def http() -> AsyncIterator[httpx.AsyncClient]:
    callers = {"lead": AGENT, "other": OTHER, "operator": OPERATOR}

    def authorize(request: Request) -> Claims:
        try:
            return callers[request.headers.get("authorization", "")]
        except KeyError:
            raise TokenRefused("no token") from None

    app = Starlette(
        routes=routes(Registry(), authorize, renew=lambda claims: {"engine": f"new for {claims.sub}"}),
        exception_handlers={TeamwrightError: on_error},
    )
    transport = httpx.ASGITransport(app)
    async with httpx.AsyncClient(transport=transport, base_url="http://engine", verify=False) as client:
        yield client


async def test_over_http(http: httpx.AsyncClient) -> None:
    lead, other = {"authorization": "lead"}, {"authorization": "other"}
    made = await http.post("/agents/register", json=ENTRY, headers=lead)
    assert made.status_code == 201 and made.json()["id"] == "team.lead" and made.json()["lease"] == 30.0
    assert made.json()["tokens"] == {"engine": "new for team/lead"}  # its token is years past half its life
    beat = await http.post("/agents/team.lead/heartbeat", headers=lead)
    assert beat.json()["tokens"] == {"engine": "new for team/lead"}
    assert (await http.post("/agents/team.lead/heartbeat", headers=other)).status_code == 401
    assert (await http.get("/agents", headers=other)).json()["agents"][0]["name"] == "Lead"
    assert (await http.get("/agents/team.lead", headers=other)).json()["url"] == ENTRY["url"]
    assert (await http.get("/agents/nobody", headers=other)).status_code == 404
    assert (await http.get("/agents")).status_code == 401
    assert (await http.post("/agents/register", content=b"{", headers=lead)).status_code == 400
    assert (await http.delete("/agents/team.lead", headers=lead)).json() == {"removed": True}
    assert (await http.post("/agents/team.lead/heartbeat", headers=lead)).status_code == 404

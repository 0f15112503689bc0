"""The registry: entries by lease, each changed only by its own agent."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import replace
from typing import Any

import httpx
import pytest
from starlette.applications import Starlette
from starlette.requests import Request

from teamwright.engine.routes.answers import on_error
from teamwright.errors import Refused, TeamwrightError, TokenRefused, TooMany, UnknownJob, UserError
from teamwright.registry.finding import Wanted
from teamwright.registry.floods import Floods
from teamwright.registry.records import AgentEntry
from teamwright.registry.routes import due, routes
from teamwright.registry.service import Registry
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
    registry.heartbeat("team.lead", {"load": {"working": 2}}, AGENT)
    clock.now += 29
    assert registry.get("team.lead").load == {"working": 2}
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


def listed(registry: Registry, **wanted: str) -> list[str]:
    return [entry.id for entry in registry.list(Wanted.of(wanted))]


def test_finding() -> None:
    registry = Registry()
    registry.register(ENTRY, replace(AGENT, group="bosses"))
    registry.register({"url": "http://127.0.0.1:1", "name": "Other"}, OTHER)
    assert listed(registry) == ["team.lead", "team.other"]
    for one in ({"skill": "Boss"}, {"skill": "lead"}, {"skill": "leading"}, {"tag": "boss"}, {"name": "LEA"}):
        assert listed(registry, **one) == ["team.lead"], one
    assert listed(registry, tag="lead") == listed(registry, skill="lea") == listed(registry, job="nobody") == []
    assert listed(registry, group="bosses", job="team") == ["team.lead"]
    registry.note("team", "other", "", "unhealthy")
    assert listed(registry, health="unhealthy") == ["team.other"] and listed(registry, health="healthy") == [
        "team.lead"
    ]
    with pytest.raises(UserError, match="unknown parameter 'skil'"):
        Wanted.of({"skil": "x"})


def fill(registry: Registry, **agents: str) -> None:
    for agent, description in agents.items():
        claims = replace(AGENT, sub=f"team/{agent}", agent=agent)
        registry.register({"url": "http://127.0.0.1:1", "name": agent, "description": description}, claims)


def test_free_text_is_ranked() -> None:
    registry = Registry()
    fill(
        registry,
        sky="Forecasts and weather reports for cities",
        guide="Plans trips; knows museums, food, streets and, if it must, the weather",
        maps="Finds streets",
        weather="Answers",
    )
    assert listed(registry, q="weather") == ["team.weather", "team.sky", "team.guide"]  # a name counts for more
    assert listed(registry, q="forecast a city") == ["team.sky"]
    assert listed(registry, q="find an agent that can tell me of the streets") == ["team.maps", "team.guide"]
    assert listed(registry, q='museum OR ( NEAR * " name:x') == ["team.guide"]  # words, not a query language
    assert listed(registry, q="who is it") == listed(registry, q="?!") == []
    fill(registry, maps="Knows the weather of roads by now")
    assert "team.maps" in listed(registry, q="weather") and "team.maps" not in listed(registry, q="streets")
    registry.drop("team", "weather")
    assert "team.weather" not in listed(registry, q="weather")


def test_replicas_are_one_entry() -> None:
    clock = Clock()
    registry = Registry(lease=30, clock=clock)
    for number in range(2):
        mine = {**ENTRY, "url": f"http://127.0.0.1:{8600 + number}", "incarnation": f"i{number}", "replica": number}
        registry.register(mine, AGENT)
    (entry,) = registry.list()
    assert [(each["replica"], each["url"]) for each in entry.replicas] == [
        (0, "http://127.0.0.1:8600"),
        (1, "http://127.0.0.1:8601"),
    ]
    assert "replica" not in entry.to_dict() and entry.url == "http://127.0.0.1:8600"
    for number in range(2):
        load = {"working": number + 1, "waiting": 0}
        registry.heartbeat("team.lead", {"incarnation": f"i{number}", "load": load}, AGENT)
    assert registry.get("team.lead").load == {"working": 3, "waiting": 0}
    with pytest.raises(UnknownJob):
        registry.heartbeat("team.lead", {"incarnation": "i9"}, AGENT)

    registry.note("team", "lead", "i0", "unhealthy")
    entry = registry.get("team.lead")
    assert (entry.status, entry.url) == ("healthy", "http://127.0.0.1:8601")
    assert [each["status"] for each in entry.replicas] == ["unhealthy", "healthy"]
    registry.drop("team", "lead", "i0")
    assert [each["replica"] for each in registry.get("team.lead").replicas] == [1]
    registry.register({**ENTRY, "incarnation": "i2", "replica": 0}, AGENT)
    assert registry.remove("team.lead", AGENT, "i0") is False  # it has a successor
    clock.now += 20
    registry.heartbeat("team.lead", {"incarnation": "i1"}, AGENT)
    clock.now += 20
    registry.heartbeat("team.lead", {"incarnation": "i1"}, AGENT)
    assert [each["replica"] for each in registry.get("team.lead").replicas] == [1]  # the other's lease is over
    assert registry.remove("team.lead", AGENT, "i1") is True and registry.list() == []


def test_words_that_thousands_of_cards_hold() -> None:
    registry = Registry()
    fill(registry, **{f"a{n}": "Works for the company" for n in range(2001)})
    fill(registry, weather="Forecasts for the company", company="Knows it")
    found = listed(registry, q="company")
    assert found[0] == "team.company" and len(found) == len(set(found)) == 2003
    assert listed(registry, q="forecasts of the company") == ["team.weather"]
    assert listed(registry, q="the company's weather tomorrow") == ["team.weather"]  # the rarer word, not the 2,003


def test_pages() -> None:
    registry = Registry()
    fill(registry, **{f"a{n}": "weather" for n in range(7)})
    for wanted in (Wanted(), Wanted(q="weather")):
        seen, cursor = [], None
        while True:
            found = registry.find(wanted, limit=3, cursor=cursor)
            assert found.total == 7
            seen += [entry.agent for entry in found.entries]
            if (cursor := found.next) is None:
                break
        assert seen == [f"a{n}" for n in range(7)]
        for wrong in (
            "x",
            "e30",
            "\u00e4",
            registry.find(Wanted(q="weather") if wanted.q is None else Wanted(), limit=1).next,
        ):
            with pytest.raises(UserError, match="cursor"):
                registry.find(wanted, cursor=wrong)
    after = registry.find(Wanted(), limit=3).next
    registry.drop("team", "a0")
    registry.drop("team", "a2")
    assert [entry.agent for entry in registry.find(Wanted(), cursor=after).entries] == ["a3", "a4", "a5", "a6"]


def test_a_huge_card_is_cut() -> None:
    skill = {"id": "s", "description": "x" * 50_000, "tags": ["t" * 5000, 7] * 500, "more": "y"}
    entry = Registry().register({**ENTRY, "description": "d" * 10**5, "skills": [skill] * 5000}, AGENT)
    assert len(str(entry.to_dict())) < 25_000_000 and len(entry.description) == 4000 and len(entry.skills) == 200
    assert len(entry.skills[0]["description"]) == 1000 and entry.skills[0].keys().isdisjoint({"more"})


def test_another_process_does_not_keep_an_entry_alive() -> None:
    registry = Registry()
    registry.register({**ENTRY, "incarnation": "b"}, AGENT)
    registry.heartbeat("team.lead", {"incarnation": "b"}, AGENT)
    with pytest.raises(UnknownJob):
        registry.heartbeat("team.lead", {"incarnation": "a"}, AGENT)


def test_changes() -> None:
    clock = Clock()
    registry = Registry(lease=30, clock=clock)
    start = registry.changes.revision
    registry.register(ENTRY, AGENT)
    registry.register(ENTRY, AGENT)  # again, with the same card: no news
    registry.heartbeat("team.lead", {"load": {"working": 1}}, AGENT)
    registry.note("team", "lead", "", "healthy")
    registry.note("team", "lead", "another", "unhealthy")
    registry.note("team", "lead", "", "unhealthy")
    registry.register({**ENTRY, "name": "Boss"}, AGENT)
    clock.now += 31
    assert registry.sweep() == 30
    found = registry.changes.since(start)
    assert found is not None
    assert [(change.kind, change.reason) for change in found] == [
        ("listed", None), ("changed", None), ("changed", None), ("delisted", "lease"),
    ]  # fmt: skip
    assert found[2].entry.name == "Boss" and found[2].entry.status == "unhealthy"
    assert registry.changes.since(registry.changes.revision) == []
    for other in ("", "x-1", Registry().changes.revision, registry.changes.place(99)):
        assert registry.changes.since(other) is None
    for n in range(2001):
        registry.note("team", "lead", "", str(n))  # nobody of that name any more: nothing
    assert registry.changes.since(start) == found
    registry.register(ENTRY, AGENT)
    for n in range(2000):
        registry.note("team", "lead", "", str(n))
    assert registry.changes.since(start) is None


def test_floods() -> None:
    clock = Clock()
    floods = Floods(rate=2, burst=3, what="calls", clock=clock)
    for _ in range(3):
        floods.check("a")
    with pytest.raises(TooMany, match="too many calls of a") as caught:
        floods.check("a")
    assert caught.value.retry_after == 0.5
    floods.check("b")
    clock.now += 0.5
    floods.check("a")
    with pytest.raises(TooMany):
        floods.check("a")


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


class Everybody:
    """Lets each see all, and `lead` call them."""

    def sees(self, claims: Claims, entry: AgentEntry) -> bool:
        return True

    def introduce(self, claims: Claims, entry: AgentEntry) -> dict[str, Any]:
        if claims != AGENT:
            raise Refused(f"{claims.sub} may not call {entry.id}")
        return {"agent": entry.to_dict(), "token": "t", "expires_in": 900}


@pytest.fixture
async def http() -> AsyncIterator[httpx.AsyncClient]:
    callers = {"lead": AGENT, "other": OTHER, "operator": OPERATOR}

    def authorize(request: Request) -> Claims:
        try:
            return callers[request.headers.get("authorization", "")]
        except KeyError:
            raise TokenRefused("no token") from None

    app = Starlette(
        routes=routes(Registry(), authorize, lambda claims: {"engine": f"new for {claims.sub}"}, Everybody()),
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


async def test_lists_have_a_tag(http: httpx.AsyncClient) -> None:
    lead = {"authorization": "lead"}
    await http.post("/agents/register", json=ENTRY, headers=lead)
    for path in ("/agents", "/agents/search?q=people&limit=1", "/agents/team.lead"):
        first = await http.get(path, headers=lead)
        tag = {**lead, "if-none-match": first.headers["etag"]}
        await http.post("/agents/team.lead/heartbeat", json={"load": {"working": 1}}, headers=lead)
        again = await http.get(path, headers=tag)
        assert (again.status_code, again.content, again.headers["etag"]) == (304, b"", first.headers["etag"])
        await http.post("/agents/register", json={**ENTRY, "version": path}, headers=lead)
        assert (await http.get(path, headers=tag)).status_code == 200


async def test_bad_questions(http: httpx.AsyncClient) -> None:
    lead = {"authorization": "lead"}
    for query in ("limit=0", "limit=1001", "limit=x", "limit=\u00b2", "cursor=%21", "skil=x", f"q={'x' * 1001}"):
        answer = await http.get(f"/agents/search?{query}", headers=lead)
        assert answer.status_code == 400, query
        assert answer.json()["error"]["message"].startswith((query.partition("=")[0], "unknown parameter"))
    large = {**ENTRY, "details": {"x": "y" * 600_000}}
    assert (await http.post("/agents/register", json=large, headers=lead)).status_code == 413


async def test_a_flood_of_registrations(http: httpx.AsyncClient) -> None:
    lead, other = {"authorization": "lead"}, {"authorization": "other"}
    answers = [await http.post("/agents/register", json=ENTRY, headers=lead) for _ in range(40)]
    assert answers[0].status_code == 201 and answers[-1].status_code == 429
    assert int(answers[-1].headers["retry-after"]) >= 1 and "too many registrations" in answers[-1].text
    assert (await http.post("/agents/register", json=ENTRY, headers=other)).status_code == 201

"""The engine's own routes: who is let in, what errors look like, tokens, when it leaves."""

from __future__ import annotations

import time
from typing import Any

import httpx
import pytest
from starlette.responses import PlainTextResponse
from starlette.types import ASGIApp, Receive, Scope, Send

from teamwright.engine.idle import Idle
from teamwright.engine.store.state import StateReader
from teamwright.home import Home
from teamwright.safety.tokens import Issuer, unverified

from .conftest import InProcess, in_process, make_plan, patient, until
from .test_jobs import start


@pytest.mark.parametrize("path", ["/engine", "/jobs", "/traces", "/agents", "/jobs/x"])
async def test_a_token_is_needed(inside: InProcess, path: str, home: Home) -> None:
    answer = await inside.http.get(path)
    assert answer.status_code == 401 and answer.headers["www-authenticate"] == "Bearer"
    assert answer.json()["error"]["type"] == "TokenRefused"
    assert (await inside.http.get(path, headers={"authorization": "Bearer nonsense"})).status_code == 401
    expired = Issuer.load(home).mint("operator", "*", role="operator", ttl=-1)
    assert (await inside.http.get(path, headers={"authorization": f"Bearer {expired}"})).status_code == 401


async def test_an_agent_is_no_operator(inside: InProcess, home: Home) -> None:
    token = Issuer.load(home).mint("team/a", "engine", job="team", agent="a", role="agent")
    for method, path in (("GET", "/jobs"), ("POST", "/engine/stop"), ("POST", "/tokens"), ("POST", "/stop")):
        answer = await inside.http.request(method, path, headers={"authorization": f"Bearer {token}"}, json={})
        assert answer.status_code == 403, path


async def test_probes_are_open(inside: InProcess) -> None:
    assert (await inside.http.get("/livez")).text == "ok"
    assert (await inside.http.get("/readyz")).text == "ok"


@pytest.mark.parametrize("host", ["evil.example", "evil.example:80", "127.0.0.1.evil.example", ""])
async def test_foreign_names_are_refused(inside: InProcess, host: str) -> None:
    answer = await inside.http.get("/livez", headers={"host": host})
    assert answer.status_code == 403


async def test_foreign_pages_are_refused(inside: InProcess) -> None:
    headers = {"origin": "http://evil.example", **inside.operator}
    assert (await inside.http.get("/jobs", headers=headers)).status_code == 403
    headers["origin"] = "http://127.0.0.1:1"
    assert (await inside.http.get("/jobs", headers=headers)).status_code == 200
    for host in ("localhost:1", "[::1]:1"):
        assert (await inside.http.get("/livez", headers={"host": host})).status_code == 200


async def test_errors_have_one_form(inside: InProcess) -> None:
    for method, path, status in (("GET", "/nowhere", 404), ("DELETE", "/jobs", 405)):
        answer = await inside.http.request(method, path, headers=inside.operator)
        assert answer.status_code == status and set(answer.json()["error"]) >= {"message", "type", "hint", "tail"}
    for body in (b"", b"[]", b"{", b'{"plan": 1}', b'{"plan": {"job": "x"}}'):
        answer = await inside.http.post("/jobs", headers=inside.operator, content=body)
        assert answer.status_code == 400, body
    for body in (b"{}", b'{"targets": []}', b'{"targets": "team"}'):
        assert (await inside.http.post("/stop", headers=inside.operator, content=body)).status_code == 400


async def test_status(inside: InProcess) -> None:
    found = (await inside.http.get("/engine", headers=inside.operator)).json()
    assert found["home"] == str(inside.home.path) and found["processes"]["guard"] == 1 and found["on_demand"] is True
    assert set(found) >= {"url", "home", "version", "uptime_s", "processes"}


async def test_tokens(inside: InProcess) -> None:
    await start(inside, make_plan())
    made = await inside.http.post("/tokens", headers=inside.operator, json={"job": "team", "ttl": 60, "subject": "ada"})
    assert made.status_code == 201
    mine = {"authorization": f"Bearer {made.json()['token']}"}
    assert (await inside.http.get("/jobs", headers=mine)).status_code == 401
    asked = await inside.http.post("/a2a/team", headers=mine, content=b"{}")
    assert asked.status_code == 200 and asked.json()["error"]["code"] == -32600
    for wrong in ({"ttl": 0}, {"ttl": "x"}, {"subject": "a/b"}, {"job": "nobody"}):
        answer = await inside.http.post("/tokens", headers=inside.operator, json=wrong)
        assert answer.status_code in (400, 404), wrong


async def test_tokens_are_revoked(home: Home) -> None:
    async with in_process(home) as inside:
        await start(inside, make_plan())

        async def make(**asked: Any) -> tuple[str, dict[str, str]]:
            made = (await inside.http.post("/tokens", headers=inside.operator, json=asked)).json()
            return made["id"], {"authorization": f"Bearer {made['token']}"}

        async def asked(headers: dict[str, str]) -> int:
            return (await inside.http.post("/a2a/team", headers=headers, content=b"{}")).status_code

        async def revoke(*tokens: Any) -> httpx.Response:
            body = {"tokens": list(tokens)}
            return await inside.http.post("/tokens/revoke", headers=inside.operator, json=body)

        (first, ada), (_, bob), (third, boss) = await make(job="team"), await make(job="team"), await make()
        assert [await asked(who) for who in (ada, bob, boss)] == [200, 200, 200]
        for wrong, status in (((), 400), (("",), 400), ((7,), 400), ((first[:5],), 400), (("nobody0",), 404)):
            assert (await revoke(*wrong)).status_code == status, wrong
        agents = Issuer.load(home).mint("team/lead", "engine", job="team", agent="lead", role="agent")
        assert (await revoke(agents)).status_code == 400 and (await revoke("no.real.token")).status_code == 401
        # All or none of those that are named at once.
        assert (await revoke(first, "nobody0")).status_code == 404 and await asked(ada) == 200
        done = (await revoke(first[:8], boss["authorization"].removeprefix("Bearer "))).json()["revoked"]
        assert [(row["id"], row["status"]) for row in done] == [(first, "revoked"), (third, "revoked")]
        assert [await asked(who) for who in (ada, bob, boss)] == [401, 200, 401]
        assert (await inside.http.get("/jobs", headers=boss)).status_code == 401
        again = (await revoke(first)).json()["revoked"][0]
        assert again["revoked_at"] == done[0]["revoked_at"]
        listed = (await inside.http.get("/tokens", headers=inside.operator)).json()["tokens"]
        assert sorted(row["status"] for row in listed) == ["good", "revoked", "revoked"]
        # The home's own token: whoever had a copy is out, the home has a new one.
        former = inside.operator
        assert (await revoke(former["authorization"].removeprefix("Bearer "))).status_code == 200
        assert (await inside.http.get("/jobs", headers=former)).status_code == 401
        assert (await inside.http.get("/jobs", headers=inside.operator)).status_code == 200
    (home.path / "revoked").unlink()  # the engine remembers
    async with in_process(home) as inside:
        for who, status in ((ada, 401), (bob, 200), (boss, 401), (former, 401)):
            assert (await inside.http.post("/a2a/team", headers=who, content=b"{}")).status_code == status
    with StateReader(home) as reader:
        found = [(event["kind"], event["actor"]) for event in reader.events() if "of" in event["data"]]
    assert found == [("token.made", "operator")] * 3 + [("token.revoked", "operator")] * 3


async def test_agents_tokens_are_renewed(inside: InProcess, home: Home) -> None:
    await start(inside, make_plan("team", patient("lead", callees=("other",)), patient("other")))
    issuer = Issuer.load(home)

    async def register(agent: str, age: float) -> httpx.Response:
        token = issuer.mint(f"team/{agent}", "engine", job="team", agent=agent, role="agent", now=time.time() - age)
        headers = {"authorization": f"Bearer {token}"}
        known = inside.engine.state.agent(f"team/{agent}")
        own = {"url": "http://127.0.0.1:1"}
        if known is not None:
            own = {"url": known.url or "", "incarnation": known.state.incarnation}
        return await inside.http.post("/agents/register", json=own, headers=headers)

    assert (await register("lead", 0)).json()["tokens"] == {}
    for age in (500, 1000, 4000):  # past its half, past its end, nearly an hour past its end
        fresh = (await register("lead", age)).json()["tokens"]
        assert set(fresh) == {"engine", "team/other"}, age
        assert unverified(fresh["engine"]).exp > time.time() + 800
    await until(lambda: inside.host.said.count("tokens team/lead") == 3)
    assert (await register("lead", 5000)).status_code == 401
    assert (await register("nobody", 500)).status_code == 403


async def test_stopping_needs_force_while_jobs_run(inside: InProcess) -> None:
    await start(inside, make_plan())
    refused = await inside.http.post("/engine/stop", headers=inside.operator, json={})
    assert refused.status_code == 409 and "team" in refused.json()["error"]["message"]
    assert inside.guard.said == ["host"]
    done = await inside.http.post("/engine/stop", headers=inside.operator, json={"force": True})
    assert done.status_code == 200
    assert inside.guard.said == ["host", "leave"]
    assert inside.engine.state.jobs["team"].phase == "stopped"


async def test_stopping_everything_ends_an_engine_on_demand(inside: InProcess) -> None:
    await start(inside, make_plan())
    answer = await inside.http.post("/stop", headers=inside.operator, json={"targets": ["*"]})
    assert answer.json()["leaving"] is True and inside.guard.said[-1] == "leave"


async def test_an_engine_that_stays(home: Home) -> None:
    async with in_process(home) as made:
        assert (await made.http.post("/engine/stay", headers=made.operator)).json()["on_demand"] is False
        answer = await made.http.post("/stop", headers=made.operator, json={"targets": ["*"]})
        assert answer.json()["leaving"] is False
    async with in_process(home) as again:  # the same guard: it still stays
        assert again.engine.status()["on_demand"] is False
        again.engine.client_gone()
        assert again.guard.said == []
        await again.http.post("/engine/stop", headers=again.operator, json={})
        assert again.guard.said == ["leave"]


def test_idle() -> None:
    now, busy, left = [0.0], [False], [0]

    def leave() -> None:
        left[0] += 1

    idle = Idle(lambda: busy[0], leave, seconds=60, stay=False, clock=lambda: now[0])
    idle.check()
    now[0] = 59.9
    idle.check()
    assert left == [0]
    busy[0] = True
    now[0] = 61
    idle.check()
    assert left == [0]
    busy[0] = False
    idle.check()
    idle.check()
    assert left == [1]


def test_idle_leaves_soon_when_its_starter_is_gone() -> None:
    busy, left = [True], [0]
    idle = Idle(lambda: busy[0], lambda: left.__setitem__(0, 1), seconds=60, stay=False, clock=lambda: 0.0)
    assert idle.leave_when_empty() is False and left == [0]
    busy[0] = False
    idle.check()
    assert left == [1]


def client_of(app: ASGIApp) -> httpx.AsyncClient:
    return httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://engine")


@pytest.mark.parametrize("in_time", [True, False])
async def test_a_client_that_comes_in_time_is_served_and_one_too_late_is_told(in_time: bool) -> None:
    left: list[str] = []
    idle = Idle(lambda: False, lambda: left.append("left"), seconds=60, stay=False, clock=lambda: 0.0)
    served = idle.wrap(PlainTextResponse("served"))

    async def goes_away(scope: Scope, receive: Receive, send: Send) -> None:
        """Whoever started us is gone while its request is still with us."""
        idle.leave_when_empty(unless_asked=True)
        if in_time:
            assert (await client_of(served).get("/jobs")).text == "served"
        await PlainTextResponse("served")(scope, receive, send)

    await client_of(idle.wrap(goes_away)).get("/jobs")
    assert left == ([] if in_time else ["left"])
    answer = await client_of(served).get("/jobs")
    if in_time:
        assert answer.text == "served"
    else:
        assert (answer.status_code, answer.json()["error"]["type"]) == (503, "EngineUnavailable")
    assert (await client_of(served).get("/livez")).text == "served"

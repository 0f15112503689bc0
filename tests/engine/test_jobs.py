"""Jobs on a stand-in host: start, stop, restart, and what happens when they meet."""

from __future__ import annotations

import asyncio
import json
import stat
import time
from dataclasses import replace
from typing import Any

from teamwright.home import Home
from teamwright.host.api import AgentState, ExitInfo
from teamwright.jobs.plan import Plan
from teamwright.safety.tokens import unverified
from teamwright.tracing.reading.filters import Filter
from teamwright.tracing.reading.reader import SpanReader
from teamwright.tracing.reading.view import trace_show

from .conftest import InProcess, in_process, make_plan, patient, until


async def lines(inside: InProcess, path: str, body: dict[str, Any]) -> list[dict[str, Any]]:
    answer = await inside.http.post(path, headers=inside.operator, json=body)
    if answer.status_code != 200:
        return [{"event": "refused", "status": answer.status_code, **answer.json()}]
    return [json.loads(line) for line in answer.text.splitlines()]


async def start(inside: InProcess, plan: Plan, secrets: Any = None) -> list[dict[str, Any]]:
    return await lines(inside, "/jobs", {"plan": plan.to_dict(), "secrets": secrets or {}})


async def stop(inside: InProcess, *targets: str) -> Any:
    return (await inside.http.post("/stop", headers=inside.operator, json={"targets": targets})).json()


async def view(inside: InProcess, job: str = "team") -> Any:
    return (await inside.http.get(f"/jobs/{job}", headers=inside.operator)).json()


def duo(**more: Any) -> Plan:
    return make_plan(
        "team",
        patient("lead", 1, callees=("helper",)),
        patient("helper", callers=("lead",), group="help", port=9123),
        **more,
    )


def dead(agent: str, code: int | None = 3, signal: int | None = None) -> AgentState:
    reason = "exited" if signal is None else "signal"
    return AgentState(
        agent, "failed", "i", None, last_exit=ExitInfo(code, signal, reason, time.time_ns()), tail=("Boom",)
    )


async def test_start(inside: InProcess) -> None:
    found = await start(inside, duo(), {"lead": {"KEY": "secret"}})
    assert [line["event"] for line in found] == ["level", "agent", "agent", "level", "agent", "agent", "done"]
    assert found[0] == {"event": "level", "level": 0, "agents": ["helper"]}
    job = found[-1]["job"]
    assert (job["job"], job["status"], job["entry_point"]) == ("team", "running", "lead")
    assert [agent["id"] for agent in job["agents"]] == ["helper", "lead"]
    keys = {"id", "name", "url", "pid", "status", "level", "backend", "restarts", "started_in_ms", "last_exit"}
    assert set(job["agents"][0]) >= keys
    assert inside.host.said[:3] == ["bind", "launch helper", "launch lead"]
    assert inside.guard.said == ["host"]

    helper, lead = inside.host.orders
    assert helper.spec.url == "http://127.0.0.1:9123" and inside.host.bound["team/helper"] == 9123
    assert [(peer.id, peer.url) for peer in lead.spec.peers] == [("helper", "http://127.0.0.1:9123")]
    assert helper.spec.callers == ("front-door", "team/lead") and lead.spec.callers == ("front-door",)
    assert set(lead.spec.tokens) == {"engine", "team/helper"} and set(helper.spec.tokens) == {"engine"}
    claims = unverified(lead.spec.tokens["team/helper"])
    assert (claims.sub, claims.aud, claims.role) == ("team/lead", "team/helper", "agent")
    assert unverified(helper.spec.tokens["engine"]).group == "help"
    assert lead.spec.secrets == {"KEY": "secret"} and helper.spec.secrets == {}
    file = inside.home.secrets_file
    assert json.loads(file.read_text()) == {"team": {"lead": {"KEY": "secret"}}}
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert b"secret" not in inside.home.engine_db.read_bytes()


async def test_stop_leaves_nothing(inside: InProcess) -> None:
    await start(inside, duo(), {"lead": {"KEY": "secret"}})
    found = await stop(inside, "team")
    assert found["jobs"][0]["status"] == "stopped" and found["leaving"] is False
    assert inside.host.bound == {} and "secret" not in inside.home.secrets_file.read_text()
    assert (await stop(inside, "team"))["jobs"][0]["status"] == "stopped"


async def test_ports_are_kept_for_the_next_start(inside: InProcess) -> None:
    await start(inside, make_plan())
    before = (await view(inside))["agents"][0]["url"]
    await stop(inside, "team")
    inside.host.next_port = 30000
    await start(inside, make_plan())
    assert (await view(inside))["agents"][0]["url"] == before


async def test_starting_again_changes_nothing(inside: InProcess) -> None:
    await start(inside, duo())
    again = await start(inside, duo(warnings=("other words",)))
    assert [line["event"] for line in again] == ["unchanged"] and again[0]["job"]["status"] == "running"
    assert inside.host.said.count("bind") == 1


async def test_a_changed_file_names_apply(inside: InProcess) -> None:
    await start(inside, duo())
    (found,) = await start(inside, duo(revision="r2"))
    assert found["event"] == "failed" and "changed" in found["error"]["message"]
    assert found["error"]["hint"].startswith("deploy apply ") and found["error"]["status"] == 409


async def test_the_same_name_from_another_file(inside: InProcess) -> None:
    await start(inside, duo())
    (found,) = await start(inside, duo(file="/elsewhere/team.yaml"))
    assert "/elsewhere" not in found["error"]["message"] and "--name" in found["error"]["hint"]


async def test_of_two_starts_one_wins(inside: InProcess) -> None:
    inside.host.holds.add("team/lead")
    first = asyncio.create_task(start(inside, duo()))
    await until(lambda: "launch lead" in inside.host.said)
    (second,) = await start(inside, duo())
    assert "being started already" in second["error"]["message"]
    inside.host.tell("ready", replace(inside.host.lives["team/lead"], status="healthy"))
    assert (await first)[-1]["event"] == "done"


async def test_a_failed_start_is_undone(inside: InProcess) -> None:
    inside.host.fails["team/lead"] = dead("team/lead")
    found = (await start(inside, duo(), {"lead": {"KEY": "secret"}}))[-1]
    assert found["event"] == "failed" and found["error"]["type"] == "StartFailed"
    assert found["error"]["message"] == "agent lead ended with exit code 3 before it was ready"
    assert found["error"]["agent"] == "lead" and found["error"]["tail"] == ["Boom"]
    job = await view(inside)
    assert job["status"] == "failed" and "exit code 3" in job["error"]
    assert {agent["status"] for agent in job["agents"]} <= {"stopped", "failed"}
    assert inside.host.bound == {} and "secret" not in inside.home.secrets_file.read_text()
    del inside.host.fails["team/lead"]
    assert (await start(inside, duo()))[-1]["event"] == "done"


async def test_stopping_a_job_that_starts(inside: InProcess) -> None:
    inside.host.holds.add("team/lead")
    starting = asyncio.create_task(start(inside, duo()))
    await until(lambda: "launch lead" in inside.host.said)
    assert (await stop(inside, "team"))["jobs"][0]["status"] == "stopped"
    last = (await starting)[-1]
    assert last["event"] == "failed" and "interrupted" in last["error"]["message"]
    assert inside.host.bound == {}


async def test_a_client_that_goes_undoes_its_start(inside: InProcess) -> None:
    inside.host.holds.add("team/lead")
    scope = {
        "type": "http", "http_version": "1.1", "method": "POST", "path": "/jobs", "raw_path": b"/jobs",
        "query_string": b"", "scheme": "http", "server": ("127.0.0.1", 1), "root_path": "",
        "headers": [(b"host", b"127.0.0.1:1"), (b"authorization", inside.operator["authorization"].encode())],
    }  # fmt: skip
    body = json.dumps({"plan": duo().to_dict()}).encode()
    gone = asyncio.Event()
    received: list[Any] = [{"type": "http.request", "body": body, "more_body": False}]

    async def receive() -> Any:
        if received:
            return received.pop()
        await gone.wait()
        return {"type": "http.disconnect"}

    async def send(message: Any) -> None:
        pass

    call = asyncio.ensure_future(inside.engine.app(scope, receive, send))
    await until(lambda: "launch lead" in inside.host.said)
    gone.set()
    await asyncio.wait([call])
    await until(lambda: not inside.engine.state.jobs["team"].active)
    assert (await view(inside))["status"] == "stopped" and inside.host.bound == {}


async def test_single_agents_and_groups(inside: InProcess) -> None:
    await start(inside, duo())
    found = await stop(inside, "team/@help")
    assert found["jobs"][0]["status"] == "degraded"
    assert "team/helper" not in inside.host.bound
    last = (await lines(inside, "/restart", {"targets": ["team/helper"]}))[-1]
    assert last["event"] == "done" and last["job"]["status"] == "running"
    assert inside.host.bound["team/helper"] == 9123 and inside.host.said[-1] == "restart helper"


async def test_replicas_are_restarted_one_after_the_other(inside: InProcess) -> None:
    await start(inside, make_plan("team", patient("lead"), patient("many", replicas=3), patient("more", replicas=2)))
    said = inside.host.said
    del said[:]
    assert (await lines(inside, "/restart", {"targets": ["team/many"]}))[-1]["event"] == "done"
    assert [line for line in said if line != "bind"] == ["restart many-0", "restart many-1", "restart many-2"]

    # The next one waits until the one before is ready; one that does not get ready is the last.
    del said[:]
    inside.host.holds.add("team/many-1")
    going = asyncio.create_task(lines(inside, "/restart", {"targets": ["team/many", "team/more", "team/lead"]}))
    states = inside.engine.state.jobs["team"].agents
    # It is healthy until the host tells of the new process.
    await until(lambda: states["many-1"].state.status == "starting")
    ended = ExitInfo(3, None, "exit", time.time_ns())
    starting = states["many-1"].state
    inside.host.tell("exited", replace(starting, status="failed", pid=None, last_exit=ended))
    assert (await going)[-1]["event"] == "failed"
    rounds = [line for line in said if line.startswith("restart")]
    assert rounds == ["restart lead,many-0,more-0", "restart many-1,more-1"]
    assert {name: (agent.wanted, agent.up) for name, agent in states.items()} == {
        **dict.fromkeys(("lead", "many-0", "many-2", "more-0"), (True, True)),
        **dict.fromkeys(("many-1", "more-1"), (False, False)),
    }


async def test_restart_takes_the_new_plan(inside: InProcess) -> None:
    await start(inside, duo())
    changed = duo(revision="r2")
    last = (await lines(inside, "/restart", {"plan": changed.to_dict()}))[-1]
    assert last["event"] == "done" and last["job"]["revision"] == "r2"
    assert [line["event"] for line in await start(inside, changed)] == ["unchanged"]


async def test_restart_as_it_was(inside: InProcess) -> None:
    await start(inside, duo(), {"lead": {"KEY": "secret"}})
    last = (await lines(inside, "/restart", {"targets": ["team"]}))[-1]
    assert last["event"] == "done"
    assert inside.host.orders[-1].spec.secrets == {"KEY": "secret"}


async def test_unknown_names_suggest(inside: InProcess) -> None:
    await start(inside, duo())
    for target, word in (("taem", "team"), ("team/hepler", "helper"), ("team/@hlep", "help")):
        error = (await stop(inside, target))["error"]
        assert error["type"] == "UnknownJob" and word in error["hint"], target
    (found,) = await lines(inside, "/restart", {"targets": ["nobody"]})
    assert found["event"] == "failed" and found["error"]["status"] == 404


async def test_the_deployments_trace(inside: InProcess) -> None:
    await start(inside, duo())
    inside.host.tell("exited", replace(dead("team/helper", None, 9), status="backing_off"))
    life = AgentState("team/helper", "starting", "j", 9, 9123, 1, time.time_ns(), None)
    inside.host.tell("restart", life)
    inside.host.tell("ready", replace(life, status="healthy", ready_ns=time.time_ns() + 1_000_000))
    await stop(inside, "team")
    await inside.engine.spans.drain()
    with SpanReader(inside.home.spans_db) as reader:
        (summary,) = reader.list_traces(Filter(kind="deployment"))
        shown = trace_show(reader.show(summary["trace"].hex()))
    by_name = {span["name"]: span for span in shown["spans"]}
    root = by_name["deploy team"]
    assert shown["complete"] and root["parent_id"] is None and shown["status"] == "ok"
    names = sorted(span["name"] for span in shown["spans"])
    assert names == ["deploy team", "start_agent helper", "start_agent helper", "start_agent lead"]
    assert all(span["parent_id"] == root["span_id"] for span in shown["spans"] if span is not root)
    assert all(span["end_ns"] > span["start_ns"] for span in shown["spans"])
    again = [span for span in shown["spans"] if span["name"] == "start_agent helper"][-1]
    assert [event["name"] for event in again["events"]] == ["crash", "restart"]


async def test_a_failed_deployments_trace(inside: InProcess) -> None:
    inside.host.fails["team/lead"] = dead("team/lead")
    await start(inside, duo())
    await inside.engine.spans.drain()
    with SpanReader(inside.home.spans_db) as reader:
        (summary,) = reader.list_traces(Filter(kind="deployment"))
        shown = trace_show(reader.show(summary["trace"].hex()))
    assert shown["status"] == "error"
    lead = next(span for span in shown["spans"] if span["name"] == "start_agent lead")
    assert lead["status"] == "error" and lead["attributes"]["process.exit.code"] == 3


async def test_a_new_guard_means_lost(home: Home) -> None:
    from teamwright.engine.liveness import Incarnation

    async with in_process(home) as made:
        await start(made, duo())
    async with in_process(home, guard=Incarnation(1, 7, "an-earlier-boot")) as again:
        job = await view(again)
        assert job["status"] == "lost" and {agent["status"] for agent in job["agents"]} == {"lost"}
        assert (await stop(again, "team"))["jobs"][0]["status"] == "stopped"
        assert (await start(again, duo()))[-1]["event"] == "done"

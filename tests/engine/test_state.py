"""engine.db: what is kept, and what a reader makes of it."""

from __future__ import annotations

import sqlite3
import time
from dataclasses import replace

import pytest

from teamwright.engine.liveness import Incarnation
from teamwright.engine.store.records import AgentRecord, JobRecord, RunRow, TaskRow
from teamwright.engine.store.state import EngineState, StateReader
from teamwright.errors import StoreTooNew
from teamwright.home import Home
from teamwright.host.api import AgentState, ExitInfo

from .conftest import make_plan, patient


def a_job(name: str = "team") -> JobRecord:
    plan = make_plan(name, patient("a", callees=("b",)), patient("b"))
    job = JobRecord(plan, "running", time.time_ns(), trace_id="t" * 32, span_id="s" * 16)
    for agent in plan.agents:
        ended = ExitInfo(None, 9, "signal", 5)
        state = AgentState(f"{name}/{agent.id}", "healthy", "i", 10, 8600, 1, 1, 2, ended, ("x",), {"y": 1})
        job.agents[agent.id] = AgentRecord(name, agent.id, 8600, True, state)
    return job


def a_task() -> TaskRow:
    return TaskRow("s1", "t1", "r1", "team", "a", 5, labels={"k": "v"}, query="hi", user="ada", revision="r")


async def test_everything_comes_back(home: Home) -> None:
    state = EngineState(home.engine_db)
    job = a_job()
    await state.save_job(job)
    await state.open_task(a_task())
    state.update_task(replace(a_task(), task_id="task", context_id="c"))
    state.set_guard(Incarnation.of(1))
    state.close()

    again = EngineState(home.engine_db)
    assert again.jobs == {"team": job}
    assert again.tasks == {"s1": replace(a_task(), task_id="task", context_id="c")}
    assert again.guard == Incarnation.of(1)
    again.end_task(RunRow(again.tasks["s1"], "ok", "completed", 9, {"input_tokens": 1}))
    again.close()
    assert EngineState(home.engine_db).tasks == {}
    db = sqlite3.connect(home.engine_db)
    assert db.execute("select run_id, status, query, labels from runs").fetchall() == [("r1", "ok", "hi", '{"k":"v"}')]
    db.close()


async def test_writes_are_synced(home: Home) -> None:
    state = EngineState(home.engine_db)
    (level,) = await __import__("asyncio").wrap_future(
        state._writer.submit(lambda db: db.execute("pragma synchronous").fetchone())
    )
    state.close()
    assert level == 2  # FULL


async def test_a_reader_sees_what_is_lost(home: Home) -> None:
    state = EngineState(home.engine_db)
    await state.save_job(a_job())
    state.set_guard(Incarnation.of(1))
    state.close()
    with StateReader(home) as reader:
        assert [(job["job"], job["status"]) for job in reader.jobs()] == [("team", "running")]
        assert reader.job("nobody") is None

    for gone in (Incarnation(1, 1, Incarnation.of(1).boot), replace(Incarnation.of(1), boot="another-boot")):
        state = EngineState(home.engine_db)
        state.set_guard(gone)
        state.close()
        with StateReader(home) as reader:
            job = reader.job("team")
            assert job is not None and job["status"] == "lost"
            assert {agent["status"] for agent in job["agents"]} == {"lost"}
            assert {agent["pid"] for agent in job["agents"]} == {None}


def test_a_home_without_an_engine(home: Home) -> None:
    with StateReader(home) as reader:
        assert reader.jobs() == []


def test_newer_files_are_refused(home: Home) -> None:
    EngineState(home.engine_db).close()
    db = sqlite3.connect(home.engine_db)
    db.execute("pragma user_version=99")
    db.close()
    with pytest.raises(StoreTooNew, match="newer"):
        EngineState(home.engine_db)
    with pytest.raises(StoreTooNew, match="newer"):
        StateReader(home)


@pytest.mark.parametrize(
    ("statuses", "expected"),
    [
        (("healthy", "busy"), "running"),
        (("healthy", "starting"), "degraded"),
        (("healthy", "lost"), "degraded"),
        (("failed", "failed"), "failed"),
        (("failed", "stopped"), "failed"),
        (("stopped", "stopped"), "stopped"),
        (("stopped", "healthy"), "degraded"),
    ],
)
def test_a_jobs_status_follows_its_agents(statuses: tuple[str, str], expected: str) -> None:
    from teamwright.engine.views import job_view

    job = a_job()
    for agent, status in zip(job.agents.values(), statuses, strict=True):
        agent.state = replace(agent.state, status=status)  # type: ignore[arg-type]
    assert job_view(job, None)["status"] == expected
    job.phase = "stopping"
    assert job_view(job, None)["status"] == "stopping"

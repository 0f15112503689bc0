"""/jobs, /changes, /apply, /stop, /restart: the lines of a start go out as they happen, one JSON object each."""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from typing import Any

from starlette.requests import Request
from starlette.responses import JSONResponse, Response, StreamingResponse
from starlette.routing import Route

from teamwright.engine.auth import Gate
from teamwright.engine.deployments.applying import DRAIN, LONGEST_DRAIN, Applying
from teamwright.engine.deployments.jobs import Jobs
from teamwright.engine.deployments.owners import Owners
from teamwright.engine.deployments.targets import ALL, find_job, resolve
from teamwright.engine.liveness import Incarnation
from teamwright.engine.routes.answers import error_body
from teamwright.engine.store.secret_store import Secrets
from teamwright.errors import TeamwrightError, UserError
from teamwright.events import Event
from teamwright.jobs.deployer import Progress
from teamwright.jobs.plan import Plan

log = logging.getLogger("teamwright.engine")

Work = Callable[[Progress], Awaitable[dict[str, Any]]]


def routes(jobs: Jobs, applying: Applying, gate: Gate, all_stopped: Callable[[], bool], owners: Owners) -> list[Route]:
    """`all_stopped` is called when everything has stopped; it tells whether the engine now leaves.

    A start with an `owner` makes a job that ends with that process.
    """
    running: set[asyncio.Task[Any]] = set()

    def ordered(what: str, targets: list[str]) -> None:
        names = {target.partition("/")[0] for target in targets}
        job = names.pop() if len(names) == 1 else None
        jobs.bus.publish(Event(f"order.{what}", job if job != ALL else None, data={"targets": targets}))

    async def start(request: Request) -> Response:
        gate.operator(request)
        data = await _json(request)
        plan, secrets = _plan(data)
        owner = _owner(data)
        ordered("start", [plan.job])

        async def work(progress: Progress) -> dict[str, Any]:
            line = await jobs.start(plan, secrets, progress)
            if owner is not None and line["event"] == "done":
                owners.hold(plan.job, owner)
            return line

        return _lines(work, running)

    async def restart(request: Request) -> Response:
        gate.operator(request)
        data = await _json(request)
        if "plan" in data:
            plan, secrets = _plan(data)
            ordered("restart", [plan.job])
            return _lines(lambda progress: owners.through([plan.job], jobs.restart(plan, secrets, progress)), running)
        targets = _targets(data)
        ordered("restart", targets)

        async def again(progress: Progress) -> dict[str, Any]:
            names = [item.job.name for item in resolve(targets, jobs.state.jobs)]
            return await owners.through(names, jobs.restart_targets(targets, progress))

        return _lines(again, running)

    async def stop(request: Request) -> Response:
        gate.operator(request)
        targets = _targets(await _json(request))
        ordered("stop", targets)
        views = await jobs.stop(targets)
        leaving = all_stopped() if ALL in targets else False
        return JSONResponse({"jobs": views, "leaving": leaving})

    async def changes(request: Request) -> Response:
        gate.operator(request)
        plan, secrets = _plan(await _json(request))
        return JSONResponse(await applying.changes(plan, secrets))

    async def apply(request: Request) -> Response:
        gate.operator(request)
        data = await _json(request)
        plan, secrets = _plan(data)
        expect, drain = data.get("expect"), data.get("drain", DRAIN)
        if not isinstance(expect, str | None):
            raise UserError("expect is a revision")
        if not isinstance(drain, int | float) or isinstance(drain, bool) or not 0 <= drain <= LONGEST_DRAIN:
            raise UserError(f"drain is a number of seconds up to {LONGEST_DRAIN}")
        ordered("apply", [plan.job])
        return _lines(lambda progress: applying.apply(plan, secrets, progress, expect=expect, drain=drain), running)

    async def listing(request: Request) -> Response:
        gate.operator(request)
        return JSONResponse({"jobs": [jobs.view(job) for job in jobs.state.jobs.values()]})

    async def get(request: Request) -> Response:
        gate.operator(request)
        return JSONResponse(jobs.view(find_job(request.path_params["job"], jobs.state.jobs)))

    async def plan(request: Request) -> Response:
        gate.operator(request)
        return JSONResponse(find_job(request.path_params["job"], jobs.state.jobs).plan.to_dict())

    return [
        Route("/jobs", start, methods=["POST"]),
        Route("/jobs", listing, methods=["GET"]),
        Route("/jobs/{job}", get, methods=["GET"]),
        Route("/jobs/{job}/plan", plan, methods=["GET"]),
        Route("/changes", changes, methods=["POST"]),
        Route("/apply", apply, methods=["POST"]),
        Route("/stop", stop, methods=["POST"]),
        Route("/restart", restart, methods=["POST"]),
    ]


def _lines(work: Work, running: set[asyncio.Task[Any]]) -> Response:
    return StreamingResponse(_stream(work, running), media_type="application/x-ndjson")


async def _stream(work: Work, running: set[asyncio.Task[Any]]) -> AsyncIterator[bytes]:
    """What `work` reports, then its outcome. A client that goes before the end cancels it."""
    queue: asyncio.Queue[dict[str, Any] | None] = asyncio.Queue()
    task = asyncio.ensure_future(work(queue.put_nowait))
    running.add(task)
    task.add_done_callback(running.discard)
    task.add_done_callback(lambda _: queue.put_nowait(None))
    try:
        while (line := await queue.get()) is not None:
            yield _line(line)
        yield _line(_outcome(task))
    finally:
        # Not awaited here: the undoing must not hang on a connection that is gone.
        task.cancel()


def _outcome(task: asyncio.Task[dict[str, Any]]) -> dict[str, Any]:
    if task.cancelled():
        return {
            "event": "failed",
            "error": {
                "message": "the start was interrupted: somebody stopped the job",
                "type": "StartFailed",
                "hint": None,
                "tail": [],
                "agent": None,
                "status": 409,
            },
        }
    error = task.exception()
    if error is None:
        return task.result()
    if not isinstance(error, TeamwrightError):
        log.error("a start failed", exc_info=error)
    return {"event": "failed", "error": error_body(error)}


def _line(value: Mapping[str, Any]) -> bytes:
    return json.dumps(value, separators=(",", ":")).encode() + b"\n"


async def _json(request: Request) -> dict[str, Any]:
    try:
        found = await request.json()
    except ValueError:
        raise UserError("the body is not JSON") from None
    if not isinstance(found, dict):
        raise UserError("the body is not a JSON object")
    return found


def _plan(data: Mapping[str, Any]) -> tuple[Plan, Secrets]:
    try:
        plan = Plan.from_dict(data["plan"])
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise UserError(f"this is not a plan: {error}") from None
    secrets = data.get("secrets") or {}
    if not isinstance(secrets, dict) or not all(
        isinstance(names, dict) and all(isinstance(value, str) for value in names.values())
        for names in secrets.values()
    ):
        raise UserError("secrets are texts by agent and name")
    return plan, secrets


def _owner(data: Mapping[str, Any]) -> Incarnation | None:
    found = data.get("owner")
    try:
        return Incarnation.from_text(found) if found is not None else None
    except (ValueError, AttributeError):
        raise UserError("an owner is the pid, start time and boot id of a process") from None


def _targets(data: Mapping[str, Any]) -> list[str]:
    found = data.get("targets")
    if not isinstance(found, list) or not found or not all(isinstance(target, str) for target in found):
        raise UserError("targets is a list of JOB, JOB/AGENT, JOB/@GROUP or *")
    return found

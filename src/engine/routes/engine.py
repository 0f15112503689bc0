"""/livez, /readyz, /engine, /tokens: the engine about itself, and tokens for people."""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, Response
from starlette.routing import Route

from teamwright import __version__
from teamwright.engine.auth import Gate
from teamwright.engine.deployments.targets import find_job
from teamwright.engine.store.records import TokenRow
from teamwright.engine.store.state import EngineState
from teamwright.errors import EngineError, TeamwrightError, UserError
from teamwright.jobs.names import name_fault
from teamwright.registry.records import OUTSIDE
from teamwright.safety.tokens import ANY_AUDIENCE, ENGINE_AUDIENCE, Issuer, Role, unverified

#: Seconds a person's token is good for when nothing else is said, and at most.
TOKEN_TTL, LONGEST_TTL = 86_400.0, 366 * 86_400.0


def routes(
    state: EngineState,
    gate: Gate,
    issuer: Issuer,
    *,
    status: Callable[[], Mapping[str, Any]],
    waiting: Callable[[], str | None],
    stop: Callable[[], Awaitable[None]],
    restart: Callable[[str, str], None],
    stay: Callable[[], None],
    forward: Callable[[list[dict[str, Any]]], Awaitable[list[dict[str, Any]]]],
) -> list[Route]:
    """`status` is the JSON of GET /engine; `stop` ends all jobs and everything.

    `waiting` says what is still to come before all jobs of this home can be asked; None: nothing.
    `restart` replaces this engine by one of that version and fingerprint; `stay` keeps it without jobs; `forward`
    sends spans to more receivers, and gives how all of them fare.
    """

    async def alive(request: Request) -> Response:
        return PlainTextResponse("ok")

    async def ready(request: Request) -> Response:
        why = waiting()
        return PlainTextResponse("ok") if why is None else PlainTextResponse(why, status_code=503)

    async def show(request: Request) -> Response:
        gate.operator(request)
        try:
            sent_on = await forward([])
        except TeamwrightError:  # a collector that is being started again
            sent_on = []
        return JSONResponse({**status(), "forwarding": sent_on})

    async def end(request: Request) -> Response:
        gate.operator(request)
        data = await _json(request)
        if (active := [job.name for job in state.active()]) and data.get("force") is not True:
            raise EngineError(
                f"{len(active)} job{'s' if len(active) > 1 else ''} still running: {', '.join(active)}",
                status=409,
                hint="deploy stop --all, or --force",
            )
        await stop()
        return JSONResponse({"stopping": True})

    async def replace(request: Request) -> Response:
        gate.operator(request)
        data = await _json(request)
        restart(str(data.get("version") or __version__), str(data.get("fingerprint") or ""))
        return JSONResponse({"restarting": True})

    async def keep(request: Request) -> Response:
        gate.operator(request)
        stay()
        return JSONResponse(dict(status()))

    async def send_on(request: Request) -> Response:
        gate.operator(request)
        asked = (await _json(request)).get("endpoints")
        if not isinstance(asked, list) or not all(isinstance(one, dict) for one in asked):
            raise UserError("endpoints is a list of objects: url, headers, certificate, content")
        return JSONResponse({"forwarding": await forward(asked)})

    async def token(request: Request) -> Response:
        gate.operator(request)
        return JSONResponse(await _token(await _json(request), state, issuer), status_code=201)

    return [
        Route("/livez", alive, methods=["GET"]),
        Route("/readyz", ready, methods=["GET"]),
        Route("/engine", show, methods=["GET"]),
        Route("/engine/stop", end, methods=["POST"]),
        Route("/engine/restart", replace, methods=["POST"]),
        Route("/engine/stay", keep, methods=["POST"]),
        Route("/engine/forward", send_on, methods=["POST"]),
        Route("/tokens", token, methods=["POST"]),
    ]


async def _token(data: Mapping[str, Any], state: EngineState, issuer: Issuer) -> dict[str, Any]:
    """A token for a person: for one job's front door, or an operator's for everything; or to register an agent."""
    job, ttl, rpm = data.get("job"), data.get("ttl"), data.get("rpm")
    subject = data.get("subject") or "user"
    if ttl is None:
        ttl = TOKEN_TTL
    if not isinstance(ttl, int | float) or not 0 < ttl <= LONGEST_TTL:
        raise UserError(f"ttl is a number of seconds up to {LONGEST_TTL:g}")
    if not isinstance(subject, str) or "/" in subject or len(subject) > 200:
        raise UserError("a subject is a person's name, without slashes")
    if rpm is not None and (type(rpm) is not int or rpm < 1):
        raise UserError("rpm is a number of calls a minute, at least 1")
    if job is not None:
        if not isinstance(job, str):
            raise UserError("job is a name")
        find_job(job, state.jobs)
    role: Role = "user" if job is not None else "operator"
    audience = job or ANY_AUDIENCE
    agent, group = data.get("registration"), data.get("group")
    if agent is not None:
        for name in (agent, group):
            if name is not None and (fault := name_fault(str(name), identifier=True)):
                raise UserError(f"{name!r} {fault}")
        if job is not None:
            raise UserError("a registration token is for no job")
        role, audience, subject, job = "guest", ENGINE_AUDIENCE, f"{OUTSIDE}/{agent}", OUTSIDE
    token = issuer.mint(
        subject, audience, job=job, agent=agent, group=group if agent else None, role=role, ttl=float(ttl), rpm=rpm
    )
    claims = unverified(token)
    await state.add_token(TokenRow(claims.jti, subject, audience, role, job, claims.iat, claims.exp))
    return {
        "token": token,
        "id": claims.jti,
        "subject": subject,
        "role": role,
        "job": job,
        "rpm": rpm,
        "created_at": time.time(),
        "expires_at": claims.exp,
    }


async def _json(request: Request) -> dict[str, Any]:
    body = await request.body()
    try:
        found = await request.json() if body else {}
    except ValueError:
        raise UserError("the body is not JSON") from None
    if not isinstance(found, dict):
        raise UserError("the body is not a JSON object")
    return found

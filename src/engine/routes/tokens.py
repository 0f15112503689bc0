"""/tokens: making and revoking the tokens of people, and of agents that others start.

POST /tokens         {job, ttl, subject, rpm} or {registration, group, ttl} → the token, its id, role, end
GET  /tokens         → {"tokens": [{id, subject, role, job, created_at, expires_at, revoked_at, status}]}
POST /tokens/revoke  {"tokens": [ids, their beginnings, or tokens themselves]} → {"revoked": [the same rows]}
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from teamwright.engine.auth import Gate
from teamwright.engine.deployments.targets import find_job
from teamwright.engine.routes import asked
from teamwright.engine.store.records import TokenRow
from teamwright.engine.store.state import EngineState
from teamwright.engine.views import token_view
from teamwright.errors import EngineError, UnknownJob, UserError
from teamwright.events import Event
from teamwright.home import Home
from teamwright.jobs.names import name_fault
from teamwright.registry.records import OUTSIDE
from teamwright.safety.revoked import Revoked
from teamwright.safety.tokens import ANY_AUDIENCE, ENGINE_AUDIENCE, Issuer, Role, unverified

#: Seconds a person's token is good for when nothing else is said, and at most.
TOKEN_TTL, LONGEST_TTL = 86_400.0, 366 * 86_400.0
#: Letters of an id that are enough, where it is the only one.
_SHORTEST = 6
_ROLES = ("operator", "user", "guest")


def routes(
    home: Home,
    state: EngineState,
    gate: Gate,
    issuer: Issuer,
    publish: Callable[[Event], None],
    gone: Callable[[str], None],
) -> list[Route]:
    """`publish` tells of what was made and revoked; `gone` hears the id of each token that is good no more.

    The home's list of revoked tokens is written anew, from what the engine remembers.
    """
    revoked = Revoked.beside(home.epoch_file)
    revoked.restore(state.revoked, now=time.time())

    async def make(request: Request) -> Response:
        gate.operator(request)
        token, row, rpm = _made(await asked.body(request), state, issuer)
        await state.add_token(row)
        publish(_event("made", row))
        return JSONResponse({"token": token, **token_view(row), "rpm": rpm}, status_code=201)

    async def show(request: Request) -> Response:
        gate.operator(request)
        return JSONResponse({"tokens": [token_view(row) for row in await state.tokens()]})

    async def revoke(request: Request) -> Response:
        gate.operator(request)
        named = (await asked.body(request)).get("tokens")
        if not isinstance(named, list) or not named or not all(isinstance(one, str) and one for one in named):
            raise UserError("tokens: a list of ids of tokens, or of tokens themselves")
        known = await state.tokens()
        rows = {row.jti: row for row in (_named(name, known, issuer) for name in named)}
        # First the file that all read who check tokens: what was answered here is so, whatever comes then.
        try:
            revoked.add({row.jti: row.expires for row in rows.values()})
        except OSError as error:
            raise EngineError(f"nothing was revoked: {error.filename}: {error.strerror}", status=507) from None
        issuer.keep_operator_token(home)  # if it was that one
        now = time.time()
        ended = [replace(row, revoked=row.revoked or now) for row in rows.values()]
        for row in rows.values():
            await state.revoke_token(row, now)
            gone(row.jti)
            if row.revoked is None:
                publish(_event("revoked", row))
        return JSONResponse({"revoked": [token_view(row) for row in ended]})

    return [
        Route("/tokens", make, methods=["POST"]),
        Route("/tokens", show, methods=["GET"]),
        Route("/tokens/revoke", revoke, methods=["POST"]),
    ]


def _event(what: str, row: TokenRow) -> Event:
    return Event(f"token.{what}", row.job if row.role == "user" else None, data={"token": row.jti, "of": row.subject})


def _named(name: str, known: Sequence[TokenRow], issuer: Issuer) -> TokenRow:
    """The token of that id, of an id that begins so, or that token itself. Raises UnknownJob, UserError, Refused."""
    if "." in name:
        said = issuer.own(name)
        if said.role not in _ROLES:
            raise UserError("only tokens of people, and registration tokens, are revoked one by one")
        row = TokenRow(said.jti, said.sub, said.aud, said.role, said.job, said.iat, said.exp)
        return next((made for made in known if made.jti == said.jti), row)
    found = [row for row in known if row.jti == name] or [row for row in known if row.jti.startswith(name)]
    if not found:
        raise UnknownJob(f"no token {name[:80]} was made here", hint="deploy token list --all")
    if len(found) > 1 or (len(name) < _SHORTEST and found[0].jti != name):
        raise UserError(f"{name} is the beginning of {len(found)} ids, or too short", hint="give more of it")
    return found[0]


def _made(data: Mapping[str, Any], state: EngineState, issuer: Issuer) -> tuple[str, TokenRow, int | None]:
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
    return token, TokenRow(claims.jti, subject, audience, role, job, claims.iat, claims.exp), rpm

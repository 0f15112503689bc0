"""/jobs/{job}/sessions/forget: a conversation goes at all agents of its job, those that run and those that don't."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Sequence
from typing import Any

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from teamwright.agents.memory.conversations import conversations, held
from teamwright.agents.memory.forgetting import PATH, forget_files
from teamwright.agents.memory.sessions import SessionKey
from teamwright.engine.auth import Gate
from teamwright.engine.deployments.targets import find_job
from teamwright.engine.door.upstream import Upstream
from teamwright.engine.store.records import AgentRecord
from teamwright.engine.store.state import EngineState
from teamwright.errors import EngineError, PeerError, UnknownJob, UserError
from teamwright.home import Home

_HEADERS = {"content-type": "application/json"}
_ENDED = frozenset(["failed", "stopped", "halted", "lost"])


def routes(home: Home, state: EngineState, upstream: Upstream, gate: Gate) -> list[Route]:
    """For operators."""

    async def forget(request: Request) -> Response:
        gate.operator(request)
        job = find_job(request.path_params["job"], state.jobs)
        key = _key(await request.json())
        known = await asyncio.to_thread(conversations, home, job.name)
        conversation = next((each for each in known if each.key == key), None)
        if conversation is None:
            raise UnknownJob(f"there is no session {key.session!r} in job {job.name}", hint="deploy sessions list")
        asked = await asyncio.to_thread(held, home, conversation)
        running = {name: [agent for agent in job.processes(name) if _runs(agent)] for name in asked}
        for name, agents in running.items():
            for agent in agents:
                await _ask(upstream, agent, asked[name], look=True)
        gone = 0
        for name, keys in asked.items():
            for agent in running[name]:  # their words are in one file, their tasks are not
                gone += await _ask(upstream, agent, keys)
            if not running[name]:
                gone += await asyncio.to_thread(forget_files, home, job.name, name, keys)
        return JSONResponse({"job": job.name, "session": key.session, "agents": sorted(asked), "exchanges": gone})

    return [Route("/jobs/{job}/sessions/forget", forget, methods=["POST"])]


def _runs(agent: AgentRecord) -> bool:
    return agent.state.status not in _ENDED


async def _ask(upstream: Upstream, agent: AgentRecord, keys: Sequence[SessionKey], *, look: bool = False) -> int:
    """Have an agent forget; how many exchanges that were. Raises EngineError when it doesn't."""
    body = json.dumps({"keys": keys, "look": look}).encode()
    try:
        async with upstream.post(agent, body, _HEADERS, target=PATH) as response:
            found = json.loads(await response.read()) if response.status in (200, 409) else {}
    except PeerError as error:
        raise EngineError(f"{error.message}: the session can't be deleted now", status=503) from None
    if response.status == 409:
        raise EngineError(f"the session is in use: {agent.agent} works on it", status=409, hint="try when it is done")
    if response.status != 200:
        raise EngineError(f"agent {agent.agent} answered with HTTP {response.status}", status=502)
    return int(found["exchanges"])


def _key(data: Any) -> SessionKey:
    try:
        return SessionKey(str(data["subject"]), str(data["user"]), str(data["session"]))
    except (KeyError, TypeError):
        raise UserError("session, subject and user name a session") from None

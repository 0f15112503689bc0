"""The running team as an MCP server: whoever speaks MCP (Claude Code, an IDE) finds agents and asks them.

Two tools, named and shaped as the agents' own: `find_agents` and `query_agent`. Each call goes through the engine's
registry and front door with the caller's token, and each query is a trace of its own. The engine may come and go.
"""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import Callable, Collection, Mapping
from contextlib import suppress
from typing import Any

from mcp import types
from mcp.server.lowlevel import Server

from teamwright import __version__
from teamwright.agents.discovery.cards import NOTE, found_from
from teamwright.client import launch
from teamwright.client.client import Client
from teamwright.client.running.async_job import AsyncJob, AsyncStream
from teamwright.client.running.held import Held, Question
from teamwright.errors import EngineUnavailable, TeamwrightError, UserError
from teamwright.home import Home

log = logging.getLogger(__name__)

#: Agents that one search shows at most.
_MOST = 20
#: Characters of a piece of the answer that is told as progress.
_PROGRESS = 200
_INSTRUCTIONS = (
    "A team of AI agents that run on this machine. find_agents tells who is there and what they can do; query_agent"
    " asks one of them. Keep the `session` of an answer to go on with that conversation."
)
_FIND = types.Tool(
    name="find_agents",
    description="Find agents that run now and can do something. Without skill and text: all that may be asked.",
    inputSchema={
        "type": "object",
        "properties": {
            "skill": {"type": "string", "description": "a skill's id, name or tag, such as weather"},
            "text": {"type": "string", "description": "what the agent should be able to do, in words"},
        },
        "additionalProperties": False,
    },
    annotations=types.ToolAnnotations(title="Find agents", readOnlyHint=True, openWorldHint=False),
)
_QUERY = types.Tool(
    name="query_agent",
    description="Ask an agent a question or give it a task, and get its answer.",
    inputSchema={
        "type": "object",
        "properties": {
            "agent": {
                "type": "string",
                "description": "an id that find_agents gave, job/agent; a job is its entry point",
            },
            "message": {"type": "string", "description": "the question or task, complete in itself"},
            "session": {"type": "string", "description": "of an earlier answer, to go on with that conversation"},
            "task": {
                "type": "string",
                "description": "of an answer that asked something back: this is the reply",
            },
        },
        "required": ["agent", "message"],
        "additionalProperties": False,
    },
    annotations=types.ToolAnnotations(title="Ask an agent", readOnlyHint=False, openWorldHint=True),
)


class Team:
    """The tools, over the engine of one home. `jobs` are all that may be seen; none given = every job."""

    def __init__(self, home: Home, environ: Mapping[str, str], jobs: Collection[str] = ()) -> None:
        self._home = home
        self._environ = environ
        self._jobs = frozenset(jobs)
        self._asking: set[asyncio.Task[dict[str, Any]]] = set()

    async def aclose(self) -> None:
        """Give up what is still being asked, and wait until the agents have heard of it."""
        for work in self._asking:
            work.cancel()
        await asyncio.gather(*self._asking, return_exceptions=True)

    async def find(self, skill: str, text: str, token: str | None = None) -> dict[str, Any]:
        """What `find_agents` gives. Raises TeamwrightError."""
        found = await asyncio.to_thread(self._search, skill.strip(), text.strip(), token)
        return {
            "found": len(found),
            "how_to_ask": "query_agent(agent=id, message=…)" if found else "nobody fits: try other words, or none",
            "note": NOTE,
            "agents": found,
        }

    async def query(
        self,
        agent: str,
        message: str,
        *,
        session: str | None = None,
        task: str | None = None,
        context: Mapping[str, str] | None = None,
        labels: Mapping[str, str] | None = None,
        token: str | None = None,
        on_piece: Callable[[str], Any] | None = None,
    ) -> dict[str, Any]:
        """What `query_agent` gives. `context` is the caller's trace, as HTTP headers. Raises TeamwrightError.

        Cancelled, the work at the agents is cancelled too.
        """
        job, _, name = agent.partition("/")
        if not job or (self._jobs and job not in self._jobs):
            raise UserError(f"there is no agent {agent!r} here", hint="find_agents tells the ids")
        if not message.strip():
            raise UserError("the message is empty")
        client = await asyncio.to_thread(self._client, token)
        if task and not session:
            session = await asyncio.to_thread(client.conversation, job, task, name or None)
        asked = AsyncJob(Held(client, self._home, job, ours=False))
        question = Question(message, name or None, session, None, dict(labels or {}), (), task, dict(context or {}))
        # A task of its own: MCP's way of cancelling would cut off the telling of the agents too.
        work = asyncio.create_task(_ask(asked, AsyncStream(asked, question, None, check=False), on_piece))
        self._asking.add(work)
        work.add_done_callback(self._asking.discard)
        try:
            return await asyncio.shield(work)
        except asyncio.CancelledError:
            work.cancel()
            raise

    def _search(self, skill: str, text: str, token: str | None) -> list[dict[str, Any]]:
        with self._client(token) as client:
            for tag, words in ((skill, text), ("", f"{skill} {text}".strip())):
                entries = client.agents(skill=tag, q=words)
                found = [found_from(entry) for entry in entries if not self._jobs or entry["job"] in self._jobs]
                if found or not skill:
                    break
        found.sort(key=lambda agent: not agent.healthy)
        return [agent.to_dict() for agent in found[:_MOST]]

    def _client(self, token: str | None) -> Client:
        environ = {**self._environ, **({"TEAMWRIGHT_TOKEN": token} if token else {})}
        try:
            return launch.connect(self._home, start=False, environ=environ)
        except EngineUnavailable as error:
            raise EngineUnavailable(error.message, status=503, hint="no agent runs: deploy start FILE") from None


async def _ask(asked: AsyncJob, stream: AsyncStream, on_piece: Callable[[str], Any] | None) -> dict[str, Any]:
    try:
        async for piece in stream:
            if on_piece is not None:
                await on_piece(piece)
    finally:
        await stream.aclose()
        await asked.aclose()
    return _answer(stream)


def _answer(stream: AsyncStream) -> dict[str, Any]:
    reply = stream.reply
    answer: dict[str, Any] = {
        "answer": reply.answer,
        "agent": f"{reply.result.job}/{reply.agent}",
        "state": reply.state,
        "session": reply.session,
        "trace_id": reply.trace_id,
    }
    if not reply.ok:
        answer["error"] = reply.result.reason or "error"
    if reply.asks:
        answer["task"] = reply.result.task_id
    if reply.files:
        answer["files"] = reply.result.to_dict()["files"]
    return answer


def build(team: Team, *, token: Callable[[Any], str | None] = lambda request: None) -> Server[Any, Any]:
    """The MCP server; `token` is the caller's, from the HTTP request."""
    server: Server[Any, Any] = Server("teamwright", version=__version__, instructions=_INSTRUCTIONS)

    @server.list_tools()  # type: ignore[no-untyped-call, untyped-decorator]
    async def tools() -> list[types.Tool]:
        return [_FIND, _QUERY]

    @server.call_tool()  # type: ignore[untyped-decorator]
    async def call(name: str, arguments: dict[str, Any]) -> types.CallToolResult:
        context = server.request_context
        bearer = token(context.request)
        try:
            if name == _FIND.name:
                return _result(await team.find(arguments.get("skill", ""), arguments.get("text", ""), bearer))
            if name != _QUERY.name:
                raise UserError(f"no tool {name!r}", hint=f"there are {_FIND.name} and {_QUERY.name}")
            found = await team.query(
                arguments["agent"],
                arguments["message"],
                session=arguments.get("session"),
                task=arguments.get("task"),
                context=_trace_of(context.meta),
                labels=_labels(context.session.client_params),
                token=bearer,
                on_piece=_progress(context),
            )
            return _result(found, failed="error" in found)
        except TeamwrightError as error:
            hint = f" ({error.hint})" if error.hint else ""
            return _result({"error": f"{error.message}{hint}"}, failed=True)

    return server


def _result(found: dict[str, Any], *, failed: bool = False) -> types.CallToolResult:
    text = found["answer"] if failed and "answer" in found else json.dumps(found, ensure_ascii=False)
    return types.CallToolResult(
        content=[types.TextContent(type="text", text=text)], structuredContent=found, isError=failed
    )


def _progress(context: Any) -> Callable[[str], Any] | None:
    """Tells the client of each piece, if it wants to know: that also keeps it from giving up."""
    wanted = context.meta.progressToken if context.meta is not None else None
    if wanted is None:
        return None
    count = 0

    async def tell(piece: str) -> None:
        nonlocal count
        count += 1
        with suppress(Exception):  # it has gone: the call is about to be cancelled
            await context.session.send_progress_notification(
                wanted, count, message=piece[:_PROGRESS], related_request_id=str(context.request_id)
            )

    return tell


def _trace_of(meta: Any) -> dict[str, str]:
    """The client's trace, where the MCP conventions put it: beside the progress token."""
    given = (meta.model_extra or {}) if meta is not None else {}
    return {key: given[key] for key in ("traceparent", "tracestate") if isinstance(given.get(key), str)}


def _labels(params: Any) -> dict[str, str]:
    name = params.clientInfo.name if params is not None else ""
    return {"mcp_client": str(name)[:60]} if name else {}

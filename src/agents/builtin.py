"""The tools with which an agent's model gets at others: `query_agent`, `list_peers` and `find_agents`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from teamwright.agents.discovery.cards import NOTE, plain
from teamwright.agents.spec import PeerSpec
from teamwright.backends.api import File, PeerAnswer, Tool, Turn
from teamwright.errors import ToolError
from teamwright.tracing import vocabulary as v

QUERY_AGENT = "query_agent"
LIST_PEERS = "list_peers"
FIND_AGENTS = "find_agents"
#: Characters of what is looked for, and of a description that is shown.
_SEARCH, _DESCRIPTION = 500, 2000


def peer_tools(peers: Sequence[PeerSpec], *, finds: bool = False) -> list[Tool]:
    """The tools for asking `peers`, and with `finds` for finding others; none where there is nobody to ask."""
    if not peers and not finds:
        return []
    ids = [peer.id for peer in peers]
    whom: dict[str, Any] = {"type": "string", "enum": ids, "description": "whom to ask"}
    if finds:
        known = f"{', '.join(ids)}, or an id" if ids else "an id"
        whom = {"type": "string", "description": f"whom to ask: {known} that {FIND_AGENTS} gave, such as job/agent"}
    tools = [
        Tool(
            name=QUERY_AGENT,
            description="Ask another agent a question or give it a task, and get its answer.",
            parameters={
                "type": "object",
                "properties": {
                    "agent": whom,
                    "message": {"type": "string", "description": "the question or task, complete in itself"},
                    "files": {
                        "type": "array",
                        "items": {"type": "string"},
                        "description": "names of files that came with the message and go along",
                    },
                },
                "required": ["agent", "message"],
                "additionalProperties": False,
            },
            call=_query_agent,
            source="peer",
        ),
    ]
    if peers:
        tools.append(
            Tool(
                name=LIST_PEERS,
                description="The agents that query_agent can reach: what each is called and what it can do.",
                parameters={"type": "object", "properties": {}, "additionalProperties": False},
                call=_list_peers,
                source="builtin",
            )
        )
    return [*tools, _FINDING] if finds else tools


async def _query_agent(arguments: Mapping[str, Any], turn: Turn) -> PeerAnswer:
    agent, message = arguments.get("agent"), arguments.get("message")
    if not isinstance(agent, str) or not isinstance(message, str) or not message.strip():
        raise ToolError("wrong arguments: query_agent takes `agent` and `message`, both text")
    return await turn.ask_peer(agent, message, files=_chosen(arguments.get("files"), turn.files))


def _chosen(names: Any, files: Sequence[File]) -> list[File]:
    """The files of the message that go along. Raises ToolError for a name that isn't among them."""
    if not names:
        return []
    there = {file.name: file for file in files}
    if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
        raise ToolError("wrong arguments: `files` is a list of names")
    if missing := [name for name in names if name not in there]:
        raise ToolError(f"no file {', '.join(missing)} came with the message; there are {', '.join(there) or 'none'}")
    return [there[name] for name in names]


async def _list_peers(arguments: Mapping[str, Any], turn: Turn) -> list[dict[str, Any]]:
    return [
        {
            "agent": peer.id,
            "name": plain(peer.name),
            "description": plain(peer.description, _DESCRIPTION),
            "skills": [plain(skill.get("name", "")) for skill in peer.skills],
        }
        for peer in await turn.peers()
    ]


async def _find_agents(arguments: Mapping[str, Any], turn: Turn) -> dict[str, Any]:
    skill, text = arguments.get("skill") or "", arguments.get("text") or ""
    if not isinstance(skill, str) or not isinstance(text, str):
        raise ToolError("wrong arguments: find_agents takes `skill` and `text`, both text")
    found = await turn.find_agents(skill[:_SEARCH], text[:_SEARCH])
    turn.tracer.current().set({v.AGENTS_FOUND: len(found)})
    return {
        "found": len(found),
        "how_to_ask": f"{QUERY_AGENT}(agent=id, message=…)" if found else "nobody fits: try other words, or none",
        "note": NOTE,
        "agents": [agent.to_dict() for agent in found],
    }


_FINDING = Tool(
    name=FIND_AGENTS,
    description=(
        "Find agents that run now and can do something. Gives ids for query_agent, what each agent's card says it can"
        " do, and whether it is well. Without skill and text: all that may be asked."
    ),
    parameters={
        "type": "object",
        "properties": {
            "skill": {"type": "string", "description": "a skill's id, name or tag, such as weather"},
            "text": {"type": "string", "description": "what the agent should be able to do, in words"},
        },
        "additionalProperties": False,
    },
    call=_find_agents,
    source="builtin",
)

"""The tools that every agent with peers has: `query_agent` and `list_peers`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from teamwright.agents.spec import PeerSpec
from teamwright.backends.api import File, PeerAnswer, Tool, Turn
from teamwright.errors import ToolError

QUERY_AGENT = "query_agent"
LIST_PEERS = "list_peers"


def peer_tools(peers: Sequence[PeerSpec]) -> list[Tool]:
    """The tools for asking `peers`; none where there is nobody to ask."""
    if not peers:
        return []
    ids = [peer.id for peer in peers]
    return [
        Tool(
            name=QUERY_AGENT,
            description="Ask another agent a question or give it a task, and get its answer.",
            parameters={
                "type": "object",
                "properties": {
                    "agent": {"type": "string", "enum": ids, "description": "whom to ask"},
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
        Tool(
            name=LIST_PEERS,
            description="The agents that query_agent can reach: what each is called and what it can do.",
            parameters={"type": "object", "properties": {}, "additionalProperties": False},
            call=_list_peers,
            source="builtin",
        ),
    ]


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
            "name": peer.name,
            "description": peer.description,
            "skills": [str(skill.get("name", "")) for skill in peer.skills],
        }
        for peer in await turn.peers()
    ]

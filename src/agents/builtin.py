"""The tools that every agent with peers has: `query_agent` and `list_peers`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from teamwright.agents.spec import PeerSpec
from teamwright.backends.api import Tool, Turn
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


async def _query_agent(arguments: Mapping[str, Any], turn: Turn) -> str:
    agent, message = arguments.get("agent"), arguments.get("message")
    if not isinstance(agent, str) or not isinstance(message, str) or not message.strip():
        raise ToolError("wrong arguments: query_agent takes `agent` and `message`, both text")
    return (await turn.ask_peer(agent, message)).text


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

"""`ask_user`: a tool with which a model asks whoever sent the message, and goes on with the answer."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from teamwright.backends.api import Tool, Turn
from teamwright.errors import ToolError

ASK_USER = "ask_user"
#: Seconds; the agent's own limit for tasks that wait for somebody comes first.
_PATIENCE = 7 * 24 * 3600.0


def ask_user_tool() -> Tool:
    """The tool."""
    return Tool(
        name=ASK_USER,
        description="Ask the person who sent the message a question, and get their answer. It may take long.",
        parameters={
            "type": "object",
            "properties": {"question": {"type": "string", "description": "one question, complete in itself"}},
            "required": ["question"],
            "additionalProperties": False,
        },
        call=_ask,
        timeout=_PATIENCE,
        source="builtin",
    )


async def _ask(arguments: Mapping[str, Any], turn: Turn) -> str:
    question = arguments.get("question")
    if not isinstance(question, str) or not question.strip():
        raise ToolError("wrong arguments: ask_user takes `question`, a text")
    return await turn.ask_user(question)

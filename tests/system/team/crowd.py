"""Agents of a mesh that ask whom they are told to, all at once; and a tool that takes longer for short names."""

from __future__ import annotations

import asyncio
import json

from teamwright import Agent, Turn, tool


class Member(Agent):
    """Its text is JSON: a `word` to say, and under `ask` what to ask of others. Says its own word and theirs."""

    async def run(self, turn: Turn) -> str:
        wanted = json.loads(turn.text)
        answers = await asyncio.gather(
            *(turn.ask_peer(peer, json.dumps(question)) for peer, question in wanted.get("ask", {}).items())
        )
        return " ".join([wanted["word"], *(answer.text for answer in answers)])


@tool(tags=["weather"])
async def weather(city: str) -> str:
    """The weather in a city."""
    await asyncio.sleep(0.1 + 0.5 / len(city))
    return f"{city} has {sum(map(ord, city))} clouds"

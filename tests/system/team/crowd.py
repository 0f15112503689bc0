"""Agents of a mesh that ask whom they are told to, all at once; and a tool whose calls wait for each other."""

from __future__ import annotations

import asyncio
import json

from teamwright import Agent, Turn, tool
from teamwright.tracing.runs import current_run


class Member(Agent):
    """Its text is JSON: a `word` to say, and under `ask` what to ask of others. Says its own word and theirs."""

    async def run(self, turn: Turn) -> str:
        wanted = json.loads(turn.text)
        answers = await asyncio.gather(
            *(turn.ask_peer(peer, json.dumps(question)) for peer, question in wanted.get("ask", {}).items())
        )
        return " ".join([wanted["word"], *(answer.text for answer in answers)])


#: Calls of the tool in each run; none returns before all have begun.
TOGETHER = 4
_meetings: dict[str, asyncio.Barrier] = {}


@tool(tags=["weather"])
async def weather(city: str) -> str:
    """The weather in a city."""
    run = current_run()
    assert run is not None
    meeting = _meetings.setdefault(run.run_id, asyncio.Barrier(TOGETHER))
    async with asyncio.timeout(60):
        await meeting.wait()
    return f"{city} has {sum(map(ord, city))} clouds"

"""Agents that remember: each says all words of its conversation so far, the front those of the back as well."""

from __future__ import annotations

from teamwright import Agent, Turn


class Keeper(Agent):
    """Says what it heard in this conversation."""

    async def run(self, turn: Turn) -> str:
        heard = [word.text for word in turn.history if word.role == "user"]
        mine = " ".join([*heard, turn.text])
        if turn.run.agent == "back":
            return mine
        return f"{mine} | {(await turn.ask_peer('back', turn.text)).text}"

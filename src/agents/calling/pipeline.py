"""A pipeline, run by the runtime of its first agent: no model decides who gets what.

Each stage gets the result of the stage before it, the first one the message itself. Agents of one stage work at the
same time; their results are joined in the order declared, whichever ends first. The last result is the answer.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, cast

from teamwright.agents.agent import Agent, answer_of
from teamwright.agents.spec import AgentSpec
from teamwright.backends.api import Acquaintance, Answer, File, Peer, PeerAnswer, Turn
from teamwright.errors import PeerError

#: Between the results of agents that worked at the same time.
BETWEEN = "\n\n"


def in_pipeline(spec: AgentSpec, agent: Agent) -> Agent:
    """The agent itself, or the pipeline that it is the first of."""
    return Pipeline(agent, spec.agent, spec.stages) if spec.stages else agent


@dataclass(frozen=True, slots=True)
class Result:
    """What one agent handed on."""

    text: str
    files: tuple[File, ...]
    answer: Answer


class Pipeline(Agent):
    """Looks like an agent from outside; `agent` does its own stage, the others are asked as peers."""

    def __init__(self, agent: Agent, own: str, stages: Sequence[Sequence[str]]) -> None:
        super().__init__()
        self.name, self.description = agent.name, agent.description
        self._agent = agent
        self._own = own
        self._stages = stages

    async def run(self, turn: Turn) -> Answer:
        """Handle one message, stage after stage. Raises what the first agent that fails raises."""
        text, files = turn.text, tuple(turn.files)
        results: list[Result] = []
        for number, stage in enumerate(self._stages):
            if number and not (text.strip() or files):
                raise PeerError(
                    f"the pipeline ends at {_names(self._stages[number - 1])}: there is no result to hand on to"
                    f" {_names(stage)}",
                    reason="empty_result",
                )
            results = await _together([self._work(agent, turn, text, files) for agent in stage])
            text = BETWEEN.join(result.text for result in results if result.text)
            files = tuple(file for result in results for file in result.files)
        # A last stage of one says what it said, data included; several can only be joined.
        return results[0].answer if len(results) == 1 else Answer(text, files)

    async def _work(self, agent: str, turn: Turn, text: str, files: Sequence[File]) -> Result:
        if agent == self._own:
            answer = await answer_of(self._agent, cast(Turn, _OwnStage(turn)))
        else:
            said = await turn.ask_peer(agent, text, files=files)
            answer = Answer(said.text, said.files, said.data)
        return Result(_text(answer), answer.files, answer)


class _OwnStage:
    """The turn as the first agent's own work sees it: nobody to ask, and what it streams is not the answer yet."""

    def __init__(self, turn: Turn) -> None:
        self._turn = turn

    def __getattr__(self, name: str) -> Any:
        return getattr(self._turn, name)

    async def peers(self) -> Sequence[Peer]:
        return ()

    async def find_agents(self, skill: str = "", text: str = "") -> Sequence[Acquaintance]:
        raise PeerError("in a pipeline the runtime hands results on: nobody is found", reason="unknown_peer")

    async def ask_peer(self, agent: str, message: str, *, files: Sequence[File] = ()) -> PeerAnswer:
        raise PeerError(f"{agent!r} is not asked: in a pipeline the runtime hands results on", reason="unknown_peer")

    async def stream(self, text: str) -> None:
        """Kept back: the answer of a pipeline is that of its last stage."""


async def _together(work: Sequence[Any]) -> list[Result]:
    """All results in the order given; the first failure ends the others and is raised as it is."""
    if len(work) == 1:
        return [await work[0]]
    tasks = [asyncio.ensure_future(each) for each in work]
    try:
        return list(await asyncio.gather(*tasks))
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


def _text(answer: Answer) -> str:
    """The words of a result, its data as JSON after them: as a message with both parts would be read."""
    data = (
        "" if answer.data is None else json.dumps(_plain(answer.data), ensure_ascii=False, default=str, sort_keys=True)
    )
    return "\n".join(part for part in (answer.text, data) if part)


def _plain(value: Any) -> Any:
    """Data as it reads alike wherever it was made: on the wire every number is a float."""
    if isinstance(value, Mapping):
        return {str(key): _plain(each) for key, each in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(each) for each in value]
    return int(value) if isinstance(value, float) and value.is_integer() else value


def _names(stage: Sequence[str]) -> str:
    return " and ".join(repr(agent) for agent in stage)

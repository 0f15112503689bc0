"""`Agent`: the class that users derive theirs from."""

from __future__ import annotations

import inspect
from collections.abc import AsyncIterator, Mapping
from typing import Any, ClassVar, cast

from teamwright.agents.answers import answer_from
from teamwright.backends import structured
from teamwright.backends.api import Answer, Backend, Turn
from teamwright.backends.inside import scope as inside
from teamwright.backends.threads import in_thread, in_threads
from teamwright.errors import TeamwrightError

#: What `run` may give back: an Answer, its text, its data, or None for nothing to say.
Result = Answer | str | Mapping[str, Any] | None


class Agent:
    """One agent: a name, a prompt, tools, and what thinks.

        class WeatherAgent(Agent):
            \"""Answers questions about the weather.\"""      # the description on its card
            name = "Weather Agent"
            prompt = "You are a weather assistant."

            @tool
            async def get_weather(self, city: str) -> str: ...

    `config` is what stands under `config:` in the job file; keys named like a class attribute set it.
    Override `run` for logic without a model, or give `executor = MyAgentExecutor`: any a2a-sdk executor, unchanged.
    """

    name: str = ""
    description: str = ""
    prompt: str = ""
    version: str = "1.0.0"
    #: A JSON Schema of an object: every answer carries data that fits it. The job file's goes first.
    output_schema: Mapping[str, Any] | None = None
    skills: ClassVar[tuple[Mapping[str, Any], ...]] = ()
    #: An a2a-sdk AgentExecutor, or its class.
    executor: Any = None

    def __init__(self, **config: Any) -> None:
        self.config: Mapping[str, Any] = config
        self._backend: Backend | None = None
        self._instrument = False
        for key in ("name", "description", "prompt", "version"):
            if isinstance(config.get(key), str):
                setattr(self, key, config[key])

    @property
    def backend(self) -> Backend:
        """What thinks for this agent; there once the agent has started."""
        backend: Backend | None = self.__dict__.get("_backend")
        if backend is None:
            raise TeamwrightError("this agent has not been started yet, so it has no backend")
        return cast(Backend, _Thinking(backend))

    async def run(self, turn: Turn) -> Result:
        """Handle one message. The default hands it to the backend; a generator of str streams its answer."""
        return await self.backend.run(turn)


class _Thinking:
    """The backend as the agent's own code has it: it makes its spans itself, so nobody looks inside."""

    def __init__(self, backend: Backend) -> None:
        self._backend = backend

    async def run(self, turn: Turn) -> Answer:
        with inside.entered(None):
            return await self._backend.run(turn)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._backend, name)


def description_of(agent: Agent) -> str:
    """The agent's own description, else the first paragraph of its class's docstring."""
    if agent.description:
        return agent.description
    if type(agent) is Agent:
        return ""
    text = inspect.cleandoc(type(agent).__doc__ or "")
    return " ".join(text.split("\n\n")[0].split())


async def answer_of(agent: Agent, turn: Turn) -> Answer:
    """Run the agent on a turn and make an Answer of whatever it gives back. A sync `run` works in a thread.

    Raises structured.Unfit when the agent has an `output_schema` that the answer does not fit.
    """
    if agent.__dict__.get("_instrument") and type(agent).run is not Agent.run:
        from teamwright.backends.observed import watch

        async with watch(turn, here=True):
            answer = await _answer_of(agent, turn)
    else:
        answer = await _answer_of(agent, turn)
    return structured.conform(answer, agent.output_schema) if agent.output_schema is not None else answer


async def _answer_of(agent: Agent, turn: Turn) -> Answer:
    run = agent.run
    if inspect.iscoroutinefunction(run) or inspect.isasyncgenfunction(run):
        made: Any = run(turn)
    else:
        made = await in_thread(run, turn)
    if inspect.isgenerator(made):
        made = in_threads(made)
    if isinstance(made, AsyncIterator):
        pieces: list[str] = []
        async for piece in made:
            pieces.append(str(piece))
            await turn.stream(str(piece))
        return Answer("".join(pieces))
    return answer_from(await made if inspect.isawaitable(made) else made)

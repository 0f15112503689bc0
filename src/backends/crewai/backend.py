"""The backend `crewai`: one agent of CrewAI, or a whole crew that a function makes.

The models are asked by our own client (any server with chat completions), which CrewAI gets as a model class; a crew
may bring models of its own, which CrewAI's events then tell of.
"""

from __future__ import annotations

import asyncio
import contextvars
import importlib
import inspect
import tempfile
import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any, ClassVar

from teamwright.backends import structured
from teamwright.backends.api import Answer, BackendConfig, Tool, Turn
from teamwright.backends.asking import ASK_USER, ask_user_tool
from teamwright.backends.catalog import CATALOG
from teamwright.backends.crewai import failures, vendor
from teamwright.backends.crewai.bridge import Bridge, NothingSaid
from teamwright.backends.crewai.watching import Watcher, watch
from teamwright.backends.openai import OpenAIBackend
from teamwright.backends.options import Options
from teamwright.errors import TeamwrightError, UserError

_GOAL = "Answer what you are asked."


class _Models(OpenAIBackend):
    """Our own client, with the options of this backend."""

    name: ClassVar[str] = "crewai"


class CrewAIBackend:
    """Thinks with an agent of CrewAI, or with a crew."""

    name: ClassVar[str] = "crewai"

    def __init__(self) -> None:
        self._config = BackendConfig("", "", None, {}, {}, ".")
        self._models: OpenAIBackend | None = None
        self._crew: Callable[..., Any] | None = None
        self._folder: tempfile.TemporaryDirectory[str] | None = None
        self._role, self._goal, self._deny = "", _GOAL, tuple[str, ...]()

    async def open(self, config: BackendConfig) -> None:
        """Read the options and import CrewAI, which takes seconds. Raises UserError."""
        options = Options(self.name, config.options, CATALOG[self.name].options or ())
        self._config = config
        self._role = options.text("role") or config.agent
        self._goal = options.text("goal") or _GOAL
        self._deny = options.words("deny")
        made_by = options.function("crew")
        if config.model or made_by is None:
            models = _Models()
            await models.open(config)
            self._models = models
        folder = config.state
        if not folder:
            self._folder = tempfile.TemporaryDirectory(prefix="teamwright-crewai-")
            folder = self._folder.name
        await asyncio.to_thread(vendor.load, folder)
        if made_by is not None:
            self._crew = _function(made_by, options)

    async def close(self) -> None:
        """Give back the client and the folder."""
        if self._models is not None:
            await self._models.close()
        if self._folder is not None:
            self._folder.cleanup()

    async def run(self, turn: Turn) -> Answer:
        """One message. With an output schema, an answer that doesn't fit is sent back once."""
        schema = self._config.output_schema
        history = [(word.role, word.text) for word in turn.history]
        answer = await self._exchange(turn, history, turn.text)
        if schema is None:
            return answer
        try:
            return structured.conform(answer, schema)
        except structured.Unfit as error:
            again = f"{error.message}. {structured.instruction(schema)}"
        history += [("user", turn.text), ("agent", answer.text)]
        mended = await self._exchange(turn, history, again)
        return structured.conform(replace(mended, files=(*answer.files, *mended.files)), schema)

    async def _exchange(self, turn: Turn, history: Sequence[tuple[str, str]], text: str) -> Answer:
        tools = list(turn.tools)
        if not any(tool.name == ASK_USER for tool in tools):
            tools.append(ask_user_tool())
        speaks = self._crew is None and self._config.output_schema is None
        bridge = Bridge(turn, tools, self._models, speaks=speaks, stops=vendor.stopped)
        watcher = Watcher(turn, bridge, self._deny, crew=self._crew is not None)

        def work() -> str:
            with watch(watcher):
                if self._crew is not None:
                    return self._kick_off_crew(bridge, watcher, tools, history, text)
                return self._kick_off_agent(bridge, watcher, tools, history, text)

        error: BaseException | None = None
        try:
            said = await _in_thread(work, f"crewai:{turn.run.run_id}")
        except Exception as problem:
            if isinstance(bridge.error, NothingSaid):
                said = ""
            elif isinstance(bridge.error, Exception):
                error = bridge.error
                raise bridge.error from None
            else:
                error = failures.typed(problem)
                raise error from None
        except BaseException as cancelled:
            error = cancelled
            raise
        finally:
            bridge.stop()
            await bridge.close()
            await asyncio.shield(asyncio.to_thread(watcher.settle, error))
        return Answer(said, tuple(bridge.files.values()))

    def _kick_off_agent(
        self,
        bridge: Bridge,
        watcher: Watcher,
        tools: Sequence[Tool],
        history: Sequence[tuple[str, str]],
        text: str,
    ) -> str:
        from crewai import Agent

        agent = Agent(
            role=self._role,
            goal=self._goal,
            backstory=self._config.system or "You answer what you are asked.",
            llm=vendor.model(bridge, watcher, self._config.model or ""),
            tools=[vendor.tool(bridge, watcher, tool) for tool in tools],
            max_iter=bridge.turn.limits.turns + 1,  # ours comes first
            max_retry_limit=0,
            cache=False,
            verbose=False,
        )
        words = [{"role": "assistant" if role == "agent" else "user", "content": said} for role, said in history]
        return str(agent.kickoff([*words, {"role": "user", "content": text}]).raw)

    def _kick_off_crew(
        self,
        bridge: Bridge,
        watcher: Watcher,
        tools: Sequence[Tool],
        history: Sequence[tuple[str, str]],
        text: str,
    ) -> str:
        assert self._crew is not None
        offered: Mapping[str, Callable[[], Any]] = {
            "llm": lambda: self._llm(bridge, watcher),
            "tools": lambda: [vendor.tool(bridge, watcher, tool) for tool in tools],
        }
        wanted = inspect.signature(self._crew).parameters
        crew = self._crew(**{name: make() for name, make in offered.items() if name in wanted})
        earlier = "\n".join(f"{'you' if role == 'agent' else 'user'}: {said}" for role, said in history)
        said = crew.kickoff(inputs={"message": text, "history": earlier})
        return str(getattr(said, "raw", said))  # a flow gives what its last method returns

    def _llm(self, bridge: Bridge, watcher: Watcher) -> Any:
        if self._models is None:
            raise UserError("the crew's function asks for `llm`, but the agent has no model", hint="write model: …")
        return vendor.model(bridge, watcher, self._config.model or "")


async def _in_thread(work: Callable[[], str], name: str) -> str:
    """`work` in a thread of its own, in this context; it is left alone when this is cancelled."""
    loop = asyncio.get_running_loop()
    done: asyncio.Future[str] = loop.create_future()

    def settle(said: str, error: BaseException | None) -> None:
        if done.done():
            return
        if error is None:
            done.set_result(said)
        else:
            done.set_exception(error if isinstance(error, Exception) else TeamwrightError(f"CrewAI ended: {error!r}"))

    def body() -> None:
        try:
            said, error = work(), None
        except BaseException as problem:
            said, error = "", problem
        if not loop.is_closed():
            loop.call_soon_threadsafe(settle, said, error)

    threading.Thread(target=contextvars.copy_context().run, args=(body,), name=name, daemon=True).start()
    return await done


def _function(path: str, options: Options) -> Callable[..., Any]:
    """What makes the crew: `module:function`."""
    module, _, name = path.partition(":")
    try:
        found = getattr(importlib.import_module(module), name, None)
    except ModuleNotFoundError as error:
        raise options.wrong(
            f"backend_options.crew: {error}", hint="modules are looked for beside the job file"
        ) from None
    if not callable(found):
        raise options.wrong(f"backend_options.crew: {module} has no function {name!r}")
    made: Callable[..., Any] = found
    return made

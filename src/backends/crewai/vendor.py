"""CrewAI itself: quiet, kept in a folder of the agent's own, and with a model and tools that lead to our bridge.

Importing CrewAI takes 4 s and starts threads, so it happens in `load`, in the process of an agent that needs it.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from copy import deepcopy
from pathlib import Path
from typing import Any

from teamwright.backends.api import Tool, Usage
from teamwright.backends.crewai.bridge import Bridge, NothingSaid, as_text
from teamwright.backends.crewai.watching import Watcher
from teamwright.backends.inside.crewai import QUIET

_HOMES = ("HOME", "XDG_CONFIG_HOME", "XDG_DATA_HOME", "XDG_CACHE_HOME")


def load(folder: str) -> None:
    """Import CrewAI; what it stores goes to `folder`."""
    place = Path(folder).resolve()
    place.mkdir(parents=True, exist_ok=True)
    os.environ.update(QUIET)
    os.environ["CREWAI_STORAGE_DIR"] = str(place)
    homes = {name: os.environ.get(name) for name in _HOMES}
    os.environ.update(dict.fromkeys(_HOMES, str(place)))  # it makes folders and a key when it is imported
    try:
        import crewai  # noqa: F401
    finally:
        for name, value in homes.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value


def stopped() -> Exception:
    """What CrewAI neither catches nor retries."""
    from crewai.hooks import HookAborted

    return HookAborted("the message has ended", "teamwright")  # type: ignore[no-any-return]


def model(bridge: Bridge, watcher: Watcher, name: str) -> Any:
    """A model of CrewAI that is asked over the bridge."""
    from crewai import BaseLLM
    from crewai.events.types.llm_events import LLMCallType
    from crewai.llms.base_llm import llm_call_context

    class Model(BaseLLM):  # type: ignore[misc]
        """Asks the agent's own model."""

        llm_type: str = "teamwright"

        def call(
            self,
            messages: Any,
            tools: Any = None,
            callbacks: Any = None,
            available_functions: Any = None,
            from_task: Any = None,
            from_agent: Any = None,
            response_model: Any = None,
        ) -> Any:
            said = [{"role": "user", "content": messages}] if isinstance(messages, str) else list(messages)
            if response_model is not None:
                shape = json.dumps(response_model.model_json_schema())
                said = [*said, {"role": "user", "content": f"Answer with a JSON object of this schema only: {shape}"}]
            if not self._invoke_before_llm_call_hooks(said, from_agent):
                raise stopped()
            with llm_call_context():
                self._emit_call_started_event(said, tools, callbacks, available_functions, from_task, from_agent)
                try:
                    reply = bridge.model(said, tools or (), watcher.parent(from_task, from_agent))
                except Exception as error:
                    self._emit_call_failed_event(str(error), from_task, from_agent)
                    raise
                calls = [
                    {
                        "id": call.id,
                        "type": "function",
                        "function": {
                            "name": call.name,
                            "arguments": as_text(call.broken if call.broken is not None else dict(call.arguments)),
                        },
                    }
                    for call in reply.calls
                ]
                used = _usage(reply.usage)
                self._track_token_usage_internal(used)
                kind = LLMCallType.TOOL_CALL if calls else LLMCallType.LLM_CALL
                self._emit_call_completed_event(
                    calls or reply.text, kind, from_task, from_agent, said, used, "tool_calls" if calls else "stop"
                )
            if calls:
                return calls
            if not reply.text:
                raise bridge.fail(NothingSaid())
            if response_model is not None:
                try:
                    return response_model.model_validate_json(reply.text)
                except ValueError:
                    return reply.text  # CrewAI's own converter has a try at it
            return self._invoke_after_llm_call_hooks(said, reply.text, from_agent)

        async def acall(self, *args: Any, **kwargs: Any) -> Any:
            import asyncio

            return await asyncio.to_thread(self.call, *args, **kwargs)

        def supports_function_calling(self) -> bool:
            return True

        def is_context_window_overflowing_threshold(self, *args: Any, **kwargs: Any) -> bool:
            return False  # nobody here knows the window: the server says so, and then CrewAI shortens

        def is_tool_result_overflowing_threshold(self, tool_result: str) -> tuple[bool, int]:
            return False, self.get_input_tokens_count(tool_result)  # it has been cut already

        def get_input_tokens_count(self, messages: Any, *args: Any, **kwargs: Any) -> int:
            return (len(str(messages)) + 3) // 4

    return Model(model=name, provider="openai")


def tool(bridge: Bridge, watcher: Watcher, ours: Tool) -> Any:
    """One of our tools as CrewAI has them."""
    from crewai.tools import BaseTool
    from pydantic import BaseModel, ConfigDict

    class Arguments(BaseModel):
        """Whatever the model gives: the tool itself checks it."""

        model_config = ConfigDict(extra="allow")

        @classmethod
        def model_json_schema(cls, *args: Any, **kwargs: Any) -> dict[str, Any]:
            return deepcopy({"type": "object", "properties": {}, **ours.parameters})  # CrewAI writes into what it gets

    class Bridged(BaseTool):  # type: ignore[misc]
        """Calls a tool of the agent."""

        def _run(self, **arguments: Any) -> str:
            return bridge.tool(ours, arguments, watcher.current())

        async def _arun(self, **arguments: Any) -> str:
            import asyncio

            return await asyncio.to_thread(self._run, **arguments)

    return Bridged(
        name=ours.name,
        description=ours.description or ours.name,
        args_schema=Arguments,
        cache_function=_never,
    )


def _never(arguments: Any = None, result: Any = None) -> bool:
    return False


def _usage(usage: Usage) -> Mapping[str, int]:
    return {
        "prompt_tokens": usage.input_tokens,
        "completion_tokens": usage.output_tokens,
        "total_tokens": usage.input_tokens + usage.output_tokens,
    }

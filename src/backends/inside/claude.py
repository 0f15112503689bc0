"""The Claude Agent SDK: hooks are added to those of the user, and the frames between SDK and CLI are read.

A client that is made inside a run is looked into for as long as it lives; what it does belongs to the run that sends
it a message.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import AsyncIterator, Callable
from typing import Any

from . import scope as runs
from .claude_talk import RUNNING, Exchange
from .claude_words import messages_of
from .scope import Scope, failure, moved, now, safely
from .wrapping import wrap

_NAME = "claude-agent-sdk"
HOOKS = ("PreToolUse", "PostToolUse", "PostToolUseFailure", "PostToolBatch", "SubagentStart", "SubagentStop")
_FROM_USER = '"type": "user"'
_CALL_ID = "claudecode/toolUseId"


def command_line(module: Any) -> None:
    """claude_agent_sdk._internal.transport.subprocess_cli is there."""
    wrap(module.SubprocessCLITransport, "__init__", _streaming)


def conversations(module: Any) -> None:
    """claude_agent_sdk._internal.query is there."""
    wrap(module.Query, "__init__", _listening)


def tools(module: Any) -> None:
    """claude_agent_sdk is there."""
    wrap(module, "create_sdk_mcp_server", _placed)


class Talk:
    """One CLI process: what goes to it and what comes from it."""

    def __init__(self, transport: Any, servers: frozenset[str], *, words: bool) -> None:
        #: The words of sub-agents are there for us only.
        self._words = words
        about = getattr(transport, "_teamwright_inside", {})
        #: The stream's events are there for us only.
        self._ours: bool = about.get("ours", False)
        self._streams: bool = about.get("streams", False)
        self._system: str = about.get("system", "")
        self._model: str | None = about.get("model")
        self._servers = servers
        self._messages: list[dict[str, Any]] = []
        self._totals: dict[str, float] = {}
        self._scope: Scope | None = None
        self._exchange: Exchange | None = None
        write, read = transport.write, transport.read_messages

        async def tapped_write(data: str) -> None:
            if _FROM_USER in data:
                runs.check()
            with safely(_NAME):
                self._sent(data)
            await write(data)

        async def tapped_read() -> AsyncIterator[Any]:
            try:
                async for frame in read():
                    with safely(_NAME):
                        self._heard(frame)
                    if not self._for_us_only(frame):
                        yield frame
            except Exception as error:
                self._close(failure(error))
                raise
            finally:
                self._close({"text": "the Claude CLI ended in the middle of an answer", "reason": "process_lost"})

        transport.write, transport.read_messages = tapped_write, tapped_read

    def _sent(self, data: str) -> None:
        """What the SDK sends: a message of the user begins an exchange, of the run that sends it."""
        frame = json.loads(data)
        if frame.get("type") != "user":
            return
        self._messages += messages_of(frame["message"].get("content"))
        scope = runs.current()
        if scope is None or (self._exchange is not None and scope is self._scope):
            return
        self._close(None)
        self._scope = scope
        self._exchange = Exchange(
            scope, self._model, self._system, self._messages, self._servers, streamed=self._streams
        )
        scope.left[id(self)] = lambda error: self._close(failure(error) if error is not None else None)

    def _for_us_only(self, frame: dict[str, Any]) -> bool:
        kind = frame.get("type")
        if self._words and kind in ("assistant", "user") and frame.get("parent_tool_use_id"):
            content = (frame.get("message") or {}).get("content")
            blocks = content if isinstance(content, list) else ()
            return not any(block.get("type") in ("tool_use", "tool_result") for block in blocks)
        return self._ours and kind == "stream_event"

    def _heard(self, frame: dict[str, Any]) -> None:
        exchange = self._exchange
        if frame.get("type") == "control_request":
            request = frame.get("request") or {}
            if exchange is not None and request.get("subtype") == "hook_callback":
                exchange.hook(request.get("input") or {}, now())
        elif frame.get("type") == "result":
            totals = _totals(frame)
            if exchange is not None:
                exchange.settle(totals, self._totals)
            self._totals = totals
            self._close(None)
        elif exchange is not None:
            exchange.frame(frame, now())

    def _close(self, error: dict[str, Any] | None) -> None:
        exchange, self._exchange = self._exchange, None
        if exchange is not None and self._scope is not None:
            self._scope.left.pop(id(self), None)
            with safely(_NAME):
                exchange.close(error)


def _streaming(original: Callable[..., Any]) -> Callable[..., Any]:
    def __init__(self: Any, *args: Any, **given: Any) -> None:
        options, about = given.get("options"), {}
        if runs.current() is not None and options is not None:
            with safely(_NAME):
                ours = not options.include_partial_messages
                if ours:
                    given["options"] = dataclasses.replace(options, include_partial_messages=True)
                prompt = options.system_prompt
                system = prompt if isinstance(prompt, str) else str((prompt or {}).get("append") or "")
                about = {"ours": ours, "streams": True, "system": system, "model": options.model}
        original(self, *args, **given)
        self._teamwright_inside = about

    return __init__


def _listening(original: Callable[..., Any]) -> Callable[..., Any]:
    def __init__(self: Any, *args: Any, **given: Any) -> None:
        if runs.current() is not None and "transport" in given:
            with safely(_NAME):
                words = given.get("forward_subagent_text") is False
                Talk(given["transport"], frozenset(given.get("sdk_mcp_servers") or ()), words=words)
                if words:
                    given["forward_subagent_text"] = True
                given["hooks"] = _with_ours(given.get("hooks"))
        original(self, *args, **given)

    return __init__


def _with_ours(hooks: dict[str, Any] | None) -> dict[str, Any]:
    """The user's hooks, and after them one of ours that says nothing: the CLI tells only what somebody asks for."""
    ours = {"matcher": None, "hooks": [_nothing]}
    return {**(hooks or {}), **{name: [*((hooks or {}).get(name) or ()), ours] for name in HOOKS}}


async def _nothing(given: Any, call_id: Any, context: Any) -> dict[str, Any]:
    return {}


def _placed(original: Callable[..., Any]) -> Callable[..., Any]:
    """Handlers of the user's own tools run in a context that the SDK has made: here they get that of their call."""

    def create(*args: Any, **given: Any) -> Any:
        server: Any = None

        def placed(handler: Callable[..., Any]) -> Callable[..., Any]:
            async def handle(arguments: Any) -> Any:
                scope, number = RUNNING.get(_call_id(server), (None, None))
                if scope is None:
                    return await handler(arguments)
                with moved(scope, number):
                    return await handler(arguments)

            return handle

        with safely(_NAME):
            if given.get("tools"):
                made = [dataclasses.replace(tool, handler=placed(tool.handler)) for tool in given["tools"]]
                given["tools"] = made
        server = original(*args, **given)
        return server

    return create


def _call_id(server: Any) -> str:
    """The model's id of the call that is being handled: the CLI sends it along."""
    try:
        extra = server["instance"].request_context.meta.model_extra or {}
    except (LookupError, AttributeError, TypeError):
        return ""
    return str(extra.get(_CALL_ID, ""))


def _totals(frame: dict[str, Any]) -> dict[str, float]:
    """Tokens and dollars of the whole conversation so far."""
    used = list((frame.get("modelUsage") or {}).values())
    kinds = ("inputTokens", "cacheReadInputTokens", "cacheCreationInputTokens")
    return {
        "read": float(sum(model.get(kind) or 0 for model in used for kind in kinds)),
        "written": float(sum(model.get("outputTokens") or 0 for model in used)),
        "cost": float(frame.get("total_cost_usd") or 0.0),
    }

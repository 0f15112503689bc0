"""One CLI process with one conversation: what it says, its hooks and its tool calls, in one inbox.

The SDK calls hooks and tool handlers in tasks whose context is that of `connect`, not of the message at hand. So
they decide nothing here: each becomes an item of `inbox`, and whoever handles the message answers it.
"""

from __future__ import annotations

import asyncio
import contextvars
import json
import logging
import time
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import Any

import claude_agent_sdk as sdk

from teamwright.backends.api import Limits, Tool
from teamwright.backends.claude.settings import SERVER, Settings
from teamwright.errors import BackendError

log = logging.getLogger(__name__)

HOOKS = (
    "UserPromptSubmit", "PreToolUse", "PostToolUse", "PostToolUseFailure", "PostToolBatch", "SubagentStart",
    "SubagentStop", "PreCompact", "PostCompact", "Stop",
)  # fmt: skip
_CALL_ID = "claudecode/toolUseId"
#: Seconds that the CLI gets to be there, to react to an interrupt, to end by itself.
_CONNECT, _INTERRUPT, _CLOSE = 60.0, 5.0, 0.5
#: Seconds that a hook may take.
_HOOK = 3600.0


@dataclass(frozen=True, slots=True)
class Heard:
    """A message of the SDK's stream."""

    message: Any
    at_ns: int


@dataclass(frozen=True, slots=True)
class Hooked:
    """A hook that fires; the CLI goes on when `reply` is set."""

    name: str
    given: Mapping[str, Any]
    at_ns: int
    reply: asyncio.Future[dict[str, Any]]

    def answer(self, reply: dict[str, Any]) -> None:
        """Let the CLI go on, with that; the first answer counts."""
        if not self.reply.done():
            self.reply.set_result(reply)


@dataclass(frozen=True, slots=True)
class Called:
    """One of our tools is called; `id` is the model's id of the call. `reply` is an MCP result."""

    tool: str
    arguments: Mapping[str, Any]
    id: str
    reply: asyncio.Future[dict[str, Any]]


@dataclass(frozen=True, slots=True)
class Lost:
    """The process is gone."""

    error: Exception | None


Item = Heard | Hooked | Called | Lost


class Connection:
    """A client of the SDK and the CLI process behind it."""

    def __init__(self, settings: Settings, session_id: str, changed: Callable[[], None]) -> None:
        self.session_id = session_id
        #: How many of its tool calls wait for another agent or a person.
        self.waiting = 0
        self.inbox: asyncio.Queue[Item] = asyncio.Queue()
        self.lost = False
        #: What the conversation holds, as `chat` spans show it; and the CLI's totals so far.
        self.messages: list[Mapping[str, Any]] = []
        self.totals: Mapping[str, float] = {}
        self._settings = settings
        self._client: Any = None
        #: The CLI's; the SDK has no word for it.
        self._process: Any = None
        self._reader: asyncio.Task[None] | None = None
        self._attached = False
        self._rested = asyncio.Event()
        self._rested.set()
        self._changed = changed
        self._last_words: deque[str] = deque(maxlen=20)

    async def open(self, tools: Sequence[Tool], limits: Limits, *, resume: bool) -> None:
        """Start the CLI. Raises BackendError."""
        server = self._server(tools)
        options = self._settings.sdk_options(
            [tool.name for tool in tools],
            server,
            limits,
            self.session_id,
            resume=resume,
            hooks={name: [self._matcher(name)] for name in HOOKS},
            stderr=self._stderr,
        )
        self._client = sdk.ClaudeSDKClient(options)
        try:
            async with asyncio.timeout(_CONNECT):
                # In a context of its own: tasks of the SDK live longer than the message that begins it.
                await asyncio.create_task(self._client.connect(), context=contextvars.Context())
        except TimeoutError:
            await self.close()
            raise BackendError(f"the Claude CLI was not ready in {_CONNECT:g} s", reason="timeout") from None
        except (sdk.ClaudeSDKError, OSError, Exception) as error:
            await self.close()
            words = f": {self._last_words[-1]}" if self._last_words else ""
            raise BackendError(f"the Claude CLI did not start: {error}{words}", reason="process_lost") from error
        self._process = getattr(self._client._transport, "_process", None)
        self._reader = asyncio.create_task(
            self._read(), name=f"claude:{self.session_id}", context=contextvars.Context()
        )

    async def ask(self, content: Sequence[Mapping[str, Any]]) -> None:
        """Send a message; from now on `inbox` is read by the caller, until `leave`."""

        async def message() -> Any:
            yield {"type": "user", "message": {"role": "user", "content": list(content)}, "parent_tool_use_id": None}

        self._attached = True
        self._rested.clear()
        try:
            await self._client.query(message(), session_id=self.session_id)
        except (sdk.ClaudeSDKError, OSError) as error:
            self.lost = True
            raise BackendError(f"the Claude CLI is gone: {error}", reason="process_lost") from error

    def leave(self) -> None:
        """Nobody reads `inbox` any more: what still comes is answered with no."""
        self._attached = False
        while not self.inbox.empty():
            _refuse(self.inbox.get_nowait())

    @contextmanager
    def wait(self) -> Iterator[None]:
        """While it is open, a tool call waits for somebody outside."""
        self.waiting += 1
        self._changed()
        try:
            yield
        finally:
            self.waiting -= 1

    async def interrupt(self) -> None:
        """Stop what is going on, and read to its end; a process that doesn't stop is killed."""
        if self._rested.is_set():
            return
        try:
            async with asyncio.timeout(_INTERRUPT):
                await self._client.interrupt()
                await self._rested.wait()
        except Exception as error:
            log.warning("the Claude CLI did not stop when interrupted: %s", str(error) or type(error).__name__)
            await self.close()

    async def close(self) -> None:
        """End the process: by itself if it does so quickly."""
        self.lost = True
        if self._reader is not None:
            self._reader.cancel()
        client = self._client
        if client is None:
            return
        process = self._process or getattr(client._transport, "_process", None)
        with suppress(TimeoutError, Exception):
            async with asyncio.timeout(_CLOSE):
                await client.disconnect()
        if client._query is not None:  # it was not through in time, and leaves its stream open
            client._query.close_receive_stream()
        if process is None:
            return
        if process.returncode is None:
            with suppress(ProcessLookupError):
                process.kill()
            with suppress(TimeoutError, Exception):
                async with asyncio.timeout(_CLOSE):
                    await process.wait()
        self._settings.sweep(process.pid)

    async def _read(self) -> None:
        error: Exception | None = None
        try:
            async for message in self._client.receive_messages():
                self._post(Heard(message, time.time_ns()))
                if isinstance(message, sdk.ResultMessage):
                    self._rested.set()
        except Exception as problem:
            error = problem
        finally:
            self.lost = True
            self._rested.set()
            self._post(Lost(error))
            if self._process is not None and self._process.returncode is not None:
                self._settings.sweep(self._process.pid)
            self._changed()

    def _post(self, item: Item) -> None:
        if self._attached:
            self.inbox.put_nowait(item)
        else:
            _refuse(item)

    async def _hooked(self, given: Any, tool_use_id: str | None, context: Any) -> dict[str, Any]:
        reply: asyncio.Future[dict[str, Any]] = asyncio.get_running_loop().create_future()
        self._post(Hooked(given["hook_event_name"], given, time.time_ns(), reply))
        return await reply

    def _matcher(self, hook: str) -> Any:
        # A tool waits for the end of the reply that asks for it, and without our word it does not run.
        failing = "block" if hook == "PreToolUse" else None
        return sdk.HookMatcher(hooks=[self._hooked], timeout=_HOOK, on_failure=failing)

    def _server(self, tools: Sequence[Tool]) -> Any:
        server: Any = None

        def handler(name: str) -> Any:
            async def call(arguments: Mapping[str, Any]) -> dict[str, Any]:
                reply: asyncio.Future[dict[str, Any]] = asyncio.get_running_loop().create_future()
                self._post(Called(name, arguments, _call_id(server), reply))
                return await reply

            return call

        # The CLI runs calls at once only of tools that are marked as harmless; ours see to themselves.
        hints = sdk.ToolAnnotations(readOnlyHint=True, maxResultSizeChars=500_000)
        made = [
            sdk.SdkMcpTool(
                name=tool.name,
                description=tool.description,
                input_schema={"type": "object", "properties": {}, **tool.parameters},
                handler=handler(tool.name),
                annotations=hints,
            )
            for tool in tools
        ]
        server = sdk.create_sdk_mcp_server(SERVER, tools=made)
        return server

    def _stderr(self, line: str) -> None:
        self._last_words.append(line)
        log.debug("claude: %s", line)


def _call_id(server: Any) -> str:
    """The model's id of the call that is being handled: the CLI sends it along."""
    try:
        extra = server["instance"].request_context.meta.model_extra or {}
    except (LookupError, AttributeError):  # an mcp without the request in a context variable
        return ""
    return str(extra.get(_CALL_ID, ""))


def _refuse(item: Item) -> None:
    """Answer what nobody waits for any more."""
    if isinstance(item, Hooked):
        item.answer(denial("the message has ended") if item.name == "PreToolUse" else {})
    elif isinstance(item, Called) and not item.reply.done():
        item.reply.set_result(result("the message has ended", failed=True))


def denial(reason: str, *, stop: bool = True) -> dict[str, Any]:
    """A hook's answer: the tool does not run, and (`stop`) the model isn't asked again."""
    made: dict[str, Any] = {
        "hookSpecificOutput": {
            "hookEventName": "PreToolUse",
            "permissionDecision": "deny",
            "permissionDecisionReason": reason,
        }
    }
    return {**made, "continue_": False, "stopReason": reason} if stop else made


def result(text: str, *, failed: bool = False) -> dict[str, Any]:
    """A tool's answer as the CLI takes it."""
    return {"content": [{"type": "text", "text": text}], "is_error": failed}


def plain(content: Any) -> str:
    """The text in a tool's result as the CLI gives it: text, MCP content, or a structure of a built-in tool."""
    if isinstance(content, str):
        return content.removeprefix("<tool_use_error>").removesuffix("</tool_use_error>")
    if isinstance(content, list) and all(isinstance(part, dict) and part.get("type") == "text" for part in content):
        return "\n".join(str(part.get("text", "")) for part in content)
    return json.dumps(content, ensure_ascii=False, default=str)

"""One message to Claude, from what goes to the CLI and what comes from it, in the order of its frames.

Hooks are frames as well: those that we have added only make the CLI tell. Nothing here depends on the context in which
the SDK happens to read, so that spans of several messages at once don't mix.
"""

from __future__ import annotations

from typing import Any

from . import claude_words as words
from .claude_calls import Calls, SubAgent
from .scope import Scope, now

#: Calls of tools that run: who is told of them, and their number. By the model's id of the call.
RUNNING: dict[str, tuple[Scope, int]] = {}


class Exchange:
    """From the message that is sent to the result. `servers`: those in this process; `streamed`: replies are."""

    def __init__(
        self,
        scope: Scope,
        model: str | None,
        system: str,
        messages: list[dict[str, Any]],
        servers: frozenset[str],
        *,
        streamed: bool,
    ) -> None:
        self._streamed = streamed
        self._scope = scope
        self._place = scope.place()
        self._servers = servers
        self._calls = Calls(scope, self._place, model, system, messages)
        self._last = now()
        self._tools: dict[str, int] = {}
        self._seen: dict[str, tuple[str, Any]] = {}
        self._results: dict[str, tuple[str, int]] = {}
        self._denied: dict[str, str] = {}
        self._tasks: dict[str, str] = {}
        self._agents: dict[str, SubAgent] = {}

    # --- frames ---------------------------------------------------------------------------------------

    def frame(self, frame: dict[str, Any], at: int) -> None:
        """One that comes from the CLI."""
        kind, inner = frame.get("type"), frame.get("parent_tool_use_id")
        if kind == "stream_event":
            if inner is None:
                self._calls.event(frame["event"], at)
        elif kind == "assistant":
            self._assistant(frame, inner, at)
        elif kind == "user":
            self._user(frame["message"].get("content"), inner, at)
        elif kind == "system":
            self._system(str(frame.get("subtype")), frame, at)
        elif kind == "rate_limit_event":
            about = frame.get("rate_limit_info") or {}
            if about.get("status") != "allowed":
                text = f"{about.get('rateLimitType') or about.get('rate_limit_type')}: {about.get('status')}"
                self._scope.note(self._place, "rate limit", at, text=text)
        self._last = at

    def _assistant(self, frame: dict[str, Any], inner: str | None, at: int) -> None:
        message = frame["message"]
        blocks = message.get("content") or []
        if frame.get("error"):
            text = "\n".join(block.get("text", "") for block in blocks if block.get("type") == "text")
            self._calls.failed(text, frame["error"], at)
            return
        for block in blocks:
            if block.get("type") == "tool_use":
                self._seen[block["id"]] = block.get("name", ""), block.get("input")
        if inner is None:
            if not self._streamed:
                self._calls.whole(message, self._last, at)
        elif (agent := self._agent_of(inner)) is not None:
            agent.said(message, at)

    def _user(self, content: Any, inner: str | None, at: int) -> None:
        for block in content if isinstance(content, list) else ():
            if block.get("type") == "tool_result":
                self._result(block, at)
        if inner is None:
            self._calls.shown(words.messages_of(content))
        elif (agent := self._agent_of(inner)) is not None:
            agent.told(content)

    def _system(self, subtype: str, data: dict[str, Any], at: int) -> None:
        if subtype == "init":
            self._calls.model = self._calls.model or data.get("model")
        elif subtype == "status" and data.get("status") == "requesting":
            self._calls.requesting(at)
        elif subtype == "status" and data.get("status") == "compacting":
            self._calls.compacting()
        elif subtype == "api_retry":
            self._calls.retrying(data, at)
        elif subtype == "compact_boundary":
            self._calls.compacted(data, at)
        elif subtype == "task_started" and data.get("tool_use_id"):
            self._tasks[str(data.get("task_id"))] = data["tool_use_id"]
        elif subtype == "permission_denied":
            self._denied[str(data.get("tool_use_id"))] = str(data.get("message"))

    # --- hooks ----------------------------------------------------------------------------------------

    def hook(self, given: dict[str, Any], at: int) -> None:
        """A hook fires; the same one may be told more than once, as the user's code listens as well."""
        name, call_id, agent_id = given.get("hook_event_name"), str(given.get("tool_use_id")), given.get("agent_id")
        if name == "PreToolUse":
            self._begin(call_id, str(given.get("tool_name")), given.get("tool_input"), agent_id, at)
        elif name == "PostToolUse":
            self._results.setdefault(call_id, (words.plain(given.get("tool_response")), at))
        elif name == "PostToolUseFailure":
            self._end(call_id, at, str(given.get("error")), "tool_failed")
        elif name == "PostToolBatch" and agent_id in self._agents:
            self._agents[agent_id].end_call()
            self._agents[agent_id].next = at
        elif name == "SubagentStart" and agent_id not in self._agents:
            kind = str(given.get("agent_type") or "sub-agent")
            above = self._tools.get(self._tasks.get(str(agent_id), ""), 0) or self._task_tool() or self._place
            self._agents[str(agent_id)] = SubAgent(self._scope, self._scope.begin("agent", above, at, name=kind), at)
        elif name == "SubagentStop" and (agent := self._agents.pop(str(agent_id), None)) is not None:
            agent.end(at, given.get("last_assistant_message"))

    def _task_tool(self) -> int:
        """The call that makes a sub-agent, where nobody has said yet which it is."""
        taken = {self._tools.get(call_id) for call_id in self._tasks.values()}
        free = [
            number for call_id, number in self._tools.items()
            if self._seen.get(call_id, ("",))[0] in ("Task", "Agent") and number not in taken
        ]  # fmt: skip
        return free[-1] if free else 0

    def _agent_of(self, call_id: str) -> SubAgent | None:
        agent_id = next((task for task, call in self._tasks.items() if call == call_id), "")
        return self._agents.get(agent_id)

    # --- tools ----------------------------------------------------------------------------------------

    def _begin(self, call_id: str, name: str, arguments: Any, agent_id: Any, at: int) -> None:
        if call_id in self._tools:
            return
        agent = self._agents.get(str(agent_id))
        server, tool = None, name
        if name.startswith("mcp__") and name.count("__") >= 2:
            _, server, tool = name.split("__", 2)
        source = "builtin" if server is None else "local" if server in self._servers else "mcp"
        number = self._scope.begin(
            "tool", agent.number if agent is not None else self._place, at, name=tool, call_id=call_id,
            arguments=arguments, source=source, server=server,
        )  # fmt: skip
        self._seen.setdefault(call_id, (name, arguments))
        self._tools[call_id] = number
        RUNNING[call_id] = self._scope, number

    def _result(self, block: dict[str, Any], at: int) -> None:
        """What the model is shown of a call: it ends what no hook has ended."""
        call_id, text = block["tool_use_id"], words.plain(block.get("content"))
        _, ended = self._results.get(call_id, ("", 0))
        if not block.get("is_error"):
            self._end(call_id, ended or at, text)
        elif call_id in self._tools:
            self._end(call_id, ended or at, text, "tool_failed" if ended else "denied")
        elif call_id in self._seen:  # no hook was asked: there is no such tool
            name, arguments = self._seen[call_id]
            broken = words.unreadable(arguments)
            self._begin(call_id, name, arguments if broken is None else broken, None, at)
            reason = "unknown_tool" if broken is None else "malformed_arguments"
            self._end(call_id, at, text, "denied" if call_id in self._denied else reason)

    def _end(self, call_id: str, at: int, result: str, reason: str | None = None) -> None:
        if call_id not in RUNNING:
            return
        del RUNNING[call_id]
        number = self._tools[call_id]
        if reason == "denied":
            self._scope.note(number, "denied", at, text=self._denied.get(call_id, result))
        error = {"text": result, "reason": reason} if reason else None
        self._scope.end(number, at, result=result, error=error)

    # --- the end --------------------------------------------------------------------------------------

    def settle(self, totals: dict[str, float], before: dict[str, float]) -> None:
        """Count what the CLI's totals hold beyond the calls that it showed: sub-agents' tokens, compactions."""
        spent = {key: totals[key] - before.get(key, 0.0) for key in totals}
        read = max(0, int(spent["read"]) - self._calls.read)
        written = max(0, int(spent["written"]) - self._calls.written)
        if read or written:
            self._scope.count(
                input_tokens=read, output_tokens=written, cost_usd=spent["cost"], beyond=self._calls.numbers
            )  # fmt: skip

    def close(self, error: dict[str, Any] | None) -> None:
        """It is over: what is still open ends with that error."""
        at = now()
        for call_id in [key for key in self._tools if key in RUNNING]:
            text, ended = self._results.get(call_id, ("", 0))
            del RUNNING[call_id]
            self._scope.end(self._tools[call_id], ended or at, result=text, error=None if ended else error)
        for agent in self._agents.values():
            agent.end(at, error=error)
        self._calls.close(error, at)

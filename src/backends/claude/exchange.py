"""One message and its answer: sends it, hands on what comes back, keeps the limits.

Everything happens in the task of the message, so that spans have the right parents, whatever context the SDK calls
its hooks in.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from typing import Any

import claude_agent_sdk as sdk

from teamwright.backends.api import Account, File, Tool, Turn, Usage
from teamwright.backends.claude.connection import Called, Connection, Heard, Hooked, Item, Lost, denial, plain
from teamwright.backends.claude.failures import failure_of, reason_of
from teamwright.backends.claude.model_calls import ModelCalls, is_rate_limit
from teamwright.backends.claude.places import Places
from teamwright.backends.claude.subagents import SubAgents
from teamwright.backends.claude.tool_calls import ToolCalls
from teamwright.backends.inside import claude_words
from teamwright.errors import BackendError, LimitReached, TeamwrightError
from teamwright.tracing import messages as genai


class Exchange:
    """Handles one message on a connection; `run` once."""

    def __init__(
        self,
        turn: Turn,
        connection: Connection,
        tools: Sequence[Tool],
        model: str | None,
        system: str,
        account: Account,
    ) -> None:
        self._turn = turn
        self._connection = connection
        self._counted = Usage()
        self._over: TeamwrightError | None = None
        self._word: str | None = None
        self._summary = ""
        #: Calls of the reply that is still coming: they begin when it has come.
        self._held: list[Hooked] = []
        self._said = ""
        self._calls = ModelCalls(turn, model, system, connection.messages, self._count)
        self._tools = ToolCalls(turn, tools, lambda agent_id: self._agents.span(agent_id), self._stop, connection.wait)
        self._places = Places(turn, account, self._stop)
        self._agents = SubAgents(turn, self._tools.span, self._count, self._places)

    @property
    def files(self) -> Sequence[File]:
        """What tools and peers gave beside their words."""
        return tuple(self._tools.files.values())

    async def run(self, content: Sequence[Mapping[str, Any]], shown: str, *, stream: bool) -> str:
        """Send `content` (`shown` is how spans show it) and answer the CLI until the model is done.

        Raises LimitReached and BackendError. Left with an exception, the CLI may still be at work.
        """
        self._turn.afford(None)
        self._connection.messages.append(genai.message("user", genai.text(shown)))
        error: BaseException | None = None
        try:
            await self._places.take()
            await self._connection.ask(content)
            while True:
                found = await self._handle(await self._connection.inbox.get(), stream)
                if self._held and not self._calls.under_way:
                    self._places.give()
                    held, self._held = self._held, []
                    self._tools.before(held)
                if self._over is not None:
                    raise self._over
                if found is not None:
                    return self._answer(found)
        except BaseException as problem:
            error = problem
            raise
        finally:
            now = time.time_ns()
            for hook in self._held:
                hook.answer(denial("the message has ended"))
            await self._places.close()
            self._tools.close(error, now)
            self._agents.close(error, now)
            self._calls.close(error, now)
            self._connection.leave()

    async def _handle(self, item: Item, stream: bool) -> Any:
        """Deal with one item; the ResultMessage when it is that."""
        if isinstance(item, Heard):
            if not isinstance(item.message, sdk.StreamEvent):
                return self._hear(item.message, item.at_ns)
            if item.message.parent_tool_use_id is None:
                piece = self._calls.event(item.message.event, item.at_ns)
                if piece and stream:
                    await self._turn.stream(piece)
        elif isinstance(item, Hooked):
            self._hook(item)
        elif isinstance(item, Called):
            self._tools.call(item)
        elif isinstance(item, Lost):
            detail = f": {item.error}" if item.error is not None else ""
            raise BackendError(f"the Claude CLI ended in the middle of an answer{detail}", reason="process_lost")
        return None

    def _hear(self, message: Any, at_ns: int) -> Any:
        if isinstance(message, sdk.ResultMessage):
            return message
        if isinstance(message, sdk.TaskStartedMessage):
            self._agents.started(message)
        elif isinstance(message, sdk.SystemMessage):
            self._system(message.subtype, message.data, at_ns)
        elif isinstance(message, sdk.RateLimitEvent):
            self._near_a_limit(message.rate_limit_info)
        elif isinstance(message, sdk.AssistantMessage):
            self._said_by_model(message, at_ns)
        elif isinstance(message, sdk.UserMessage):
            results = self._tools.results(message, at_ns)
            if message.parent_tool_use_id:
                self._agents.heard(message, at_ns)
            else:
                self._calls.shown(results)
        return None

    def _near_a_limit(self, about: Any) -> None:
        """What an account may use is nearly used up, or is: only accounts that are logged in are told."""
        if about.status == "allowed":
            return
        used = f", {about.utilization:.0%} used" if about.utilization is not None else ""
        again = max(0.0, about.resets_at - time.time()) if about.resets_at and about.status == "rejected" else None
        said = f"{about.rate_limit_type}: {about.status}{used}"
        self._turn.tracer.current().rate_limited(retry_after=again, message=said)

    def _said_by_model(self, message: Any, at_ns: int) -> None:
        text = "\n".join(block.text for block in message.content if isinstance(block, sdk.TextBlock))
        if message.error is not None:  # the CLI's own words for a failure of the API
            self._word = message.error
            reason = reason_of(message.error, claude_words.status_of(message.error, text))
            if reason == "rate_limited":
                self._places.rate_limited()
            self._calls.failed(text, reason, at_ns)
            return
        self._tools.asked(message, at_ns)
        if message.parent_tool_use_id:
            self._agents.heard(message, at_ns)
        else:
            self._said = text or self._said

    def _system(self, subtype: str, data: Mapping[str, Any], at_ns: int) -> None:
        if subtype == "init":
            self._calls.model = self._calls.model or data.get("model")
        elif subtype == "status" and data.get("status") == "requesting":
            self._calls.requesting(at_ns)
        elif subtype == "status" and data.get("status") == "compacting":
            self._calls.compacting(at_ns)
        elif subtype == "api_retry":
            if is_rate_limit(data):
                self._places.rate_limited(float(data.get("retry_delay_ms") or 0) / 1000)
            self._calls.retrying(data, at_ns)
        elif subtype == "model_fallback":
            self._calls.fell_back(data, at_ns)
        elif subtype == "compact_boundary":
            self._calls.compacted(data, self._summary, at_ns)
        elif subtype == "permission_denied":
            rule = data.get("decision_reason") or data.get("decision_reason_type")
            self._tools.denied(str(data.get("tool_use_id")), str(data.get("message")), str(rule) if rule else None)

    def _hook(self, hook: Hooked) -> None:
        given = hook.given
        if hook.name == "PreToolUse" and given.get("agent_id"):
            self._places.give(given["agent_id"])
            return self._tools.before([hook])
        if hook.name == "PreToolUse":
            return self._held.append(hook)
        if hook.name == "SubagentStart":
            return self._agents.begins(hook)
        if hook.name == "PostToolUse":
            self._tools.done(given["tool_use_id"], plain(given.get("tool_response")), hook.at_ns)
        elif hook.name == "PostToolUseFailure":
            self._tools.failed(given["tool_use_id"], str(given.get("error")), hook.at_ns)
        elif hook.name == "PostToolBatch" and given.get("agent_id"):
            return self._agents.tools_done(hook)
        elif hook.name == "PostToolBatch":  # the next thing would be a model call
            try:
                self._turn.afford(None)
            except LimitReached as spent:
                self._stop(spent)
                return hook.answer({"continue_": False, "stopReason": spent.message})
            return self._places.take_then("", hook)
        elif hook.name == "SubagentStop":
            self._places.give(given["agent_id"])
            self._agents.ends(hook)
        elif hook.name == "UserPromptSubmit":
            self._turn.tracer.current().taken_up(at_ns=hook.at_ns)
        elif hook.name == "Stop":
            self._turn.tracer.current().through(at_ns=hook.at_ns)
        elif hook.name == "PreCompact":
            self._calls.compacting(hook.at_ns)
        elif hook.name == "PostCompact":
            self._summary = str(given.get("compact_summary") or "")
        return hook.answer({})

    def _answer(self, message: Any) -> str:
        self._settle(message)
        if self._over is not None:
            raise self._over
        error = failure_of(message, self._word, self._turn.limits.turns, cut=self._calls.cut)
        if error is not None:
            raise error
        return message.result if isinstance(message.result, str) else self._said

    def _stop(self, error: TeamwrightError) -> None:
        """A limit is reached: the message ends with the next item, which is this one."""
        self._over = self._over or error
        self._connection.inbox.put_nowait(Heard(None, time.time_ns()))

    def _count(self, usage: Usage) -> None:
        self._counted += usage
        try:
            self._turn.count(usage)
        except LimitReached as error:
            self._stop(error)

    def _settle(self, message: Any) -> None:
        """Count what the SDK's totals hold beyond the calls it showed: sub-agents' tokens, compactions."""
        totals, before = _totals(message), self._connection.totals
        self._connection.totals = totals
        spent = {key: totals[key] - before.get(key, 0) for key in totals}
        read = max(0, int(spent["read"]) - self._counted.input_tokens)
        written = max(0, int(spent["written"]) - self._counted.output_tokens)
        if read or written:
            cost = max(0.0, spent["cost"] - (self._counted.cost_usd or 0.0))
            self._count(Usage(input_tokens=read, output_tokens=written, cost_usd=cost, estimated=True))


def _totals(message: Any) -> Mapping[str, float]:
    """Tokens and dollars of the whole session so far."""
    models = list((message.model_usage or {}).values())
    kinds = ("inputTokens", "cacheReadInputTokens", "cacheCreationInputTokens")
    return {
        "read": float(sum(model.get(kind) or 0 for model in models for kind in kinds)),
        "written": float(sum(model.get("outputTokens") or 0 for model in models)),
        "cost": float(message.total_cost_usd or 0.0),
    }

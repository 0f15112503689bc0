"""The replayer: a backend that answers from a recording, whichever backend was recorded. No network, key or package.

The words are the recorded models'; tools are called and peers are asked for real, and what comes of them must be what
the models saw then. Which recorded message answers a message is decided by what is asked, never by a global order, so
agents, sessions and messages may come in any order, and at once.
"""

from __future__ import annotations

import asyncio
import base64
import os
import time
from collections import defaultdict
from collections.abc import Sequence
from itertools import accumulate
from pathlib import Path
from typing import Any, ClassVar

from opentelemetry.trace import SpanKind

from teamwright.backends import loop
from teamwright.backends.api import Answer, BackendConfig, File, Tool, Turn, Usage
from teamwright.backends.asking import ASK_USER, ask_user_tool
from teamwright.backends.loop import ToolCall, ToolResult
from teamwright.backends.recordings import folder
from teamwright.backends.recordings.asked import asked_of
from teamwright.backends.recordings.drift import difference, differences
from teamwright.backends.recordings.values import Asked, Call, Exchange, Inner, Message, Step
from teamwright.backends.recordings.volatile import shape
from teamwright.backends.recordings.washing import Washing
from teamwright.errors import BackendError, LimitReached, ReplayDrifted
from teamwright.tracing import vocabulary as v
from teamwright.tracing.redaction import Rule


class Replayer:
    """Answers as `agent` did in the recording at `place`; `rules` are what the job masks."""

    name: ClassVar[str] = "replay"

    def __init__(self, place: Path, agent: str, *, rules: Sequence[Rule] = ()) -> None:
        self._place = place
        self._agent = agent
        self._rules = tuple(rules)

    async def open(self, config: BackendConfig) -> None:
        """Read what was recorded of the agent. Raises UserError."""
        self._config = config
        self._washing = Washing(config.folder, os.environ, rules=self._rules)
        self._messages = await asyncio.to_thread(folder.read, self._place, self._agent)
        self._by_text: dict[str, list[tuple[str, Message]]] = defaultdict(list)
        for name, message in self._messages:
            self._by_text[shape(message.asked.text)].append((name, message))
        self._used: set[str] = set()

    async def close(self) -> None:
        """Nothing is open."""

    async def run(self, turn: Turn) -> Answer:
        """Answer as recorded. Raises ReplayDrifted, and what the recorded message ended with."""
        now = time.time()
        given = asked_of(self._config, turn, self._washing)
        name, message = self._find(given, now)
        turn.tracer.current().set({v.REPLAY: f"{self._place.name}/{name}"})
        speaks = self._config.output_schema is None
        files = await _Replay(turn, self._agent, name, message, now, self._washing, speaks=speaks).run()
        if message.error is not None:
            raise _raised(self._washing.back(message.error))
        answer = message.answer or {}
        for kept in answer.get("files") or ():
            files.setdefault(kept["name"], _file(kept))
        return Answer(self._washing.back(answer.get("text", "")), tuple(files.values()), answer.get("data"))

    def _find(self, given: Asked, now: float) -> tuple[str, Message]:
        """The recorded message that asks the same: the first that is not used yet, else the last one."""
        alike = [
            (name, message)
            for name, message in self._by_text.get(shape(given.text), ())
            if next(differences(message.asked, message.at, given, now), None) is None
        ]
        if not alike:
            raise ReplayDrifted(self._explain(given, now))
        found = next((item for item in alike if item[0] not in self._used), alike[-1])
        self._used.add(found[0])
        return found

    def _explain(self, given: Asked, now: float) -> str:
        """The first difference to the recorded message that is nearest."""
        if not self._messages:
            return f"agent {self._agent}: nothing was recorded of it in {self._place}"
        found = [(list(differences(message.asked, message.at, given, now)), name) for name, message in self._messages]
        unused = [item for item in found if item[1] not in self._used] or found
        least, name = min(unused, key=lambda item: (len(item[0]), item[1]))
        field, what = least[0]
        return f"agent {self._agent}, exchange 1, {field}: {what} ({self._place.name}/{name})"


class _Replay:
    """One message."""

    def __init__(
        self, turn: Turn, agent: str, name: str, message: Message, now: float, washing: Washing, *, speaks: bool
    ) -> None:
        self._turn = turn
        self._where = (agent, name)
        self._message = message
        self._now = now
        self._washing = washing
        self._speaks = speaks
        self._tools: dict[str, Tool] = {tool.name: tool for tool in (ask_user_tool(), *turn.tools)}
        self._files: dict[str, File] = {}
        self._number = 0
        self._answered = 0

    async def run(self) -> dict[str, File]:
        """All steps; the files that tools and peers gave."""
        await self._steps(self._message.steps, outermost=True)
        return self._files

    async def _steps(self, steps: Sequence[Step], *, outermost: bool = False) -> None:
        for step in steps:
            if isinstance(step, Exchange):
                await self._exchange(step, outermost=outermost)
            else:
                await self._inner(step)

    async def _inner(self, step: Inner) -> None:
        about = {
            v.OPERATION: v.OP_AGENT,
            v.OPENINFERENCE_KIND: "AGENT",
            v.AGENT_NAME: step.name,
            v.INPUT_MESSAGES: self._washing.back(step.asked),
            v.OUTPUT_MESSAGES: self._washing.back(step.said),
        }
        with self._turn.tracer.span(v.span_name(v.OP_AGENT, step.name), about, kind=SpanKind.INTERNAL):
            await self._steps(step.steps)

    async def _exchange(self, step: Exchange, *, outermost: bool) -> None:
        self._number += 1
        number, turn = self._number, self._turn
        if outermost and self._answered == turn.limits.turns:
            limit = turn.limits.turns
            raise LimitReached("turns", f"no answer after {limit} model calls (limit turns)")
        turn.afford(None)
        with turn.tracer.model_call(
            model=step.model,
            provider=step.provider,
            messages=self._washing.back(step.messages),
            system=self._washing.back(step.system),
            attempt=step.attempt,
            attributes={
                v.REPLAY: f"{self._where[1]}#{number}",
                v.RECORDED_COST_USD: step.cost_usd,
                v.RECORDED_DURATION: step.duration_s,
            },
        ) as span:
            if step.first_token_s is not None:
                span.first_token()
            if outermost and self._speaks:
                for piece in self._pieces(step):
                    await turn.stream(piece)
            if step.reply is not None:
                reply = self._washing.back(step.reply)
                span.answer(
                    reply,
                    finish_reason=step.finish_reason,
                    model=step.response_model,
                    response_id=step.response_id,
                )
            if step.tokens:
                span.usage(**step.tokens, cost_usd=0.0)  # type: ignore[arg-type]  # all of them are counts
            if step.limited:
                span.rate_limited(retry_after=step.retry_after)
            if step.error is not None:
                span.fail(BackendError(self._washing.back(step.error["message"]), reason=step.error["reason"]))
        if step.error is None:
            self._answered += outermost
            read, written = step.tokens.get("input_tokens", 0), step.tokens.get("output_tokens", 0)
            turn.count(Usage(input_tokens=read, output_tokens=written, model_calls=1))
        await self._calls(step, number)

    async def _calls(self, step: Exchange, number: int) -> None:
        """The tool calls of a reply: the agent's own tools for real, all at once; others as recorded."""
        recorded = {call.id: call for call in step.calls}
        asked = [_call(self._washing.back(part)) for part in step.parts if part.get("type") == "tool_call"]
        own = [call for call in asked if self._is_real(call, recorded.get(call.id))]
        results = await loop.call_tools(self._turn, self._tools, own) if own else ()
        loop.keep_files(self._files, results)
        for result in results:
            self._compare(result, recorded.get(result.call.id), number)
        for call in asked:
            if call not in own:
                await self._as_recorded(recorded.get(call.id) or Call(call.id, call.name, dict(call.arguments)))

    def _is_real(self, call: ToolCall, recorded: Call | None) -> bool:
        if call.name == ASK_USER:
            return True
        return call.name in self._tools and (recorded is None or recorded.ran)

    def _compare(self, result: ToolResult, recorded: Call | None, number: int) -> None:
        if result.failed and ReplayDrifted.MARK in result.text and not (recorded is not None and recorded.error):
            raise ReplayDrifted(result.text.rpartition(ReplayDrifted.MARK)[2])  # a peer's, which comes first
        if recorded is None or recorded.result is None:
            return
        given = str(self._washing.out(result.text)).removeprefix("error: " if result.failed else "")
        found = difference(recorded.result, self._message.at, given, self._now)
        if found is not None:
            agent, name = self._where
            what = f"the result of {result.call.name} ({result.call.id})"
            raise ReplayDrifted(f"agent {agent}, exchange {number + 1}, {what}: {found} ({name})")

    async def _as_recorded(self, call: Call) -> None:
        self._turn.count(Usage(tool_calls=1))
        with self._turn.tracer.tool_call(
            name=call.name,
            call_id=call.id,
            arguments=self._washing.back(call.arguments),
            attributes={v.REPLAY: self._where[1]},
        ) as span:
            await self._steps(call.steps)
            if call.error is not None:
                span.fail(self._washing.back(call.result or call.error), reason=call.error)
            span.result(self._washing.back(call.result or ""))

    def _pieces(self, step: Exchange) -> list[str]:
        """The reply as it was streamed."""
        if not isinstance(step.pieces, str):
            return [str(self._washing.back(piece)) for piece in step.pieces]
        text: str = self._washing.back(step.text)
        if text != step.text:  # with the folders of here the lengths are others
            return [text]
        ends = list(accumulate(int(length) for length in step.pieces.split()))
        return [text[start:end] for start, end in zip([0, *ends], ends, strict=False)]


def _call(part: dict[str, Any]) -> ToolCall:
    given = part.get("arguments")
    call_id, name = str(part.get("id") or ""), str(part["name"])
    return ToolCall(call_id, name, given) if isinstance(given, dict) else ToolCall(call_id, name, {}, str(given))


def _raised(error: dict[str, Any]) -> Exception:
    """What the recorded message ended with."""
    if "limit" in error:
        return LimitReached(error["limit"], error["message"])
    return BackendError(error["message"], reason=error["reason"])


def _file(kept: dict[str, Any]) -> File:
    data = base64.b64decode(kept["base64"]) if "base64" in kept else None
    return File(kept["name"], kept["media_type"], data, kept.get("uri"))

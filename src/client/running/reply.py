"""What a query came to, as a program sees it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from teamwright.backends.api import File
from teamwright.client.files import save
from teamwright.client.results import QueryResult
from teamwright.client.running.trace import Trace
from teamwright.errors import QueryFailed
from teamwright.home import Home


@dataclass(frozen=True, slots=True)
class Usage:
    """What a query used, in all agents together; None = nobody knows. `cost_usd` is in US dollars.

    `partial` = somebody who took part told nothing of what it used: the counts are at least that.
    """

    input_tokens: int | None
    output_tokens: int | None
    tool_calls: int | None
    cost_usd: float | None
    partial: bool = False

    @property
    def tokens(self) -> int | None:
        """Both ways."""
        if self.input_tokens is None or self.output_tokens is None:
            return None
        return self.input_tokens + self.output_tokens


class Reply:
    """The answer to one query, and where to read how it came about.

    >>> reply = job.query("What is the weather in Tokyo?")
    >>> print(reply.answer, reply.usage.cost_usd)
    >>> assert len(reply.trace.named("execute_tool")) == 1

    `str(reply)` is the answer. All that `deploy query --json` prints is in `result`.
    """

    def __init__(self, result: QueryResult, question: str, home: Home) -> None:
        self.result = result
        self.question = question
        self._home = home
        self._trace: Trace | None = None

    @property
    def ok(self) -> bool:
        """Whether it was answered."""
        return self.result.status == "ok"

    @property
    def answer(self) -> str:
        """The whole answer; of a query that failed, why."""
        return self.result.answer

    @property
    def usage(self) -> Usage:
        """Tokens, tool calls, dollars."""
        return Usage(**self.result.usage)

    @property
    def files(self) -> tuple[File, ...]:
        """The files that came with the answer."""
        return self.result.files

    @property
    def session(self) -> str:
        """The conversation it belongs to."""
        return self.result.session or ""

    @property
    def agent(self) -> str:
        """Who answered."""
        return self.result.agent

    @property
    def trace_id(self) -> str:
        return self.result.trace_id

    @property
    def run_id(self) -> str:
        return self.result.run_id

    @property
    def state(self) -> str:
        """The A2A task's: completed, input_required, failed …"""
        return self.result.state

    @property
    def asks(self) -> bool:
        """Whether the answer is a question back: give the next one with `reply_to=`, or in the same Session."""
        return self.result.state in ("input_required", "auth_required") and self.result.task_id is not None

    @property
    def home(self) -> Path:
        """Where its trace is kept: what `--home` takes."""
        return self._home.path

    @property
    def duration_ms(self) -> float:
        return self.result.duration_ms

    @property
    def trace(self) -> Trace:
        """What happened, read from the home when it is first asked for, and again until it is complete.

        Raises UnknownJob when nothing was recorded.
        """
        if self._trace is None or not self._trace.complete:
            self._trace = Trace.read(self._home, self.result.trace_id)
        return self._trace

    def save(self, folder: Path | str) -> list[Path]:
        """Write its files into a folder, over nothing that is there; where they are. Raises UserError."""
        return save(self.files, folder)

    def failure(self) -> QueryFailed:
        """The error to raise for one that is not ok."""
        found = self.result
        hint = f"deploy trace show {found.trace_id[:8]}" if found.trace_id and found.traced else None
        return QueryFailed(
            f"{found.agent or found.job}: {found.answer or found.state}",
            run_id=found.run_id,
            hint=hint,
            reason=found.reason or "",
            reply=self,
        )

    def to_dict(self) -> dict[str, Any]:
        """The JSON of `deploy query --json`."""
        return self.result.to_dict()

    def __str__(self) -> str:
        return self.answer

    def __repr__(self) -> str:
        found = self.result
        words = self.answer if len(self.answer) <= 60 else self.answer[:59] + "…"
        return f"<Reply {found.status} of {found.job}/{found.agent}: {words!r}, trace {found.trace_id[:8]}>"

    def _repr_markdown_(self) -> str:
        """For notebooks."""
        return self.answer

"""A query whose connection broke, found again at the engine that came after."""

from __future__ import annotations

import time
from collections.abc import Callable, Generator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Protocol

import httpx

from teamwright.client.asking import Answer
from teamwright.errors import EngineUnavailable

#: Seconds that an engine may be away, and between two looks.
PATIENCE = 10.0
_PAUSE = 0.1


class Asks(Protocol):
    """What it needs of a client."""

    def runs(self, *, session: str) -> list[dict[str, Any]]: ...
    def task(self, job: str, task_id: str, *, agent: str | None = None) -> dict[str, Any]: ...


@dataclass(frozen=True)
class PickUp:
    """One query: its job, agent and conversation, and when it was asked (Unix nanoseconds)."""

    client: Asks
    job: str
    agent: str | None
    session: str
    since: int
    clock: Callable[[], float] = time.monotonic
    sleep: Callable[[float], None] = time.sleep

    @contextmanager
    def instead(self, answer: Answer) -> Generator[None, None, None]:
        """While it is open, a connection that breaks makes `answer` come from the next engine."""
        try:
            yield
        except EngineUnavailable as error:
            if not isinstance(error.__cause__, httpx.RemoteProtocolError | httpx.ReadError):
                raise
            # The engine has ended in between, the agent has not: the next engine follows the query.
            self.into(answer, error)

    def into(self, answer: Answer, error: EngineUnavailable) -> None:
        """Wait for the query's end and put its outcome into `answer`.

        Raises `error` when the engine doesn't come back or knows nothing of the query.
        """
        run = self._ended(error)
        answer.told(run)
        if run["task_id"] and run["status"] != "lost":
            reply = self.client.task(self.job, run["task_id"], agent=self.agent)
            answer.read({"result": {"task": reply["result"]}} if "result" in reply else reply)
        else:
            answer.read({"error": {"message": "the engine ended in between, and the query was lost with its agent"}})

    def _ended(self, error: EngineUnavailable) -> dict[str, Any]:
        seen = self.clock()
        while True:
            try:
                runs = [run for run in self.client.runs(session=self.session) if run["started_ns"] >= self.since]
                seen = self.clock()
            except EngineUnavailable:
                runs = []
                if self.clock() - seen > PATIENCE:
                    raise error from None
            else:
                if not runs:
                    raise error
                if runs[0]["status"] != "running":
                    return runs[0]
            self.sleep(_PAUSE)

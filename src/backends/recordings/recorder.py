"""The recorder: a backend around another one that writes down each message, with every exchange with a model."""

from __future__ import annotations

import asyncio
import base64
import logging
import os
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, cast

from teamwright.backends.api import Answer, Backend, BackendConfig, File, Forgets, Turn
from teamwright.backends.recordings import folder
from teamwright.backends.recordings.asked import asked_of
from teamwright.backends.recordings.noting import NotedTurn, Notes, reason_of
from teamwright.backends.recordings.values import Exchange, Message, Step
from teamwright.backends.recordings.washing import Washing, secret_names
from teamwright.errors import LimitReached
from teamwright.tracing.redaction import Rule

log = logging.getLogger(__name__)


class Recorder:
    """Does what `inner` does. `place` is the recording's folder, `agent` the agent's id in it.

    `secrets` are the names of variables whose values are never written, `rules` what else is masked.
    A message that is cancelled before its end is not recorded.
    """

    def __init__(
        self, inner: Backend, place: Path, agent: str, *, secrets: Sequence[str] = (), rules: Sequence[Rule] = ()
    ) -> None:
        self.name = inner.name
        self._inner = inner
        self._place = place
        self._agent = agent
        self._secrets = tuple(secrets)
        self._rules = tuple(rules)

    async def open(self, config: BackendConfig) -> None:
        await self._inner.open(config)
        secrets = secret_names(self._secrets, self._inner.name)
        values = {name: os.environ[name] for name in secrets if os.environ.get(name)}
        self._washing = Washing(config.folder, os.environ, secrets=values, rules=self._rules)
        self._config = config

    async def close(self) -> None:
        await self._inner.close()

    async def run(self, turn: Turn) -> Answer:
        """Handle the turn, then write what there was of it, an error too; a file that can't be written is logged."""
        notes = Notes()
        message = Message(time.time(), asked_of(self._config, turn, self._washing))
        try:
            answer = await self._inner.run(cast(Turn, NotedTurn(turn, notes)))
        except Exception as error:
            message.error = _told(error)
            await self._write(message, notes)
            raise
        files = [_file(file) for file in answer.files]
        data = {"data": dict(answer.data)} if answer.data is not None else {}
        message.answer = {"text": answer.text, **data, **({"files": files} if files else {})}
        await self._write(message, notes)
        return answer

    async def _write(self, message: Message, notes: Notes) -> None:
        for exchange in exchanges(notes.steps):
            exchange.pieces = _pieces(exchange)
        message.steps = notes.steps
        kept = self._washing.out(message.to_dict())
        try:
            await asyncio.to_thread(folder.write, self._place, self._agent, kept)
        except OSError as error:
            log.error("this message is not in the recording: %s can't be written: %s", self._place, error.strerror)


class ForgettingRecorder(Recorder):
    """Around a backend that keeps conversations of its own."""

    async def forget(self, conversation: str) -> None:
        await cast(Forgets, self._inner).forget(conversation)


def recorded(
    inner: Backend, place: Path, agent: str, *, secrets: Sequence[str] = (), rules: Sequence[Rule] = ()
) -> Backend:
    """A backend that does what `inner` does and records it."""
    kind = ForgettingRecorder if isinstance(inner, Forgets) else Recorder
    return cast(Backend, kind(inner, place, agent, secrets=secrets, rules=rules))


def exchanges(steps: Sequence[Step]) -> list[Exchange]:
    """All exchanges of a message, those of inner agents too."""
    found: list[Exchange] = []
    for step in steps:
        if isinstance(step, Exchange):
            found.append(step)
            for call in step.calls:
                found += exchanges(call.steps)
        else:
            found += exchanges(step.steps)
    return found


def _pieces(exchange: Exchange) -> list[str] | str:
    """The lengths of what was streamed, where that is the reply's text."""
    if "".join(exchange.pieces) != exchange.text:
        return exchange.pieces
    return " ".join(str(len(piece)) for piece in exchange.pieces)


def _told(error: Exception) -> dict[str, Any]:
    message = str(getattr(error, "message", "")) or str(error)
    limit = {"limit": error.limit} if isinstance(error, LimitReached) else {}
    return {"type": type(error).__name__, "reason": reason_of(error), "message": message, **limit}


def _file(file: File) -> dict[str, Any]:
    data = {"base64": base64.b64encode(file.data).decode()} if file.data is not None else {}
    uri = {"uri": file.uri} if file.uri is not None else {}
    return {"name": file.name, "media_type": file.media_type, **data, **uri}

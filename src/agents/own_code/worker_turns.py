"""What a function of the user's gets beside the text, in an interpreter of its own: the turn, files, replies of peers.

For any Python from 3.8 on, standard library only: `worker.py` runs where nothing of ours is installed.
"""

from __future__ import annotations

import asyncio
import contextlib
import mimetypes
import queue
from base64 import b64decode, b64encode
from collections.abc import Callable, Iterable
from typing import Any

#: Bytes of all files that go out with one answer.
ANSWER_FILES = 20_000_000


class PeerError(Exception):
    """A question to another agent failed; `reason` is a short stable word."""

    def __init__(self, message: str, reason: str = "failed") -> None:
        super().__init__(message)
        self.reason = reason


class File:
    """A file that came with a message or goes out with an answer: `data` (bytes), or a `uri` elsewhere."""

    def __init__(
        self, name: str, media_type: str = "application/octet-stream", data: bytes | None = None, uri: str | None = None
    ) -> None:
        self.name = name
        self.media_type = media_type
        self.data = data
        self.uri = uri

    def packed(self) -> dict[str, Any]:
        """As JSON can carry it."""
        data = b64encode(self.data).decode() if self.data is not None else None
        return {"name": self.name, "media_type": self.media_type, "data": data, "uri": self.uri}


def unpacked(found: dict[str, Any]) -> File:
    """The other way round."""
    data = found.get("data")
    return File(found["name"], found["media_type"], b64decode(data) if data is not None else None, found.get("uri"))


def media_type_of(name: str) -> str:
    """The media type that goes with a file's name."""
    return mimetypes.guess_type(name)[0] or "application/octet-stream"


def content_of(data: bytes | str, others: Iterable[Any]) -> bytes:
    """The bytes of one more file beside `others`. Raises ValueError when all of them together are too large."""
    content = data.encode() if isinstance(data, str) else bytes(data)
    if sum(len(file.data or b"") for file in others) + len(content) > ANSWER_FILES:
        raise ValueError(f"the files of one answer are larger than {ANSWER_FILES // 1_000_000} MB")
    return content


class Reply(str):
    """What another agent answered: its text, with `data` (or None), `files` and `agent` beside it."""

    data: dict[str, Any] | None = None
    files: tuple[File, ...] = ()
    agent: str = ""

    @property
    def text(self) -> str:
        """The text by itself, as in the agent's own interpreter."""
        return str(self)


class Found:
    """An agent that was found: `id` is what `ask_peer` takes, the other texts are its card's."""

    def __init__(self, values: dict[str, Any]) -> None:
        self._values = values
        card = values["card"]
        self.id: str = values["id"]
        self.name: str = card["name"]
        self.description: str = card["description"]
        self.skills: list[dict[str, Any]] = card["skills"]
        self.status: str = values["status"]
        self.healthy: bool = values["healthy"]

    def to_dict(self) -> dict[str, Any]:
        """As a model gets it."""
        return self._values


class Turn:
    """One message, for functions that take it as their second argument.

    `text`, `session`, `user`, `run_id`, `traceparent`, `history` ([{role, text}]) are plain values; `files` are those
    of the message. For `async` functions `ask_peer`, `find_agents` and `stream` are awaited; for others they block.
    """

    def __init__(self, values: dict[str, Any]) -> None:
        self.text: str = values["text"]
        self.files: list[File] = [unpacked(one) for one in values["files"]]
        self.session: str = values["session"]
        self.user: str | None = values["user"]
        self.run_id: str = values["run_id"]
        self.traceparent: str = values["traceparent"]
        self.history: list[dict[str, str]] = values["history"]
        self.attached: list[File] = []

    def attach(self, name: str, data: bytes | str, media_type: str | None = None) -> None:
        """Send a file with the answer. Raises ValueError when all of them together are too large."""
        self.attached.append(File(name, media_type or media_type_of(name), content_of(data, self.attached)))


class BlockingTurn(Turn):
    """The turn of functions that are not `async`. `worker` carries questions and pieces."""

    def __init__(self, turn: Turn, worker: Any) -> None:
        self.__dict__.update(turn.__dict__)
        self._worker = worker

    def ask_peer(self, agent: str, message: str, files: Iterable[File] = ()) -> Reply:
        """Ask another agent and wait for its answer. Raises PeerError."""
        came: queue.Queue[dict[str, Any]] = queue.Queue()
        self._worker.ask(_question(agent, message, files), came.put)
        return _reply(agent, came.get())

    def find_agents(self, skill: str = "", text: str = "") -> list[Found]:
        """Agents that run now and may be asked, the best ten first. Raises PeerError."""
        came: queue.Queue[dict[str, Any]] = queue.Queue()
        self._worker.ask(_search(skill, text), came.put)
        return _found(came.get())

    def stream(self, text: str) -> None:
        """Send a piece of the answer on its way now."""
        self._worker.stream(text)


class AwaitedTurn(Turn):
    """The turn of `async` functions."""

    def __init__(self, turn: Turn, worker: Any) -> None:
        self.__dict__.update(turn.__dict__)
        self._worker = worker

    async def ask_peer(self, agent: str, message: str, files: Iterable[File] = ()) -> Reply:
        """Ask another agent and wait for its answer. Raises PeerError."""
        return _reply(agent, await self._asked(_question(agent, message, files)))

    async def find_agents(self, skill: str = "", text: str = "") -> list[Found]:
        """Agents that run now and may be asked, the best ten first. Raises PeerError."""
        return _found(await self._asked(_search(skill, text)))

    async def stream(self, text: str) -> None:
        """Send a piece of the answer on its way now."""
        self._worker.stream(text)

    async def _asked(self, question: dict[str, Any]) -> dict[str, Any]:
        loop = asyncio.get_event_loop()
        came: asyncio.Future[dict[str, Any]] = loop.create_future()

        def settle(frame: dict[str, Any]) -> None:
            if not came.done():
                came.set_result(frame)

        self._worker.ask(question, lambda frame: _soon(loop, settle, frame))
        return await came


def _question(agent: str, message: str, files: Iterable[File]) -> dict[str, Any]:
    return {"agent": agent, "message": message, "files": [file.packed() for file in files]}


def _search(skill: str, text: str) -> dict[str, Any]:
    return {"find": {"skill": str(skill), "text": str(text)}}


def _found(frame: dict[str, Any]) -> list[Found]:
    """The agents of an answer. Raises PeerError."""
    if "error" in frame:
        raise PeerError(frame["error"], frame.get("reason", "failed"))
    return [Found(agent) for agent in frame["agents"]]


def _reply(agent: str, frame: dict[str, Any]) -> Reply:
    """What a question came to. Raises PeerError."""
    if "error" in frame:
        raise PeerError(frame["error"], frame.get("reason", "failed"))
    reply = Reply(frame["text"])
    reply.data, reply.agent = frame.get("data"), agent
    reply.files = tuple(unpacked(one) for one in frame.get("files", ()))
    return reply


def _soon(loop: asyncio.AbstractEventLoop, call: Callable[[dict[str, Any]], None], frame: dict[str, Any]) -> None:
    with contextlib.suppress(RuntimeError):  # the loop has ended with the call
        loop.call_soon_threadsafe(call, frame)

"""The words of conversations: what an agent remembers of whom it talked with, and about what."""

from __future__ import annotations

from collections import OrderedDict, deque
from collections.abc import Sequence
from typing import NamedTuple, Protocol
from uuid import UUID, uuid5

from teamwright.backends.api import Message

#: The newest words of a session that a turn gets to see, and all that is ever read of it.
WORDS = 200
_CONVERSATIONS = UUID("6f6a2c4e-3c1b-5d0e-9f57-0c1f6a2d9b11")


class SessionKey(NamedTuple):
    """Whose conversation it is: conversations of two users never mix, whatever contextIds they use.

    `subject` is who the token says calls (a person, or `job/agent`), `user` the person it is done for.
    """

    subject: str
    user: str
    session: str


def peer_session(caller: str, peer: str, user: str, session: str) -> str:
    """The conversation of `caller` with `peer` (each `job/agent`) that belongs to the person's `session`.

    Always the same, so that it survives restarts of both and is found when it is to be forgotten.
    """
    return str(uuid5(_CONVERSATIONS, f"{caller} {peer} {user} {session}"))


class Sessions(Protocol):
    """Where an agent keeps what was said."""

    def history(self, key: SessionKey) -> Sequence[Message]:
        """Earlier words of the session, oldest first."""

    def add(self, key: SessionKey, question: str, answer: str) -> None:
        """Keep one exchange. It outlives a kill of the process from here on, where it outlives one at all."""

    def erase(self, keys: Sequence[SessionKey]) -> int:
        """Forget these conversations for good; how many exchanges that were. Raises sqlite3.Error."""

    def close(self) -> None:
        """Let go of files. Safe to call twice."""


class MemorySessions:
    """Sessions in memory: the newest `sessions`, of each the newest `words`, in all at most `characters`."""

    def __init__(self, sessions: int = 1000, words: int = WORDS, characters: int = 20_000_000) -> None:
        self._sessions = sessions
        self._words = words
        self._room = characters
        self._kept: OrderedDict[SessionKey, deque[Message]] = OrderedDict()

    def history(self, key: SessionKey) -> Sequence[Message]:
        return tuple(self._kept.get(key, ()))

    def add(self, key: SessionKey, question: str, answer: str) -> None:
        words = self._kept.setdefault(key, deque())
        self._kept.move_to_end(key)
        for message in (Message("user", question), Message("agent", answer)):
            words.append(message)
            self._room -= len(message.text)
        while len(words) > self._words:
            self._drop_word(words)
        while len(self._kept) > self._sessions or (self._room < 0 and len(self._kept) > 1):
            self._drop(next(iter(self._kept)))
        while self._room < 0 and words:
            self._drop_word(words)

    def erase(self, keys: Sequence[SessionKey]) -> int:
        gone = sum(len(self._kept.get(key, ())) // 2 for key in keys)
        for key in keys:
            if key in self._kept:
                self._drop(key)
        return gone

    def close(self) -> None:
        """Nothing to let go of."""

    def _drop(self, key: SessionKey) -> None:
        for message in self._kept.pop(key):
            self._room += len(message.text)

    def _drop_word(self, words: deque[Message]) -> None:
        self._room += len(words.popleft().text)

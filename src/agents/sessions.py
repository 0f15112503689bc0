"""The words of conversations: what an agent remembers of whom it talked with, and about what."""

from __future__ import annotations

from collections import OrderedDict, deque
from collections.abc import Sequence
from typing import NamedTuple, Protocol

from teamwright.backends.api import Message

#: The newest words of a session that a turn gets to see, and all that is ever read of it.
WORDS = 200


class SessionKey(NamedTuple):
    """Whose conversation it is: conversations of two users never mix, whatever contextIds they use.

    `subject` is who the token says calls (a person, or `job/agent`), `user` the person it is done for.
    """

    subject: str
    user: str
    session: str


class Sessions(Protocol):
    """Where an agent keeps what was said."""

    def history(self, key: SessionKey) -> Sequence[Message]:
        """Earlier words of the session, oldest first."""

    def add(self, key: SessionKey, question: str, answer: str) -> None:
        """Keep one exchange. It outlives a kill of the process from here on, where it outlives one at all."""

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

    def close(self) -> None:
        """Nothing to let go of."""

    def _drop(self, key: SessionKey) -> None:
        for message in self._kept.pop(key):
            self._room += len(message.text)

    def _drop_word(self, words: deque[Message]) -> None:
        self._room += len(words.popleft().text)

"""The words of conversations. In memory and bounded; a store that survives the process takes this one's place."""

from __future__ import annotations

from collections import OrderedDict, deque
from collections.abc import Sequence
from typing import Protocol

from teamwright.backends.api import Message

#: Who talks, and in which contextId: conversations of two users never mix, whatever ids they use.
SessionKey = tuple[str, str]


class Sessions(Protocol):
    """Where an agent keeps what was said."""

    def history(self, key: SessionKey) -> Sequence[Message]:
        """Earlier words of the session, oldest first."""

    def add(self, key: SessionKey, question: str, answer: str) -> None:
        """Keep one exchange."""


class MemorySessions:
    """Sessions in memory: the newest `sessions`, of each the newest `words`, in all at most `characters`."""

    def __init__(self, sessions: int = 1000, words: int = 200, characters: int = 20_000_000) -> None:
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

    def _drop(self, key: SessionKey) -> None:
        for message in self._kept.pop(key):
            self._room += len(message.text)

    def _drop_word(self, words: deque[Message]) -> None:
        self._room += len(words.popleft().text)

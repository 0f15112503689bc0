"""Free text over cards: SQLite FTS5 in memory, the best match first."""

from __future__ import annotations

import re
import sqlite3

from teamwright.registry.records import AgentEntry

_WORD = re.compile(r"\w+")
#: Words that are looked at, of a longer question.
_MOST = 32
#: Words that say nothing about an agent; left out where not every word of a question is on one card.
_EMPTY = frozenset(
    _WORD.findall(
        "a about agent agents an and any are ask at be by can could do for from give has have how i in is it me my of "
        "on one or please some someone tell that the this to us we what when where which who will with would you your"
    )
)


class CardIndex:
    """The words of cards by entry id. Names and skills weigh more than descriptions; word forms count as one."""

    def __init__(self) -> None:
        self._db = sqlite3.connect(":memory:", isolation_level=None, check_same_thread=False)
        self._db.execute(
            "create virtual table cards using fts5(id, name, skills, tags, description, tokenize='porter unicode61')"
        )
        self._rows: dict[str, int] = {}
        self._next = 0

    def put(self, entry: AgentEntry) -> None:
        """Take in an entry's card, in place of the one it had."""
        self.drop(entry.id)
        self._next += 1
        self._rows[entry.id] = self._next
        skills = " ".join(f"{skill['id']} {skill['name']} {skill['description']}" for skill in entry.skills)
        tags = " ".join(tag for skill in entry.skills for tag in skill["tags"])
        self._db.execute(
            "insert into cards(rowid, id, name, skills, tags, description) values (?, ?, ?, ?, ?, ?)",
            (self._next, entry.id, entry.name, skills, tags, entry.description),
        )

    def drop(self, entry_id: str) -> None:
        """Forget an entry's card."""
        if (row := self._rows.pop(entry_id, None)) is not None:
            self._db.execute("delete from cards where rowid = ?", (row,))

    def find(self, text: str) -> list[str]:
        """The ids of the cards that hold every word (or its beginning); if none does, those that hold any."""
        words = _WORD.findall(text.lower())[:_MOST]
        found = self._match(words, " AND ")
        return found or self._match([word for word in words if word not in _EMPTY], " OR ")

    def _match(self, words: list[str], joint: str) -> list[str]:
        if not words:
            return []
        question = joint.join(f'"{word}"*' for word in words)
        rows = self._db.execute(
            "select id from cards where cards match ? order by bm25(cards, 4, 6, 5, 5, 2), id", (question,)
        )
        return [entry_id for (entry_id,) in rows]

"""Free text over cards: SQLite FTS5 in memory, the best match first."""

from __future__ import annotations

import re
import sqlite3

from teamwright.registry.records import AgentEntry

_WORD = re.compile(r"\w+")
#: Words that are looked at, of a longer question.
_MOST = 16
#: Cards that are ranked for one question: ranking costs 3 to 5 µs a card, finding a tenth of that.
_RANKED = 2000
#: Where a word says more about an agent than in its description.
_TELLING = "{id name skills tags}"
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
        self._ids: dict[int, str] = {}
        self._next = 0

    def put(self, entry: AgentEntry) -> None:
        """Take in an entry's card, in place of the one it had."""
        self.drop(entry.id)
        self._next += 1
        self._rows[entry.id] = self._next
        self._ids[self._next] = entry.id
        skills = " ".join(f"{skill['id']} {skill['name']} {skill['description']}" for skill in entry.skills)
        tags = " ".join(tag for skill in entry.skills for tag in skill["tags"])
        self._db.execute(
            "insert into cards(rowid, id, name, skills, tags, description) values (?, ?, ?, ?, ?, ?)",
            (self._next, entry.id, entry.name, skills, tags, entry.description),
        )

    def drop(self, entry_id: str) -> None:
        """Forget an entry's card."""
        if (row := self._rows.pop(entry_id, None)) is not None:
            del self._ids[row]
            self._db.execute("delete from cards where rowid = ?", (row,))

    def find(self, text: str) -> list[str]:
        """The ids of the cards that hold every word (or its beginning); if none does, those that hold any.

        Words that thousands of cards hold don't tell them apart: where there are rarer ones, only those are looked for
        in the second case; where there are none, the cards come first that have them in id, name, skills or tags.
        """
        words = dict.fromkeys(_WORD.findall(text.lower())[:_MOST])
        # Those that say nothing count whole: the beginnings of the shortest are in thousands of other words.
        every = " AND ".join(f'"{word}"' if word in _EMPTY else f'"{word}"*' for word in words)
        return self._match(every) or self._match(
            " OR ".join(self._telling([f'"{word}"*' for word in words if word not in _EMPTY]))
        )

    def _telling(self, words: list[str]) -> list[str]:
        """Those of the words that are worth looking for one by one, the rarest first."""
        counts = sorted((found, word) for word in words if (found := len(self._holding(word))))
        chosen, ranked = [word for _, word in counts[:1]], sum(found for found, _ in counts[:1])
        for found, word in counts[1:]:
            ranked += found
            if ranked > _RANKED:
                break
            chosen.append(word)
        return chosen

    def _match(self, question: str) -> list[str]:
        if not question:
            return []
        if len(self._holding(question)) <= _RANKED:
            return self._ranked(question)
        telling = f"{_TELLING} : ({question})"
        first = self._ranked(telling) if len(self._holding(telling)) <= _RANKED else []
        rows = self._db.execute("select rowid from cards where cards match ?", (question,))
        return list(dict.fromkeys([*first, *(self._ids[row] for (row,) in rows)]))

    def _holding(self, question: str) -> list[int]:
        """The cards that a question fits, or the first of those that are too many to rank."""
        found = "select rowid from cards where cards match ? limit ?"
        return [row for (row,) in self._db.execute(found, (question, _RANKED + 1))]

    def _ranked(self, question: str) -> list[str]:
        best = "select rowid, bm25(cards, 4, 6, 5, 5, 2) as score from cards where cards match ?"
        rows = self._db.execute(best, (question,)).fetchall()
        return [entry_id for _, entry_id in sorted((score, self._ids[row]) for row, score in rows)]

"""The bundled library as an index: notes on studies, read once, searched with SQLite's full-text search in memory.

library().search("effect of AI on wages", 5)      [Hit(source, passage, score), …], best first
library().named("[pew-2023] and imf-2024")        the sources that a text names by their ids
"""

from __future__ import annotations

import difflib
import functools
import re
import sqlite3
import threading
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

FOLDER = Path(__file__).resolve().parent / "library"


@dataclass(frozen=True)
class Source:
    """One note of the library. `text` is plain, paragraphs parted by an empty line."""

    id: str
    title: str
    authors: str
    year: int
    publisher: str
    topics: tuple[str, ...]
    text: str

    @property
    def citation(self) -> str:
        """`[id]`: what stands in a report."""
        return f"[{self.id}]"

    @property
    def reference(self) -> str:
        """The full reference, for the list at the end of a report."""
        stop = "" if self.title.endswith(("?", "!", ".")) else "."
        return f"[{self.id}] {self.authors} ({self.year}). {self.title}{stop} {self.publisher}."

    @property
    def sentences(self) -> tuple[str, ...]:
        return tuple(sentences(self.text))


@dataclass(frozen=True)
class Passage:
    """One sentence of a source; `number` counts from 0."""

    source: Source
    number: int
    text: str


@dataclass(frozen=True)
class Hit:
    """A source that was found, its most fitting sentence, and a score (higher is better)."""

    source: Source
    passage: str
    score: float


class Library:
    """All sources of a folder. Safe to use from several threads."""

    def __init__(self, sources: Iterable[Source]) -> None:
        self.sources = {source.id: source for source in sources}
        self._passages = [
            Passage(source, number, text)
            for source in self.sources.values()
            for number, text in enumerate(source.sentences)
        ]
        self._lock = threading.Lock()
        self._db = sqlite3.connect(":memory:", check_same_thread=False)
        for table, columns in (("notes", "title, topics, body"), ("sentences", "topics, body")):
            self._db.execute(f"CREATE VIRTUAL TABLE {table} USING fts5({columns}, tokenize='porter unicode61')")
        self._order = list(self.sources.values())
        self._db.executemany(
            "INSERT INTO notes (rowid, title, topics, body) VALUES (?, ?, ?, ?)",
            [
                (
                    row,
                    normal(note.title),
                    normal(" ".join((*note.topics, note.authors, note.publisher))),
                    normal(note.text),
                )
                for row, note in enumerate(self._order)
            ],
        )
        self._db.executemany(
            "INSERT INTO sentences (rowid, topics, body) VALUES (?, ?, ?)",
            [
                (row, normal(" ".join((passage.source.title, *passage.source.topics))), normal(passage.text))
                for row, passage in enumerate(self._passages)
            ],
        )

    def search(self, text: str, limit: int) -> list[Hit]:
        """The sources that fit a question or some words, best first.

        A source counts by its title, topics and text as a whole, and by its three best sentences.
        """
        scores = {self._order[row]: score for row, score in self._match("notes", "3.0, 2.0, 1.0", text, -1)}
        best: dict[Source, list[tuple[Passage, float]]] = {}
        for passage, score in self.passages(text, -1):
            best.setdefault(passage.source, []).append((passage, score))
        for source, found in best.items():
            scores[source] = scores.get(source, 0.0) + sum(score for _, score in found[:3])
        ranked = sorted(scores, key=lambda source: (-scores[source], source.id))[:limit]
        return [
            Hit(source, best[source][0][0].text if source in best else source.sentences[0], scores[source])
            for source in ranked
        ]

    def passages(self, text: str, limit: int) -> list[tuple[Passage, float]]:
        """The sentences that fit a text, best first, each with its score."""
        return [(self._passages[row], score) for row, score in self._match("sentences", "0.1, 1.0", text, limit)]

    def named(self, text: str) -> list[Source]:
        """The sources whose ids stand in `text`, in the order of their first mention."""
        found: dict[str, None] = {}
        for word in re.findall(r"[a-z0-9]+(?:-[a-z0-9]+)+", text.casefold()):
            if word in self.sources:
                found[word] = None
        return [self.sources[id] for id in found]

    def nearest_ids(self, text: str) -> list[str]:
        """Ids that look like `text`, then those of sources that fit it; for a hint."""
        like = [id for id in self.sources if any(word in id for word in content_words(text))]
        like += difflib.get_close_matches(text.strip().casefold(), self.sources, n=3)
        return list(dict.fromkeys(like))[:3] or [hit.source.id for hit in self.search(text, 3)]

    def _match(self, table: str, weights: str, text: str, limit: int) -> list[tuple[int, float]]:
        words = content_words(text)
        related = [other for word in words for other in _RELATED.get(word, ())]
        query = " OR ".join(f'"{word}"' for word in dict.fromkeys([*words, *related]))
        if not query:
            return []
        # bm25() is negative, the best match the lowest; the row breaks ties, so that the order is always the same.
        statement = f"SELECT rowid, -bm25({table}, {weights}) AS score FROM {table} WHERE {table} MATCH ?"
        with self._lock:
            return self._db.execute(f"{statement} ORDER BY score DESC, rowid LIMIT ?", (query, limit)).fetchall()


@functools.cache
def library() -> Library:
    """The bundled library; read when it is first asked for."""
    return Library(read_source_file(path) for path in sorted(FOLDER.glob("*.md")))


def read_source_file(path: Path) -> Source:
    """A note: `key: value` lines between two `---`, then text. Raises ValueError naming the file."""
    _, _, rest = path.read_text(encoding="utf-8").partition("---\n")
    head, dashes, body = rest.partition("\n---\n")
    fields = {key.strip(): value.strip() for key, _, value in (line.partition(":") for line in head.splitlines())}
    try:
        if not dashes:
            raise KeyError("---")
        return Source(
            id=fields["id"],
            title=fields["title"].strip('"'),
            authors=fields["authors"],
            year=int(fields["year"]),
            publisher=fields["publisher"],
            topics=tuple(topic.strip() for topic in fields["topics"].split(",")),
            text="\n\n".join(_unwrapped(paragraph) for paragraph in body.strip().split("\n\n")),
        )
    except KeyError as error:
        raise ValueError(f"{path}: no {error.args[0]!r} at the head of the note") from None


def _unwrapped(paragraph: str) -> str:
    """Lines joined; a word broken at its hyphen is one word again."""
    return re.sub(r"\s+", " ", re.sub(r"(?<=\w)-\n(?=\w)", "-", paragraph)).strip()


def sentences(text: str) -> list[str]:
    """The sentences of a text; list marks and headings' signs at their head are left out."""
    found = []
    for block in re.split(r"\n\s*\n|\n(?=\s*(?:[-*#>|]|\d+[.)]\s))", text):
        line = re.sub(r"^(?:[-*#>|]+|\d+[.)])\s+", "", re.sub(r"\s+", " ", block).strip())
        # Not after a single capital letter: `U.S. workers`, `David H. Autor`.
        found += re.split(r"(?<=[.!?])(?<!\b[A-Z]\.)(?<!\be\.g\.)(?<!\bi\.e\.)\s+(?=[\"'(\[]?[A-Z0-9])", line)
    return [sentence for sentence in found if re.search(r"\w", sentence)]


#: What people write, and the words of the notes.
_SAME = (
    (re.compile(r"\b(?:U\.S\.A?\.?|USA?|(?i:american?s?))(?!\w)"), "united states"),
    (re.compile(r"\b(?i:a\.?i\.?)(?!\w)"), "artificial intelligence"),
    (re.compile(r"\b(?i:llms?|gpts?)\b"), "large language models"),
    (re.compile(r"\b(?i:gdp)\b"), "gross domestic product"),
    (re.compile(r"\b(?i:tfp)\b"), "total factor productivity"),
    (re.compile(r"\b(?i:atms?)\b"), "automated teller machines"),
    (re.compile(r"\b(?i:labour)\b"), "labor"),
    (re.compile(r"(?<=\d)\s*%"), " percent"),
    (re.compile(r"\b(?i:per cent)\b"), "percent"),
)


#: Searched for as well.
_RELATED = {
    "employment": ("jobs",),
    "job": ("employment",),
    "jobs": ("employment",),
    "wage": ("earnings",),
    "wages": ("earnings",),
    "earnings": ("wages",),
    "salaries": ("wages", "earnings"),
    "unemployment": ("employment", "jobs"),
    "programmers": ("developers",),
    "coding": ("software", "developers"),
}


def normal(text: str) -> str:
    """`text` with abbreviations and spellings made alike: AI → artificial intelligence, % → percent."""
    for pattern, words in _SAME:
        text = pattern.sub(words, text)
    return text


_STOP_WORDS = """
a about above according across after all also am an and any are around as at be because been before being below
between both but by can cannot check citation citations cite cited claim claims could did do does doing done during
each else ever every evidence explain fact facts few find for from further get give had has have having he her here
his how however i if impact in into is it its itself just let like made make makes many may me might much must my need
no nor not of off on once only or other our out over own please produce really report research said same say says she
should show so some source sources studies study such summarise summarize tell than that the their them then there
these they this those though through to too under until up upon us verify very want was we were what when where
whether which while who whom whose why will with within would yes you your
"""
STOP_WORDS = frozenset(_STOP_WORDS.split())


def content_words(text: str) -> Sequence[str]:
    """The words and numbers that carry meaning, in lower case, each once, in order."""
    words = re.findall(r"\d+(?:[.,]\d+)*|[^\W\d_]+", normal(text).casefold())
    return list(dict.fromkeys(word for word in words if word not in STOP_WORDS and (len(word) > 1 or word.isdigit())))

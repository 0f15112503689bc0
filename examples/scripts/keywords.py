"""Finds the key words of a text. An ordinary module: it knows nothing of what will call it.

extract("…")      all at once, as text
explain("…")      an async generator: one line for each word, as it is found
"""

from __future__ import annotations

import asyncio
import re
from collections import Counter
from collections.abc import AsyncIterator

COMMON = {
    "about", "after", "also", "and", "are", "been", "but", "can", "did", "does", "for", "from", "had", "has", "have",
    "how", "into", "its", "may", "more", "most", "not", "our", "out", "over", "she", "some", "such", "than", "that",
    "the", "their", "them", "then", "there", "these", "they", "this", "very", "was", "were", "what", "when", "which",
    "who", "will", "with", "would", "you", "your",
}  # fmt: skip


def extract(text: str) -> str:
    """The five most frequent words that mean something, separated by commas."""
    return ", ".join(word for word, _ in rank(text)) or "no key words"


async def explain(text: str) -> AsyncIterator[str]:
    """For each key word how often it stands there, and where first; one line at a time."""
    for word, count in rank(text):
        first = re.search(rf"\b{re.escape(word)}\b", text, re.IGNORECASE)
        sentence = text[: first.start()].count(".") + 1 if first else 1
        yield f"{word}: {count} times, first in sentence {sentence}\n"
        await asyncio.sleep(0)


def rank(text: str, limit: int = 5) -> list[tuple[str, int]]:
    words = Counter(word for word in re.findall(r"[a-z][a-z-]{2,}", text.lower()) if word not in COMMON)
    return sorted(words.items(), key=lambda item: (-item[1], item[0]))[:limit]

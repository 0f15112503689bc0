"""Small tools for text: counts, frequent words, how hard it is to read."""

from __future__ import annotations

import re
from collections import Counter
from typing import Annotated, Any

from pydantic import Field

Text = Annotated[str, Field(description="The text to look at.")]

_WORD = re.compile(r"[^\W_]+(?:['\u2019-][^\W_]+)*")
_SENTENCE_END = re.compile(r"[.!?]+(?=\s|$)")
_COMMON_WORDS = """
a about after all also an and any are as at be because been but by can could did do does for from had has have he her
his how i if in into is it its may more most no not of on one or other our out over she so some such than that the
their them then there these they this to up us was we were what when which who will with would you your
"""
_COMMON = frozenset(_COMMON_WORDS.split())


def word_count(text: Text) -> dict[str, Any]:
    """Count the words, sentences, lines and characters of a text."""
    words = len(_WORD.findall(text))
    sentences = _sentences(text)
    return {
        "words": words,
        "sentences": sentences,
        "lines": len(text.splitlines()),
        "characters": len(text),
        "summary": f"{words} words in {sentences} sentences, {len(text)} characters.",
    }


def top_words(
    text: Text, limit: Annotated[int, Field(ge=1, le=50, description="How many words to return.")] = 10
) -> dict[str, Any]:
    """The most frequent words of a text, without the common ones such as `the`; ties in alphabetical order."""
    words = Counter(word.casefold() for word in _WORD.findall(text))
    ranked = sorted(
        ((word, count) for word, count in words.items() if word not in _COMMON and len(word) > 1),
        key=lambda item: (-item[1], item[0]),
    )[:limit]
    listed = ", ".join(f"{word} ({count})" for word, count in ranked)
    return {
        "words": [{"word": word, "count": count} for word, count in ranked],
        "summary": f"Most frequent: {listed}." if ranked else "No words but common ones.",
    }


def readability(text: Text) -> dict[str, Any]:
    """How hard an English text is to read: Flesch reading ease (100 = very easy) and the school grade it needs."""
    words = _WORD.findall(text)
    if not words:
        raise ValueError("the text has no words")
    per_sentence = len(words) / _sentences(text)
    per_word = sum(_syllables(word) for word in words) / len(words)
    ease = 206.835 - 1.015 * per_sentence - 84.6 * per_word
    grade = max(0.0, 0.39 * per_sentence + 11.8 * per_word - 15.59)
    level = "easy" if ease >= 70 else "plain" if ease >= 50 else "difficult"
    return {
        "reading_ease": round(ease, 1),
        "grade": round(grade, 1),
        "words_per_sentence": round(per_sentence, 1),
        "level": level,
        "summary": f"Reading ease {ease:.0f} ({level}), school grade {grade:.0f}, {per_sentence:.0f} words a sentence.",
    }


def _sentences(text: str) -> int:
    """How many sentences; a last one without a full stop counts."""
    return sum(1 for part in _SENTENCE_END.split(text) if _WORD.search(part))


def _syllables(word: str) -> int:
    """Groups of vowels, without a silent e at the end; at least one. An estimate, for English."""
    groups = re.findall(r"[aeiouy]+", word.casefold())
    silent = len(groups) > 1 and groups[-1] == "e" and not word.casefold().endswith("le")
    return max(1, len(groups) - silent)

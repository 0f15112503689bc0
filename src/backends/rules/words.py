"""Words that carry meaning, and their stems: what the offline backend compares."""

from __future__ import annotations

import re

#: Stands between a question and what others found before, in a message of one agent to the next.
EARLIER = "Earlier results:"

_WORD = re.compile(r"[a-z0-9][a-z0-9+#]*")
_FENCE = re.compile(r"```[^\S\n]*(?:[\w+-]*[^\S\n]*\n)?(.*?)(?:```|\Z)", re.DOTALL)
_QUOTED = re.compile(r"\"([^\"\n]+)\"|(?<!\w)'([^'\n]+)'(?!\w)|(?<!`)`([^`\n]+)`(?!`)|\u201c([^\u201d\n]+)\u201d")
_PATH = re.compile(
    r"(?<![\w/.:@-])(?:~?/|\.{1,2}/)?(?:[\w.-]+/)*[\w-]*[\w]\.[A-Za-z]\w{0,4}\b|(?<!\S)(?:~?/|\.{1,2}/)[\w./-]+"
)
_COMMON = frozenset(
    _WORD.findall(
        "a about agent agents all also am an and another answer answers any are as ask at be been but by can could did "
        "do does for from get give had has have he her here him his how i if in into is it its just let like make many "
        "may me more most much my need new no not of off on one only or other our out over please question questions "
        "say says she should so some such take tell than that the their them then there these they this those to too "
        "up us use used user using very want was we were what when where which who whom whose why will with would you "
        "your good great best after before first next last works work use task"
    )
)
_ENDINGS = (
    "isations", "izations", "isation", "ization", "ations", "ation", "ingly", "ments", "ment", "ising", "izing",
    "ated", "ating", "ates", "ities", "ity", "ical", "ings", "ing", "ies", "ied", "ers", "est", "ed", "es", "er", "ly",
    "al", "y", "s", "e",
)  # fmt: skip


def stem(word: str) -> str:
    """A word without its ending, roughly: `reviews`, `reviewing` and `reviewer` are alike."""
    if len(word) <= 3 or not word.isalpha() or word.endswith("ss"):
        return word
    for ending in _ENDINGS:
        if word.endswith(ending) and len(word) - len(ending) >= 3:
            kept = word[: -len(ending)]
            return kept[:-1] if len(kept) > 3 and kept[-1] == kept[-2] and kept[-1] not in "ls" else kept
    return word


def words(text: str) -> list[str]:
    """All words of a text, in lower case; an underscore parts them."""
    return _WORD.findall(text.lower())


def keywords(*texts: str) -> frozenset[str]:
    """The stems of the words that mean something."""
    return frozenset(stem(word) for text in texts for word in words(text) if word not in _COMMON)


def asked(text: str) -> str:
    """The question in a message: without code, paths, quoted text, and what others found before."""
    text = text.partition(f"\n{EARLIER}")[0]
    return _PATH.sub(" ", _QUOTED.sub(" ", _FENCE.sub(" ", text)))


def earlier(text: str) -> str:
    """What others found before, in a message; empty when nothing was handed on."""
    return text.partition(f"\n{EARLIER}")[2].strip()


def fenced(text: str) -> list[str]:
    """What stands between ``` fences."""
    return [block.strip("\n") for block in _FENCE.findall(text) if block.strip()]


def quoted(text: str) -> list[str]:
    """What stands in quotes or backticks."""
    return [next(filter(None, groups)).strip() for groups in _QUOTED.findall(_FENCE.sub(" ", text))]


def paths(text: str) -> list[str]:
    """What looks like a file or folder: `src/app.py`, `orders.csv`, `/tmp`."""
    return [match.rstrip(".") for match in _PATH.findall(_FENCE.sub(" ", text))]

"""Comparing a claim with a sentence: do they speak of the same, do their numbers and their direction agree?

No language model: words are compared by their stems, numbers with their units, directions (`raised`, `fell`) and
negations by word lists. `compare()` says `supports`, `contradicts` or `neither`, and why.
"""

from __future__ import annotations

import math
import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from .sources import content_words, normal

Relation = Literal["supports", "contradicts", "neither"]

_UP = re.compile(
    r"\b(?:add(?:s|ed|ing)?|boost\w*|creat(?:e|es|ed|ing|ion)|expan\w+|faster|gain\w*|gr[eo]w\w*|higher|improv\w+"
    r"|increase\w*|increasing|positive|rais(?:e|es|ed|ing)|ris(?:e|es|en|ing)|rose)\b"
)
_DOWN = re.compile(
    r"\b(?:cut(?:s|ting)?|declin\w+|decrease\w*|decreasing|destroy\w*|displac\w+|eliminat\w+|erod\w+|fall(?:s|en|ing)?|fell|fewer"
    r"|less|lose|loses|losing|loss(?:es)?|lost|lower\w*|negative|reduc\w+|shr[aiu]nk\w*|slower|worse\w*)\b"
)
_NEGATIONS = frozenset({"no", "not", "never", "neither", "nor", "without", "cannot", "zeros", "zero", "none"})
#: Words of actual loss: a source that speaks of exposure or risk does not support a claim that uses one of them.
_LOSS_STEMS = frozenset({"destroy", "displac", "eliminat", "lose", "loss", "lost", "replac", "disappear", "vanish"})

_WORDS = {"two thirds": "66.7 percent", "one third": "33.3 percent", "a third": "33.3 percent",
          "three quarters": "75 percent", "one fourth": "25 percent", "a quarter": "25 percent",
          "a fourth": "25 percent", "six in ten": "60 percent", "one in ten": "10 percent"}  # fmt: skip
_HALF = re.compile(r"\bhalf of\b|\bhalf the\b(?! time)")
_NUMBER = re.compile(
    r"(?:(?P<most>no more than|at most|up to|less than|fewer than|under|below)|"
    r"(?P<least>more than|at least|over|above|no less than))?\s*"
    r"(?P<value>\d{1,3}(?:,\d{3})+(?:\.\d+)?|\d+(?:\.\d+)?)"
    r"(?:\s*(?P<scale>thousand|million|billion|trillion)\b)?"
    r"(?:\s*(?P<unit>percent(?:age points?)?|times|years?)\b)?"
)
_SCALES = {"thousand": 1e3, "million": 1e6, "billion": 1e9, "trillion": 1e12}


@dataclass(frozen=True)
class Number:
    """A figure: its value, its unit (percent, points, times, years, year for a date, empty for a count), its bound."""

    value: float
    unit: str
    bound: Literal["", "least", "most"] = ""

    def equals(self, other: Number) -> bool:
        """The same figure, as far as rounding goes (half a percent of it)."""
        return self.unit == other.unit and math.isclose(self.value, other.value, rel_tol=0.005)

    def holds_for(self, others: Sequence[Number]) -> bool:
        """Whether one of `others` is this figure, or, for `more than 40`, all of its unit are on that side."""
        if any(self.equals(other) for other in others):
            return True
        values = [other.value for other in others if other.unit == self.unit]
        if self.bound == "least":
            return bool(values) and min(values) >= self.value
        return self.bound == "most" and bool(values) and max(values) <= self.value


@dataclass(frozen=True)
class Comparison:
    """What one sentence says about a claim: `overlap` is the share of the claim's words that it holds, 0 to 1."""

    relation: Relation
    overlap: float
    reason: str


def stem(word: str) -> str:
    """A word without its ending, roughly: `increased`, `increasing` and `increases` are alike."""
    if word.isdigit() or len(word) <= 3:
        return word
    for ending in ("isations", "izations", "isation", "ization", "ations", "ation", "ated", "ating", "ates", "able",
                   "ies", "ied", "ing", "ers", "est", "ed", "es", "er", "ly", "s", "e"):  # fmt: skip
        if word.endswith(ending) and len(word) - len(ending) >= 3:
            return word[: -len(ending)] + ("y" if ending in ("ies", "ied") else "")
    return word


def stems(text: str) -> list[str]:
    """The stems of a text's words that carry meaning, without its numbers."""
    return list(dict.fromkeys(stem(word) for word in content_words(text) if not word[0].isdigit()))


def numbers(text: str) -> list[Number]:
    """The figures of a text; `half of`, `two thirds` and the like count as percent."""
    text = normal(text).casefold()
    for words, figure in _WORDS.items():
        text = text.replace(words, figure)
    text = re.sub(r"\bthree times\b", "3 times", re.sub(r"\btwice\b", "2 times", _HALF.sub("50 percent of", text)))
    found = []
    for match in _NUMBER.finditer(text):
        value = float(match["value"].replace(",", "")) * _SCALES.get(match["scale"] or "", 1)
        unit = match["unit"] or ""
        if unit.startswith("percent"):
            unit = "percent" if unit == "percent" else "points"
        elif not unit and not match["scale"] and "," not in match["value"] and 1800 <= value <= 2100:
            unit = "year"
        elif unit.startswith("year"):
            unit = "years"
        found.append(Number(value, unit, "least" if match["least"] else "most" if match["most"] else ""))
    return found


def compare(claim: str, sentence: str, weights: Mapping[str, float], context: str = "") -> Comparison:
    """What `sentence` says about `claim`.

    `weights` are the words' weights, rare ones more (a word that is not there counts as the rarest); `context` is what
    the sentence belongs to, its title for example: words found only there count for less.
    """
    topic = [word for word in stems(claim) if not _UP.search(word) and not _DOWN.search(word)]
    if not topic:
        return Comparison("neither", 0.0, "the claim names no subject")
    said = set(stems(sentence))
    direct = _share(topic, said, weights)
    overlap = direct + 0.7 * _share(
        [word for word in topic if word in set(stems(context)) - said], topic, weights, topic
    )
    if direct < 0.25 or overlap < 0.45:
        return Comparison("neither", overlap, "it speaks of something else")
    if {stem(word) for word in content_words(claim)} & _LOSS_STEMS and not said & _LOSS_STEMS:
        return Comparison("neither", overlap, "the source speaks of exposure or risk, the claim of actual loss")
    clause = max(_clauses(sentence), key=lambda part: _share(topic, set(stems(part)), weights))
    direction = _by_direction(claim, clause)
    figures = [number for number in numbers(claim) if number.unit != "year"]
    if not figures:
        if direction == "contradicts" and overlap >= 0.5:
            return Comparison("contradicts", overlap, "it says the opposite")
        if direction == "supports" and overlap >= 0.55:
            return Comparison("supports", overlap, "it says the same")
        return Comparison("neither", overlap, "it speaks of the subject but does not settle the claim")
    relation, reason = _by_numbers(figures, numbers(sentence), numbers(clause))
    if relation == "supports" and direction == "contradicts":
        return Comparison("contradicts", overlap, "its figure is the same, its direction the opposite")
    if relation == "contradicts" and overlap < 0.55:
        return Comparison("neither", overlap, f"perhaps of something else: {reason}")
    return Comparison(relation, overlap, reason)


def _share(topic: Sequence[str], found: Collection[str], weights: Mapping[str, float], of: Sequence[str] = ()) -> float:
    """How much of `topic` (or, given, of the weight of `of`) is among `found`, 0 to 1."""
    rarest = max(weights.values(), default=1.0)
    total = sum(weights.get(word, rarest) for word in of or topic)
    return sum(weights.get(word, rarest) for word in topic if word in found) / total


def _clauses(sentence: str) -> list[str]:
    """The parts of a sentence that can say different things."""
    return re.split(r"[;:]\s+|,?\s+(?:because|while|but|yet|although|whereas)\s+", sentence)


def _by_numbers(figures: Sequence[Number], given: Sequence[Number], nearest: Sequence[Number]) -> tuple[Relation, str]:
    """Whether every figure of the claim is `given`, or another of the same unit is in its place."""
    missing = [figure for figure in figures if not figure.holds_for(given) and not figure.holds_for(nearest)]
    if not missing:
        return "supports", f"its figures agree with {_listed(figures)}"
    units = {figure.unit for figure in missing}
    instead = [number for number in nearest if number.unit in units] or [
        number for number in given if number.unit in units
    ]
    if instead:
        return "contradicts", f"it has {_listed(instead)}, the claim {_listed(missing)}"
    return "neither", "it has no figure for this"


def _by_direction(claim: str, clause: str) -> Relation:
    """Whether both go up or down, and whether one of them denies it."""
    ours, theirs = _direction(claim), _direction(clause)
    same_sign = _denied(claim) == _denied(clause)
    if ours == theirs:
        return "supports" if same_sign else "contradicts"
    if "both" in (ours, theirs) or "none" in (ours, theirs):
        return "neither"
    return "contradicts" if same_sign else "neither"


def _direction(text: str) -> Literal["up", "down", "both", "none"]:
    text = re.sub(r"\bmore or less\b|\b(?:more|less|higher|lower|fewer) than\b", "", text.casefold())
    up, down = bool(_UP.search(text)), bool(_DOWN.search(text))
    return "both" if up and down else "up" if up else "down" if down else "none"


def _denied(text: str) -> bool:
    words = re.findall(r"[a-z']+", text.casefold().replace("no more than", "").replace("no less than", ""))
    return any(word in _NEGATIONS or word.endswith("n't") for word in words)


def _listed(figures: Sequence[Number]) -> str:
    return ", ".join(dict.fromkeys(f"{number.value:,.10g} {number.unit}".strip() for number in figures))

"""The answer: who said what, each with its source, and what a tool gave in words a person can read."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from teamwright.backends.api import Message
from teamwright.backends.rules.words import EARLIER, asked, keywords

MARK = "[offline, no model]"

_ERROR = "error: "
_MOST_ITEMS = 12
_LONG = 400
_NESTED = re.compile(r"\A[^\n(:]{1,80} \(([^()\n]{1,120})\):\s")
_RECALL = re.compile(
    r"\b(?:what|which|who|where|when|whose|how)\b.*\b(?:i|my|me|we|mine|our)\b"
    r"|\b(?:remember|recall|remind|earlier|before|previous(?:ly)?|so far)\b",
    re.IGNORECASE,
)
_GOES_ON = re.compile(r"\s*(?:and|or|what about|how about|same|again|also|now)\b", re.IGNORECASE)


@dataclass(frozen=True)
class Heard:
    """What came of one call: who said it, what, and whether it failed."""

    source: str
    text: str
    failed: bool = False

    @property
    def error(self) -> str | None:
        """What went wrong in a call that was made; None for one that was not."""
        if not self.failed or not self.text.startswith(_ERROR):
            return None
        return self.text.removeprefix(_ERROR).removeprefix(f"{self.source} failed: ").replace(f"{MARK} ", "")

    @property
    def data(self) -> Any:
        """The result of a tool as it was, where it is JSON."""
        if self.failed or self.text[:1] not in ("{", "["):
            return None
        try:
            return json.loads(self.text)
        except (ValueError, RecursionError):
            return None


def compose(agent: str, heard: Sequence[Heard]) -> str:
    """An answer out of what tools and peers said; those that failed are named."""
    if len(heard) == 1:
        if (error := heard[0].error) is not None:
            return f"{MARK} {agent}: {heard[0].source} failed: {error}"
        source, text = _unwrapped(heard[0])
        source = source.replace(" (", ", ").replace(")", "")
        return f"{MARK} {agent} ({source}):{_set_off(text)}"
    lines = [f"{MARK} {agent} asked {len(heard)} and heard:"]
    for item in heard:
        source, text = _unwrapped(item)
        if item.error is not None:
            source, text = f"{item.source} failed", item.error
        lines.append(f"- {source}:" + _set_off(text).replace("\n", "\n  "))
    return "\n".join(lines)


def nothing_worked(heard: Sequence[Heard]) -> bool:
    """Whether calls were made and all of them failed."""
    return all(item.failed for item in heard) and any(item.error is not None for item in heard)


def hand_on(text: str, heard: Sequence[Heard]) -> str:
    """A question for the next one in a chain, with what those before found."""
    question = text.partition(f"\n{EARLIER}")[0].rstrip()
    found = [f"{source}: {said}" for source, said in map(_unwrapped, heard)]
    return "\n".join([question, "", EARLIER, *found])


def echo(agent: str, text: str, history: Sequence[Message]) -> str:
    """What one says who has neither a tool nor a peer for it: what was asked, or what was said before."""
    said = " ".join(text.partition(f"\n{EARLIER}")[0].split())
    earlier = [word.text for word in history if word.role == "user"]
    if earlier and recalls(text):
        return f"{MARK} {agent} remembers: {'; '.join(_remembered(text, earlier))}"
    before = f" (after {len(earlier)} earlier in this session)" if earlier else ""
    return f"{MARK} {agent} got{before}: {said}"


def recalls(text: str) -> bool:
    """Whether somebody asks for what was said before in the session."""
    return bool(_RECALL.search(asked(text)))


def goes_on(text: str) -> bool:
    """Whether a question leans on the one before: `and in Paris?`"""
    return bool(_GOES_ON.match(text)) and len(text.split()) <= 8


def readable(value: Any) -> str:
    """A tool's result for a person: its `summary`, then what the summary doesn't say."""
    if isinstance(value, Mapping):
        summary = str(value.get("summary") or "")
        if "\n" in summary:
            return summary
        lines = [summary] if summary else _plain(value)
        for key, items in value.items():
            if isinstance(items, Sequence) and not isinstance(items, str) and items:
                lines += _listed(key, items, summary)
        return "\n".join(lines)
    if isinstance(value, Sequence) and not isinstance(value, str):
        return "\n".join(_listed("", value, "")).strip() or "(nothing)"
    return str(value)


def shaped(schema: Mapping[str, Any], text: str, heard: Sequence[Heard]) -> dict[str, Any]:
    """Data of the wanted shape, as far as the results hold it: by name, else the answer's text where text is wanted."""
    found: dict[str, Any] = {}
    for item in heard:
        if isinstance(item.data, Mapping):
            found.update(item.data)
    made: dict[str, Any] = {}
    for name, wanted in schema.get("properties", {}).items():
        if name in found:
            made[name] = found[name]
        elif name in schema.get("required", ()):
            made[name] = _stand_in(wanted, text, [item.source for item in heard])
    return made


def _stand_in(wanted: Mapping[str, Any], text: str, sources: Sequence[str]) -> Any:
    if "enum" in wanted:
        said = text.lower()
        return next((item for item in wanted["enum"] if str(item).lower() in said), wanted["enum"][0])
    kind = wanted.get("type")
    if kind in ("number", "integer"):
        number = re.search(r"-?\d+(?:\.\d+)?", text)
        value = float(number[0]) if number else 0.0
        return int(value) if kind == "integer" else value
    if kind == "array":
        return list(sources) if wanted.get("items", {}).get("type", "string") == "string" else []
    return {"boolean": False, "object": {}, "null": None}.get(str(kind), text)


def _set_off(text: str) -> str:
    """A list begins on a line of its own."""
    return f"\n{text}" if text.startswith("- ") else f" {text}"


def _unwrapped(item: Heard) -> tuple[str, str]:
    """Source and words. An answer that is itself one source's becomes `linter (lint)`, and marks are gone."""
    text = item.text if item.data is None else readable(item.data)
    ours = text.startswith(MARK)
    text = text.replace(f"{MARK} ", "").replace(MARK, "").strip()
    if ours and (nested := _NESTED.match(text)):
        return f"{item.source} ({nested[1]})", text[nested.end() :]
    return item.source, text


def _plain(value: Mapping[str, Any]) -> list[str]:
    return [f"{key}: {_short(item)}" for key, item in value.items() if not isinstance(item, list | dict)]


def _listed(key: str, items: Sequence[Any], summary: str) -> list[str]:
    """The items of a list that the summary doesn't name already."""
    shown = [_item(item) for item in items[:_MOST_ITEMS] if not _told(item, summary)]
    if not shown:
        return []
    more = len(items) - _MOST_ITEMS
    head = [f"{key.replace('_', ' ')}:"] if key and key != "findings" and summary else []
    return [*head, *(f"- {line}" for line in shown), *([f"- … and {more} more"] if more > 0 else [])]


def _told(item: Any, summary: str) -> bool:
    """Whether the summary stands for it: for figures and names always, for sentences where it holds them."""
    if not summary or (isinstance(item, Mapping) and "message" in item):
        return False
    texts = item.values() if isinstance(item, Mapping) else [item]
    return all(text in summary for text in texts if isinstance(text, str) and " " in text.strip())


def _item(item: Any) -> str:
    if not isinstance(item, Mapping):
        return _short(item)
    rest = dict(item)
    place = ""
    if isinstance(rest.get("file"), str):
        place = f"{rest.pop('file')}" + (f":{rest.pop('line')}" if "line" in rest else "") + " "
    return place + " ".join(
        _short(value) if key in ("rule", "severity", "message", "name", "title", "text") else f"{key} {_short(value)}"
        for key, value in rest.items()
        if not isinstance(value, list | dict)
    )


def _short(value: Any) -> str:
    text = " ".join(str(value).split())
    return text if len(text) <= _LONG else f"{text[:_LONG]} …"


def _remembered(text: str, earlier: Sequence[str]) -> list[str]:
    """The sentences of the session that share most with the question; the last ones where none does."""
    question = keywords(asked(text))
    sentences = [part.strip() for words in earlier for part in re.split(r"(?<=[.!?])\s+|\n", words) if part.strip()]
    told = [part for part in sentences if not part.endswith("?")] or sentences
    scored = [(len(question & keywords(part)), place, part) for place, part in enumerate(told)]
    best = max((score for score, _, _ in scored), default=0)
    found = [part for score, _, part in scored if score == best and best] or told[-3:]
    return [f"“{_short(part)}”" for part in found[-3:]]

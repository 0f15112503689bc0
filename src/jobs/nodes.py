"""YAML text as a tree of nodes that know their lines: no tags, no Python objects, bounded depth.

Scalars mean what YAML 1.2 says: `yes`, `no` and dates are words, only true and false are booleans.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator
from dataclasses import dataclass

import yaml

from teamwright.errors import JobFileError, Problem

DEPTH_LIMIT = 50

_NULL = re.compile(r"(?:~|null|Null|NULL|)\Z")
_BOOL = re.compile(r"(?:true|True|TRUE|false|False|FALSE)\Z")
_INT = re.compile(r"[-+]?[0-9]{1,40}\Z")
_HEX = re.compile(r"0x[0-9a-fA-F]{1,32}\Z")
_OCTAL = re.compile(r"0o[0-7]{1,40}\Z")
_FLOAT = re.compile(r"[-+]?(?:\.[0-9]+|[0-9]+(?:\.[0-9]*)?)(?:[eE][-+]?[0-9]{1,3})?\Z")
_TAG = "tag:yaml.org,2002:"

Value = str | int | float | bool | None
_Loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


@dataclass(slots=True)
class Scalar:
    """One value as written. `plain`: without quotes, so its type follows from its text."""

    line: int
    text: str
    plain: bool


@dataclass(slots=True)
class Sequence:
    """A list."""

    line: int
    items: list[Node]


@dataclass(slots=True)
class Mapping:
    """A mapping; a key that is written twice is in here twice."""

    line: int
    items: list[tuple[Scalar, Node]]


Node = Scalar | Sequence | Mapping


def compose(text: str, file: str) -> Node | None:
    """The one document in `text`; None when there is none.

    Raises JobFileError for broken syntax, tags, aliases of nothing or of themselves, and nesting over DEPTH_LIMIT.
    """
    reader = _Composer(file)
    try:
        return reader.document(yaml.parse(text, Loader=_Loader))
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        line = mark.line + 1 if mark else None
        said = " ".join(part for part in (error.context, error.problem) if part)
        raise JobFileError([Problem(f"not valid YAML: {said}", file, line, hint=_syntax_hint(text, line))]) from None
    except yaml.YAMLError as error:
        raise JobFileError([Problem(f"not valid YAML: {' '.join(str(error).split())}", file)]) from None


def scalar_value(text: str) -> Value:
    """What a plain scalar means: null, a boolean, a number, or its text."""
    if _NULL.match(text):
        return None
    if _BOOL.match(text):
        return text.lower() == "true"
    if _INT.match(text):
        return int(text)
    if _HEX.match(text) or _OCTAL.match(text):
        return int(text, 0)
    if _FLOAT.match(text) and math.isfinite(number := float(text)):
        return number
    return text


class _Composer:
    def __init__(self, file: str) -> None:
        self._file = file
        self._anchors: dict[str, Node | None] = {}

    def document(self, events: Iterator[yaml.Event]) -> Node | None:
        root: Node | None = None
        seen = False
        for event in events:
            if isinstance(event, yaml.DocumentStartEvent):
                if seen:
                    raise self._wrong(event, "a second document starts here", "one job file holds one job: remove ---")
                seen = True
            elif isinstance(
                event, (yaml.ScalarEvent, yaml.AliasEvent, yaml.SequenceStartEvent, yaml.MappingStartEvent)
            ):
                root = self._node(event, events, 0)
        if isinstance(root, Scalar) and root.plain and not root.text:
            return None
        return root

    def _node(self, event: yaml.Event, events: Iterator[yaml.Event], depth: int) -> Node:
        line = _line(event)
        if depth > DEPTH_LIMIT:
            raise self._wrong(event, f"nested deeper than {DEPTH_LIMIT} levels")
        if isinstance(event, yaml.AliasEvent):
            if event.anchor not in self._anchors:
                raise self._wrong(event, f"alias *{event.anchor} has no anchor &{event.anchor} above it")
            known = self._anchors[event.anchor]
            if known is None:
                raise self._wrong(event, f"alias *{event.anchor} stands inside itself")
            return known
        anchor = getattr(event, "anchor", None)
        if anchor:
            self._anchors[anchor] = None
        node: Node
        if isinstance(event, yaml.ScalarEvent):
            text_wanted = self._tag(event, ("str",))
            node = Scalar(line, event.value, plain=event.style in (None, "") and not text_wanted)
        elif isinstance(event, yaml.SequenceStartEvent):
            self._tag(event, ("seq",))
            node = Sequence(line, [])
            while not isinstance(inner := next(events), yaml.SequenceEndEvent):
                node.items.append(self._node(inner, events, depth + 1))
        else:
            self._tag(event, ("map",))
            node = Mapping(line, [])
            while not isinstance(inner := next(events), yaml.MappingEndEvent):
                key = self._node(inner, events, depth + 1)
                if not isinstance(key, Scalar):
                    raise self._wrong(inner, "a key must be one word", 'quote it: "…"')
                node.items.append((key, self._node(next(events), events, depth + 1)))
        if anchor:
            self._anchors[anchor] = node
        return node

    def _tag(self, event: yaml.Event, allowed: tuple[str, ...]) -> bool:
        tag = getattr(event, "tag", None)
        if tag in (None, "!"):
            return tag == "!"
        if tag.removeprefix(_TAG) not in allowed or not tag.startswith(_TAG):
            raise self._wrong(event, f"the tag {tag.replace(_TAG, '!!')} is not allowed", "write a plain value")
        return True

    def _wrong(self, event: yaml.Event, message: str, hint: str | None = None) -> JobFileError:
        return JobFileError([Problem(message, self._file, _line(event), hint=hint)])


def _syntax_hint(text: str, line: int | None) -> str | None:
    around = text.splitlines()[max(0, (line or 1) - 2) : line] if line else []
    if any("\t" in one[: len(one) - len(one.lstrip())] for one in around):
        return "indent with spaces, not tabs"
    if any(re.search(r"[\[{,:]\s*[^\"'\s]*\$\{.*[\]}]", one) for one in around):
        return "inside [ ] and { } a ${VAR} needs quotes, or a line of its own"
    return None


def _line(event: yaml.Event) -> int:
    return event.start_mark.line + 1 if event.start_mark else 0

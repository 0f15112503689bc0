"""Arguments of a tool, taken from a question: named, quoted, fenced, numbers, names, paths, or the question itself.

fill(tool, 'What is the weather in "New York" for 3 days?')     [{"city": "New York", "days": 3}]
fill(tool, "weather in Rome and Oslo")                          [{"city": "Rome"}, {"city": "Oslo"}]
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from teamwright.backends.api import Tool
from teamwright.backends.rules.words import EARLIER, earlier, fenced, keywords, paths, quoted, words

_MOST_CALLS = 4
_NUMBER = re.compile(r"(?<![\w.-])-?\d+(?:,\d{3})*(?:\.\d+)?(?![\w]*[-/.]\d)")
_NAME = r"[A-Z][\w&'-]*(?:\s[A-Z][\w&'-]*)*"
_LIST = re.compile(rf"(?<![\w/]){_NAME}(?:(?:\s*,\s*(?:and\s+)?|\s+(?:and|or|vs\.?)\s+){_NAME})+")
_BRACKETED = re.compile(r"\[([a-z0-9]+(?:[-_.][a-z0-9]+)+)\]")
_FENCED = re.compile(r"```.*?(?:```|\Z)", re.DOTALL)
_WHOLE = frozenset(("question", "query", "text", "message", "prompt", "input", "request", "content", "topic", "task"))
_MATERIAL = frozenset(("text", "texts", "content", "input", "claims", "batch", "notes", "data", "document", "code"))
_PATHS = frozenset(("path", "file", "filename", "folder", "directory"))
_FROM = frozenset(("origin", "start", "departure"))
_TO = frozenset(("destination", "end", "goal", "arrival"))


def fill(tool: Tool, text: str, known: Mapping[str, Any] | None = None) -> list[dict[str, Any]]:
    """The arguments of each call that the text asks for; none when a required one isn't in it.

    `known` are values from earlier results, by name.
    """
    found = _Text(tool, text, known or {}).arguments()
    return [] if found is None else found


class _Text:
    """One question, read for one tool."""

    def __init__(self, tool: Tool, text: str, known: Mapping[str, Any]) -> None:
        self._tool = tool
        self._text = text
        self._known = known
        self._properties: Mapping[str, Any] = tool.parameters.get("properties", {})
        self._required: Sequence[str] = tool.parameters.get("required", ())
        self._question = text.partition(f"\n{EARLIER}")[0].strip()
        self._numbers = list(_NUMBER.finditer(self._question))
        self._quoted: Iterator[str] = iter(quoted(self._question))
        self._names: Iterator[str] = iter(self._named())

    def arguments(self) -> list[dict[str, Any]] | None:
        found: dict[str, Any] = {}
        for name, schema in self._properties.items():
            value = self._value(name, self._plain(schema), required=name in self._required)
            if value is None and name in self._required:
                return None
            if value is not None:
                found[name] = value
        return self._several(found)

    def _several(self, found: dict[str, Any]) -> list[dict[str, Any]]:
        """A call for each name of `Rome, Oslo and Bern`, where one parameter takes one name."""
        for name in self._required:
            if isinstance(found.get(name), str) and self._takes_name(name, self._plain(self._properties[name])):
                for group in _LIST.findall(self._question):
                    names = re.findall(_NAME, group)
                    if found[name] in names and len(self._required) == 1:
                        return [{**found, name: each} for each in names[:_MOST_CALLS]]
        return [found]

    def _value(self, name: str, schema: Mapping[str, Any], *, required: bool) -> Any:
        if name in self._known and _fits(self._known[name], schema):
            return self._known[name]
        if "const" in schema:
            return schema["const"] if required else None
        if options := schema.get("enum"):
            return self._option(options, name, schema, required=required)
        kind = schema.get("type")
        if kind in ("integer", "number"):
            return self._number(name, kind, required=required)
        if kind == "boolean":
            return self._flag(name, required=required)
        if kind == "array":
            return self._array(schema, required=required)
        if kind == "object":
            return self._object(required=required)
        return self._string(name, schema, required=required)

    def _plain(self, schema: Mapping[str, Any]) -> Mapping[str, Any]:
        """A schema without references and without the null of `X | None`."""
        if "$ref" in schema:
            target = self._tool.parameters.get("$defs", {}).get(str(schema["$ref"]).rpartition("/")[2], {})
            return {**target, **{key: value for key, value in schema.items() if key != "$ref"}}
        for key in ("anyOf", "oneOf", "allOf"):
            choices = [item for item in schema.get(key, ()) if item.get("type") != "null"]
            if choices:
                return {**self._plain(choices[0]), **{k: v for k, v in schema.items() if k != key}}
        return schema

    def _option(self, options: Sequence[Any], name: str, schema: Mapping[str, Any], *, required: bool) -> Any:
        said = set(words(self._question))
        stems = keywords(self._question)
        for option in options:
            word = str(option).lower()
            # One letter is a word of many sentences: only `units=c` or `in c` means it.
            if len(word) == 1 and not re.search(rf"(?i)\b(?:{re.escape(name)}\s*[:=]?|in)\s+{word}\b", self._question):
                continue
            if word in said or (len(word) > 3 and keywords(word) and keywords(word) <= stems):
                return option
        return schema.get("default", options[0]) if required else None

    def _number(self, name: str, kind: str, *, required: bool) -> int | float | None:
        """The number beside a word of the parameter's name: `3 days`, `limit 5`, `days=3`; else the next one."""
        of_name = keywords(name) or {name}
        for match in self._numbers:
            before = words(self._question[: match.start()])[-2:]
            after = words(self._question[match.end() :])[:1]
            if of_name & keywords(*before, *after) or name in (*before, *after):
                self._numbers.remove(match)
                return _number(match[0], kind)
        if required and self._numbers:
            return _number(self._numbers.pop(0)[0], kind)
        return None

    def _flag(self, name: str, *, required: bool) -> bool | None:
        if not keywords(name) or not keywords(name) <= keywords(self._question):
            return False if required else None
        first = words(name)[0]
        return not re.search(rf"\b(?:no|not|without|don't)\s+(?:\w+\s+)?{re.escape(first)}", self._question.lower())

    def _array(self, schema: Mapping[str, Any], *, required: bool) -> list[Any] | None:
        if not required:
            return None
        kind = self._plain(schema.get("items", {})).get("type", "string")
        if kind in ("integer", "number"):
            found: list[Any] = [_number(match[0], kind) for match in self._numbers]
            return found or None
        listed = [*quoted(self._question), *paths(self._question)]
        group = _LIST.search(self._question)
        return listed or (re.findall(_NAME, group[0]) if group else None)

    def _object(self, *, required: bool) -> dict[str, Any] | None:
        if required:
            for text in (*fenced(self._text), self._question[self._question.find("{") :]):
                try:
                    found = json.loads(text)
                except ValueError:
                    continue
                if isinstance(found, dict):
                    return found
        return None

    def _string(self, name: str, schema: Mapping[str, Any], *, required: bool) -> str | None:
        parts = set(words(name))
        # `text: …` is a sentence about a text, not an argument.
        sign = "=" if parts & (_WHOLE | _MATERIAL) else "[=:]"
        value = rf"(?i)\b{re.escape(name)}[^\S\n]*{sign}[^\S\n]*(?:[\"'`]([^\"'`\n]+)[\"'`]|([^\s,;`]+))"
        if given := re.search(value, _FENCED.sub(" ", self._question)):
            return given[1] or given[2]
        about = str(schema.get("description", "")).lower()
        if cited := _BRACKETED.findall(self._text) if re.search(r"\b(?:ids?|citations?)\b", about) else []:
            if parts & _MATERIAL:
                return earlier(self._text) or self._material()
            return ", ".join(dict.fromkeys(cited))
        if not required:
            return self._optional(parts)
        handed = earlier(self._text)
        if handed and (parts & _MATERIAL or "a text" in about) and not parts & _PATHS:
            return handed
        if (parts & _PATHS or ("path" in about and not parts & _MATERIAL)) and (
            found := paths(self._question) or paths(handed)
        ):
            return found[0]
        if "code" in parts | set(words(about)) and (blocks := fenced(self._text)):
            return "\n".join(blocks) + "\n"
        if parts & _MATERIAL:
            return self._material()
        if "a text" in about:
            return self._question
        if parts & _WHOLE or "question" in about or "code" in parts | set(words(about)):
            return next(self._quoted, None) or self._text
        return self._name(parts)

    def _optional(self, parts: set[str]) -> str | None:
        """Only what is quoted for it: a guess would change what the tool does."""
        return next(self._quoted, None) if parts & {"question", "query", "topic"} else None

    def _material(self) -> str:
        """What is to be worked on: in a fence, quoted, behind a colon, or all of the question."""
        if blocks := fenced(self._text):
            return "\n".join(blocks)
        if said := next(self._quoted, None):
            return said
        head, colon, rest = self._question.partition(":")
        return rest.strip() if colon and len(words(head)) <= 12 and len(words(rest)) >= 2 else self._question

    def _name(self, parts: set[str]) -> str | None:
        for ends, marks in ((_FROM, ("from",)), (_TO, ("to", "towards"))):
            if parts & ends:
                found = re.search(rf"\b(?:{'|'.join(marks)})\s+({_NAME}|[a-z]{{3,}})", self._question)
                if found:
                    return found[1]
        if said := next(self._quoted, None):
            return said
        if name := next(self._names, None):
            return name
        after = re.search(r"\b(?:in|of|for|at|about)\s+(?:the\s+)?([a-z]{3,})\s*(?:[?.!,]|$)", self._question)
        if after:
            return after[1]
        return self._text if len(self._required) <= 1 and len(words(self._question)) > 2 else None

    def _named(self) -> list[str]:
        """Capitalised names inside sentences, those behind a word of the tool's first: `the weather in New York`."""
        of_tool = keywords(self._tool.name, self._tool.description, *self._tool.tags)
        spots = [match.start() for match in re.finditer(r"\w+", self._question) if keywords(match[0]) & of_tool]
        start = min(spots, default=0)
        found = [
            match
            for match in re.finditer(rf"(?<![\w/]){_NAME}", self._question)
            if not (self._begins(match.start()) and not match[0].isupper())
        ]
        behind = [match[0] for match in found if match.start() > start]
        return [*behind, *(match[0] for match in found if match.start() <= start)]

    def _begins(self, place: int) -> bool:
        """Whether a sentence begins there: a capital says nothing."""
        return not self._question[:place].strip() or bool(re.search(r"[.!?:]\s*$", self._question[:place]))

    def _takes_name(self, name: str, schema: Mapping[str, Any]) -> bool:
        about = str(schema.get("description", "")).lower()
        return schema.get("type") == "string" and not set(words(name)) & (_WHOLE | _MATERIAL) and "a text" not in about


def _number(text: str, kind: str) -> int | float:
    value = float(text.replace(",", ""))
    return value if kind == "number" else int(value)


def _fits(value: Any, schema: Mapping[str, Any]) -> bool:
    kinds = {"string": str, "integer": int, "number": (int, float), "boolean": bool, "array": list, "object": dict}
    return isinstance(value, kinds.get(str(schema.get("type")), object))  # type: ignore[arg-type]

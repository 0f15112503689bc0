"""A stand-in's replies as rules in a YAML file, for those who try the pages of docs/ without a key.

    - when: {user: "sum", results: none}          # regular expressions on what reached it; `none`: no results yet
      reply: {thinking: First the sum., calls: [{name: add, arguments: {a: 3, b: 4}}]}
    - when: {results: "7"}
      reply: {text: "It is {results}."}
      once: true                                  # only for the first request that it fits

The first rule that fits a request is its reply; `{results}` in a text stands for what the tools answered.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from tests.standins.script import Call, Reply, Seen, Tokens

_NOTHING = "none"


@dataclass
class _Rule:
    when: Mapping[str, str]
    reply: Mapping[str, Any]
    once: bool = False
    used: bool = False

    def fits(self, seen: Seen) -> bool:
        if self.once and self.used:
            return False
        found = {"user": seen.user, "system": seen.system, "results": " | ".join(seen.results.values())}
        for key, wanted in self.when.items():
            text = found[key]
            if (wanted == _NOTHING and text) or (wanted != _NOTHING and re.search(wanted, text) is None):
                return False
        return True


@dataclass
class Rules:
    """Called with a request, the reply of the first rule that fits; an HTTP 400 that says so where none does."""

    rules: Sequence[_Rule] = field(default_factory=list)

    @classmethod
    def read(cls, path: Path) -> Rules:
        """Raises OSError, ValueError."""
        found = yaml.safe_load(path.read_text())
        return cls([_Rule(one.get("when") or {}, one["reply"], bool(one.get("once"))) for one in found])

    def __call__(self, seen: Seen) -> Reply:
        rule = next((rule for rule in self.rules if rule.fits(seen)), None)
        if rule is None:
            return Reply(status=400, error=f"no rule fits: user {seen.user[:200]!r}, results {list(seen.results)}")
        rule.used = True
        given = dict(rule.reply)
        if isinstance(given.get("text"), str):
            given["text"] = given["text"].replace("{results}", " | ".join(seen.results.values()))
        given["calls"] = [Call(**call) for call in given.get("calls") or ()]
        if "tokens" in given:
            given["tokens"] = Tokens(**given["tokens"])
        given["headers"] = {key: str(value) for key, value in (given.get("headers") or {}).items()}
        return Reply(**given)

"""Rules of users about what is masked in traces: names and regular expressions that can't take for ever.

Each rule is applied to the texts inside JSON, not to JSON itself, which therefore stays valid whatever it masks.
"""

from __future__ import annotations

import json
import re
import time
from collections.abc import Callable, Iterable, Mapping
from re import _constants as codes  # type: ignore[attr-defined]
from re import _parser  # type: ignore[attr-defined]
from typing import Any

from teamwright.errors import UserError
from teamwright.tracing.messages import to_json

#: Name and pattern.
Rule = tuple[str, str]

#: Characters that are looked at in one go (a match may go on as far again), and seconds that one text may take.
_PIECE = 2048
_SECONDS = 0.5
#: More ways than WAYS to match one piece from one place are refused; an open repetition goes to the piece's end.
_UNBOUNDED = 2 * _PIECE
WAYS = 20_000
PATTERN_LIMIT = 500
RULES_LIMIT = 100


class Masks:
    """The rules of a job, ready to use.

    >>> Masks([("customer", r"C-\\d{6}")])("ask C-123456")
    'ask [redacted: customer]'

    A text that takes too long is masked as a whole.
    """

    def __init__(self, rules: Iterable[Rule], clock: Callable[[], float] = time.perf_counter) -> None:
        self._rules = [(name, re.compile(pattern)) for name, pattern in rules]
        self._clock = clock

    def __call__(self, text: str) -> str:
        """`text` with what the rules find masked; in JSON each text for itself, keys excepted."""
        if text[:1] in ("{", "["):
            try:
                found = json.loads(text)
            except (ValueError, RecursionError):
                pass
            else:
                masked = self._inside(found)
                return text if masked == found else to_json(masked)
        return self._plain(text)

    def _inside(self, value: Any) -> Any:
        if isinstance(value, str):
            return self(value)
        if isinstance(value, list):
            return [self._inside(item) for item in value]
        if isinstance(value, Mapping):
            return {key: self._inside(item) for key, item in value.items()}
        return value

    def _plain(self, text: str) -> str:
        until = self._clock() + _SECONDS
        for name, pattern in self._rules:
            parts: list[str] = []
            at = kept = 0
            while at <= len(text):
                if self._clock() > until:
                    return f"[redacted: {name} took too long]"
                # A match may go beyond the piece it begins in.
                match = pattern.search(text, at, at + 2 * _PIECE)
                if match is None or match.start() > at + _PIECE:
                    at += _PIECE
                elif match.end() == match.start():
                    at = match.end() + 1
                else:
                    parts += [text[kept : match.start()], f"[redacted: {name}]"]
                    at = kept = match.end()
            text = "".join([*parts, text[kept:]]) if parts else text
        return text


def problem(pattern: str) -> str | None:
    """Why a pattern can't be a rule; None when it can."""
    if not pattern or len(pattern) > PATTERN_LIMIT:
        return f"a pattern has 1 to {PATTERN_LIMIT} characters"
    try:
        compiled = re.compile(pattern)
        tree = _parser.parse(pattern)
    except (re.error, RecursionError, OverflowError) as error:
        return f"not a regular expression: {error}"
    if compiled.match(""):
        return "it matches the empty text, and so everywhere"
    if _ways(tree) > WAYS:
        return "it could take for ever; no repetition in a repetition, and bounds as in {1,20}"
    return None


def check(rules: Iterable[Rule]) -> None:
    """Raise UserError for the first that can't be one."""
    for name, pattern in rules:
        if found := problem(pattern):
            raise UserError(f"rule {name!r}: {found}")


def _ways(tree: Any) -> int:
    """In how many ways the pattern can match one text from one place, at most (counting ends beyond WAYS)."""
    ways = 1
    for code, given in tree:
        if code in (codes.MAX_REPEAT, codes.MIN_REPEAT, codes.POSSESSIVE_REPEAT):
            least, most, inner = given
            most = min(most, max(_UNBOUNDED, least))
            once = _ways(inner)
            ways *= most - least + 1 if once == 1 else sum(once ** min(count, 20) for count in range(least, most + 1))
        elif code is codes.BRANCH:
            ways *= sum(_ways(branch) for branch in given[1])
        elif code is codes.SUBPATTERN:
            ways *= _ways(given[3])
        elif code is codes.ATOMIC_GROUP:
            ways *= _ways(given)
        elif code in (codes.ASSERT, codes.ASSERT_NOT):
            ways *= _ways(given[1])
        elif code is codes.GROUPREF_EXISTS:
            ways *= sum(_ways(branch) for branch in given[1:] if branch is not None)
        if ways > WAYS:
            return WAYS + 1
    return ways

"""`backend_options` of a job file, read with a plain word for what is wrong."""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from typing import Any

from teamwright.errors import UserError


class Options:
    """The options of one backend. Raises UserError for a key that it doesn't have."""

    def __init__(self, backend: str, given: Mapping[str, Any], known: tuple[str, ...]) -> None:
        self._backend = backend
        self._given = given
        for key in given:
            if key not in known:
                close = difflib.get_close_matches(key, known, n=1)
                hint = f"did you mean {close[0]!r}?" if close else f"there are {', '.join(known)}"
                raise self.wrong(f"backend_options has no key {key!r}", hint=hint)

    def wrong(self, message: str, *, hint: str | None = None) -> UserError:
        """The error that says so, to be raised."""
        return UserError(f"backend {self._backend}: {message}", hint=hint)

    def text(self, key: str) -> str | None:
        value = self._given.get(key)
        if value is not None and not (isinstance(value, str) and value):
            raise self._not(key, "a text")
        return value

    def words(self, key: str) -> tuple[str, ...]:
        value = self._given.get(key, [])
        if not isinstance(value, list) or not all(isinstance(item, str) and item for item in value):
            raise self._not(key, "a list of names")
        return tuple(value)

    def flag(self, key: str, default: bool) -> bool:
        value = self._given.get(key, default)
        if not isinstance(value, bool):
            raise self._not(key, "true or false")
        return value

    def count(self, key: str, default: int) -> int:
        value = self._given.get(key, default)
        if not isinstance(value, int) or isinstance(value, bool) or value < 0:
            raise self._not(key, "a whole number from 0")
        return value

    def seconds(self, key: str, default: float) -> float:
        value = self._given.get(key, default)
        if not isinstance(value, int | float) or isinstance(value, bool) or value <= 0:
            raise self._not(key, "a number of seconds over 0")
        return float(value)

    def mapping(self, key: str) -> dict[str, str]:
        value = self._given.get(key, {})
        if not isinstance(value, Mapping) or not all(isinstance(item, str) for item in value.values()):
            raise self._not(key, "names with texts")
        return dict(value)

    def _not(self, key: str, what: str) -> UserError:
        return self.wrong(f"backend_options.{key} must be {what}, not {self._given[key]!r}")

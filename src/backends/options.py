"""`backend_options` of a job file, read with a plain word for what is wrong."""

from __future__ import annotations

import difflib
from collections.abc import Callable, Mapping
from typing import Any
from urllib.parse import urlsplit

from teamwright.backends.api import Fault
from teamwright.errors import UserError

#: Keys of `model_options` that the backends below set themselves.
OWN_KEYS: Mapping[str, tuple[str, ...]] = {
    "gemini": (
        "system_instruction", "tools", "automatic_function_calling", "http_options", "response_json_schema",
    ),
    **dict.fromkeys(
        ("openai", "crewai"), ("model", "messages", "tools", "stream", "stream_options", "response_format")
    ),
}  # fmt: skip


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

    def address(self, key: str) -> str | None:
        value = self.text(key)
        if value is not None and not _is_address(value):
            raise self._not(key, "like http://127.0.0.1:11434/v1")
        return value

    def function(self, key: str) -> str | None:
        value = self.text(key)
        if value is not None and not all(value.partition(":")):
            raise self._not(key, "module:function")
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


def faults(backend: str, options: Mapping[str, Any], model_options: Mapping[str, Any]) -> list[Fault]:
    """What is wrong with the values that a job file gives gemini, openai or crewai; keys are looked at elsewhere."""
    found = []
    for key, value in options.items():
        try:
            if value is not None and key in _READ:
                _READ[key](Options(backend, {key: value}, (key,)), key)
        except UserError as error:
            words = error.message.removeprefix(f"backend {backend}: backend_options.{key} ")
            found.append(Fault(("backend_options", key), words, error.hint))
    own = [key for key in model_options if key in OWN_KEYS[backend]]
    return found + [Fault(("model_options", key), "can't be set: it is the backend's own") for key in own]


def _is_address(text: str) -> bool:
    try:
        parts = urlsplit(text)
        return parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
    except ValueError:
        return False


_READ: Mapping[str, Callable[[Options, str], object]] = {
    "base_url": Options.address,
    "crew": Options.function,
    **dict.fromkeys(("key_variable", "project", "location", "role", "goal"), Options.text),
    **dict.fromkeys(("fallback_models", "deny"), Options.words),
    **dict.fromkeys(("stream", "thoughts", "vertex"), lambda options, key: options.flag(key, False)),
    "retries": lambda options, key: options.count(key, 0),
    "timeout": lambda options, key: options.seconds(key, 1.0),
    "headers": Options.mapping,
}

"""`${VAR}` and `${VAR:-default}` in the values of a job file.

Only whole values are touched, after the YAML was read: what a variable holds can never add keys.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass

_REFERENCE = re.compile(
    r"\$\$\{|\$\{(?P<name>[A-Za-z_][A-Za-z0-9_]*)(?::-(?P<default>[^}]*))?\}|(?P<broken>\$\{[^}]*\}?)"
)


@dataclass(frozen=True, slots=True)
class Expansion:
    """What came of one value: its text, the variables it used, those that were missing, malformed references."""

    text: str
    used: tuple[str, ...] = ()
    missing: tuple[str, ...] = ()
    broken: tuple[str, ...] = ()

    @property
    def changed(self) -> bool:
        """Whether the text holds the value of a variable or a default."""
        return bool(self.used)


def expand(text: str, variables: Mapping[str, str]) -> Expansion:
    """Put in the variables of `text`.

    expand("${HOST:-localhost}:${PORT}", {"PORT": "80"}).text == "localhost:80"
    expand("$${HOME}", {}).text == "${HOME}"

    An unset or empty variable takes its default; without one, unset is missing and empty is empty.
    """
    if "${" not in text:
        return Expansion(text)
    used: list[str] = []
    missing: list[str] = []
    broken: list[str] = []

    def put(match: re.Match[str]) -> str:
        name, default = match["name"], match["default"]
        if match["broken"]:
            broken.append(match["broken"])
        elif name is None:
            return "${"
        else:
            used.append(name)
            value = variables.get(name)
            if value is None and default is None:
                missing.append(name)
            elif default is not None and not value:
                return str(default)
            else:
                return value or ""
        return match[0]

    result = _REFERENCE.sub(put, text)
    return Expansion(result, tuple(used), tuple(missing), tuple(broken))

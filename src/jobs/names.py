"""What jobs, agents and variables may be called, and the nearest right word for a wrong one."""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable

from teamwright.registry.records import OUTSIDE

NAME = re.compile(r"[a-z0-9]([-a-z0-9]*[a-z0-9])?\Z")
ID = re.compile(r"[a-z0-9]([-_a-z0-9]*[a-z0-9])?\Z")
VARIABLE = re.compile(r"[A-Za-z_][A-Za-z0-9_]*\Z")
LENGTH = 63
OWN_VARIABLES = "TEAMWRIGHT_"

_SECRET = re.compile(
    r"(?:^|_)(?:API_?KEY|KEY|TOKEN|SECRET|PASSWORD|PASSWD|PASSPHRASE|CREDENTIALS?|AUTH)(?:_|$)", re.IGNORECASE
)


def name_fault(text: str, *, identifier: bool = False) -> str | None:
    """Why `text` can't be a job's name (or with `identifier` an agent's id or a group); None when it can."""
    if len(text) > LENGTH:
        return f"is longer than {LENGTH} characters"
    if text == OUTSIDE and not identifier:
        return "stands for agents that no job has"
    if (ID if identifier else NAME).match(text):
        return None
    signs = "a-z, 0-9, - and _" if identifier else "a-z, 0-9 and -"
    return f"may only hold {signs}, with a letter or digit first and last"


def normalised(text: str, *, identifier: bool = False) -> str | None:
    """The nearest name to `text` that is allowed; None when nothing is left of it."""
    signs = r"[^a-z0-9_]+" if identifier else r"[^a-z0-9]+"
    return re.sub(signs, "-", text.lower()).strip("-_")[:LENGTH].strip("-_") or None


def nearest(wrong: str, known: Iterable[str]) -> str | None:
    """The one of `known` that `wrong` most likely stood for."""
    options = sorted(set(known))
    lower = {option.lower().replace("_", "-"): option for option in options}
    found = difflib.get_close_matches(wrong.lower().replace("_", "-"), lower, n=1, cutoff=0.6)
    return lower[found[0]] if found else None


def suggestion(wrong: str, known: Iterable[str], *, kind: str = "") -> str | None:
    """A hint: the nearest of `known`, or all of them when none is near and they are few."""
    options = list(dict.fromkeys(known))
    if close := nearest(wrong, options):
        return f"did you mean {close!r}?"
    if 0 < len(options) <= 12:
        return f"{kind + ': ' if kind else 'known: '}{', '.join(options)}"
    return None


def looks_secret(variable: str) -> bool:
    """Whether a variable of that name most likely holds a key or password."""
    return _SECRET.search(variable) is not None

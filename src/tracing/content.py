"""What of people's and models' words a span may hold: all, with secrets masked, or nothing."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any, Literal

from teamwright.tracing.vocabulary import CONTENT, CONTENT_PREFIXES

Content = Literal["full", "redacted", "off"]
#: Given an attribute's name and value, what to record instead; None = leave it out.
Policy = Callable[[str, Any], Any]

MASK = "[redacted]"
_RULES: tuple[tuple[re.Pattern[str], str], ...] = (
    # Order matters: whole headers and URLs before the bare keys that may stand in them.
    (re.compile(r"(?i)\b(bearer|basic)\s+[a-z0-9._~+/=-]{8,}"), rf"\1 {MASK}"),
    (re.compile(r"\beyJ[\w-]{5,}\.[\w-]{5,}\.[\w-]*"), MASK),  # JWT
    (re.compile(r"(?i)(\w+://[^\s:/@\"]+):[^\s@/\"]+@"), rf"\1:{MASK}@"),
    (re.compile(r"\b(?:sk|pk|rk)[-_][A-Za-z0-9_-]{16,}"), MASK),
    (re.compile(r"\b(?:AKIA|ASIA)[0-9A-Z]{16}\b"), MASK),
    (re.compile(r"\bAIza[0-9A-Za-z_-]{30,}"), MASK),
    (re.compile(r"\b(?:gh[opsur]|github_pat|glpat|xox[abprs])[-_][A-Za-z0-9_-]{16,}"), MASK),
    (re.compile(r"-----BEGIN [A-Z ]*PRIVATE KEY-----.*?(?:-----END [A-Z ]*PRIVATE KEY-----|$)", re.DOTALL), MASK),
    (
        # key = value in text, JSON and JSON inside JSON; stops before the closing quote, so JSON stays valid
        re.compile(
            r"(?i)((?:api[-_ ]?key|access[-_ ]?key|secret|password|passwd|(?:auth|access|refresh)[-_ ]?token)\w*"
            r"[\\\"']*\s*[:=]\s*[\\\"']*)(?!\[redacted\])[^\s\"'\\,;&}\]]{4,}"
        ),
        rf"\1{MASK}",
    ),
    (re.compile(r"[\w.+-]+@[\w-]+(?:\.[\w-]+)+"), MASK),
)


def redact(text: str) -> str:
    """`text` with keys, tokens, passwords and e-mail addresses masked. JSON stays valid JSON."""
    for pattern, replacement in _RULES:
        text = pattern.sub(replacement, text)
    return text


def policy(content: Content) -> Policy | None:
    """The function that applies `content` to each attribute; None when everything is kept."""
    if content == "full":
        return None
    return _redacted if content == "redacted" else _off


def _redacted(name: str, value: Any) -> Any:
    if isinstance(value, str):
        return redact(value)
    if isinstance(value, list | tuple):
        return [_redacted(name, item) for item in value]
    return value


def _off(name: str, value: Any) -> Any:
    if name in CONTENT or name.startswith(CONTENT_PREFIXES):
        return None
    return _redacted(name, value)

"""What of people's and models' words a span may hold: all, with secrets masked, or nothing."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from typing import Any, Literal

from teamwright.tracing.redaction import Masks, Rule
from teamwright.tracing.vocabulary import CONTENT, CONTENT_PREFIXES

Content = Literal["full", "redacted", "off"]
#: Given an attribute's name and value, what to record instead; None = leave it out.
Policy = Callable[[str, Any], Any]

MASK = "[redacted]"
#: What a policy is told that a status message is called: no attribute's name.
STATUS_MESSAGE = "status message"
# Each rule: what must stand in the text (in lower case) for it to be tried at all, the pattern, the mask.
# Repetitions before the telling character are bounded: a megabyte of `a` must not take quadratic time.
_RULES: tuple[tuple[tuple[str, ...], re.Pattern[str], str], ...] = (
    # Order matters: whole headers and URLs before the bare keys that may stand in them.
    (("bearer", "basic"), re.compile(r"(?i)\b(bearer|basic)\s{1,8}[a-z0-9._~+/=-]{8,}"), rf"\1 {MASK}"),
    (("eyj",), re.compile(r"\beyJ[\w-]{5,}\.[\w-]{5,}\.[\w-]*"), MASK),  # JWT
    (("://",), re.compile(r"(?i)\b(\w{1,20}://[^\s:/@\"]{1,256}):[^\s@/\"]{1,256}@"), rf"\1:{MASK}@"),
    (("sk-", "sk_", "pk-", "pk_", "rk-", "rk_"), re.compile(r"\b(?:sk|pk|rk)[-_][A-Za-z0-9_-]{16,}"), MASK),
    (("akia", "asia"), re.compile(r"\b(?:AKIA|ASIA)[0-9A-Z]{16}\b"), MASK),
    (("aiza",), re.compile(r"\bAIza[0-9A-Za-z_-]{30,}"), MASK),
    (
        ("gh", "glpat", "xox"),
        re.compile(r"\b(?:gh[opsur]|github_pat|glpat|xox[abprs])[-_][A-Za-z0-9_-]{16,}"),
        MASK,
    ),
    (
        ("private key",),
        re.compile(r"-----BEGIN [A-Z ]{0,32}PRIVATE KEY-----.*?(?:-----END [A-Z ]{0,32}PRIVATE KEY-----|$)", re.DOTALL),
        MASK,
    ),
    (
        ("key", "secret", "passw", "token"),
        # key = value in text, JSON and JSON inside JSON; stops before the closing quote, so JSON stays valid
        re.compile(
            r"(?i)((?:api[-_ ]?key|access[-_ ]?key|secret|password|passwd|(?:auth|access|refresh)[-_ ]?token)\w{0,32}"
            r"[\\\"']{0,8}\s{0,8}[:=]\s{0,8}[\\\"']{0,8})(?!\[redacted\])[^\s\"'\\,;&}\]]{4,}"
        ),
        rf"\1{MASK}",
    ),
    # the last one is about people, not about keys: see `without_keys`
    (("@",), re.compile(r"[\w.+-]{1,64}@[\w-]{1,63}(?:\.[\w-]{1,63}){1,8}"), MASK),
)


def redact(text: str) -> str:
    """`text` with keys, tokens, passwords and e-mail addresses masked. JSON stays valid JSON."""
    return _masked(text, _RULES)


def without_keys(text: str) -> str:
    """`text` with keys, tokens and passwords masked, and people's addresses as they are."""
    return _masked(text, _RULES[:-1])


def _masked(text: str, rules: Iterable[tuple[tuple[str, ...], re.Pattern[str], str]]) -> str:
    lowered = text.lower()
    for needles, pattern, replacement in rules:
        for needle in needles:
            if needle in lowered:
                text = pattern.sub(replacement, text)
                break
    return text


def policy(content: Content, rules: Iterable[Rule] = ()) -> Policy | None:
    """The function that applies `content` and a job's own rules to each attribute; None when everything is kept."""
    if content == "full":
        return None
    own = tuple(rules)
    mask = _both(Masks(own)) if own else redact

    def redacted(name: str, value: Any) -> Any:
        if isinstance(value, str):
            return mask(value)
        if isinstance(value, list | tuple):
            return [redacted(name, item) for item in value]
        return value

    def off(name: str, value: Any) -> Any:
        if name in CONTENT or name.startswith(CONTENT_PREFIXES):
            return None
        return redacted(name, value)

    return redacted if content == "redacted" else off


def _both(masks: Masks) -> Callable[[str], str]:
    return lambda text: redact(masks(text))

"""What of people's and models' words a span may hold: all, with secrets masked, or nothing."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from typing import Any, Literal

from teamwright.tracing.masking import MASK, redact, without_keys
from teamwright.tracing.redaction import Masks, Rule
from teamwright.tracing.vocabulary import CONTENT, CONTENT_PREFIXES, EXCEPTION_MESSAGE, EXCEPTION_STACKTRACE, REASON

__all__ = ["MASK", "STATUS_MESSAGE", "Content", "Policy", "policy", "redact", "without_keys", "without_words"]

Content = Literal["full", "redacted", "off"]
#: Given an attribute's name and value, what to record instead; None = leave it out.
Policy = Callable[[str, Any], Any]

#: What a policy is told that a status message is called: no attribute's name.
STATUS_MESSAGE = "status message"
#: In the text of errors there may be anything.
_WORDS = CONTENT | {STATUS_MESSAGE, EXCEPTION_MESSAGE}
#: A reason that is a word of ours, as `process_lost`; others are sentences.
_CODE = re.compile(r"[\w.:-]{0,64}")
#: Where in the code an exception came from; the lines between may hold what somebody said.
_PLACE = re.compile(r'[ |+-]*File "[^"\n]+", line \d+(?:, in \S+)?')


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
        return redacted(name, without_words(name, value))

    return redacted if content == "redacted" else off


def without_words(name: str, value: Any) -> Any:
    """An attribute's value without what people, models and errors said; None when nothing is left of it."""
    if name in _WORDS or name.startswith(CONTENT_PREFIXES):
        return None
    if name == EXCEPTION_STACKTRACE:  # the files, lines and functions
        return "\n".join(line for line in str(value).splitlines() if _PLACE.fullmatch(line))
    if name == REASON and not _CODE.fullmatch(str(value)):
        return None
    return value


def _both(masks: Masks) -> Callable[[str], str]:
    return lambda text: redact(masks(text))

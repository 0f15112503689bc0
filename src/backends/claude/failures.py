"""What went wrong, as typed errors: the SDK reports failures of the API as answers."""

from __future__ import annotations

from typing import Any

from teamwright.backends.calls import REASONS
from teamwright.backends.inside import claude_words
from teamwright.errors import BackendError, LimitReached, TeamwrightError


def reason_of(word: str | None, status: int | None) -> str:
    """A short stable word for an error of the API: by its HTTP status, else by the CLI's name for it."""
    if status is not None and status >= 400:
        return REASONS.get(status, "server_error" if status >= 500 else "bad_request")
    return "unreachable" if word is None else claude_words.reason_of(word)


def failure_of(result: Any, word: str | None, turns: int, *, cut: bool) -> TeamwrightError | None:
    """The error that a ResultMessage stands for; None when it is an answer.

    `word` is the last message's error; `cut`: the last reply broke off.
    """
    if result.subtype == "error_max_turns":
        return LimitReached("turns", f"no answer after {turns} model calls (limit turns)")
    if result.subtype == "error_max_budget_usd":
        return LimitReached("cost_usd", "the query has cost more than it may (limit cost_usd)")
    if not result.is_error:
        return None
    text = result.result or "; ".join(result.errors or ()) or result.subtype
    reason = reason_of(word, result.api_error_status)
    if result.api_error_status is None and cut:
        reason = "cut"
    elif result.api_error_status is None and ("onnect" in text or "ECONN" in text):
        reason = "unreachable"
    hint = "is ANTHROPIC_API_KEY right?" if reason == "bad_key" else None
    return BackendError(f"Claude: {text}", reason=reason, hint=hint)

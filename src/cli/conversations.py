"""Conversations as a person sees them."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime
from typing import TYPE_CHECKING

from teamwright.cli.app import Call
from teamwright.cli.output import note, table

if TYPE_CHECKING:
    from teamwright.agents.memory.conversations import Conversation
    from teamwright.cli.fitting import Fitting


def sessions_table(conversations: Iterable[Conversation]) -> Fitting:
    """One a row."""
    head = ("SESSION", "JOB", "AGENT", "USER", "TURNS", "BEGAN", "LAST", "LAST WORDS")
    return table(
        head, map(_row, conversations), spare=("BEGAN", "USER", "TURNS", "AGENT", "JOB", "LAST"), broken="LAST WORDS"
    )


def say_if_elsewhere(call: Call, session: str | None, job: str) -> None:
    """Names of conversations count for one job: say so where this one is known of another job only."""
    from teamwright.agents.memory.conversations import conversations

    if session is None or any(each.session == session for each in conversations(call.home, job)):
        return
    if others := sorted({each.job for each in conversations(call.home) if each.session == session}):
        note(f"the session {session} is of {', '.join(others)}; {job} begins one of its own by that name")


def _row(each: Conversation) -> tuple[str, ...]:
    told = each.to_dict()
    words = " ".join(each.answer.split())
    return (
        each.session,
        each.job,
        ", ".join(each.agents),
        each.user or each.subject,
        str(each.turns),
        moment(told["began_at"]),
        moment(told["last_at"]),
        words if len(words) <= 48 else words[:47] + "…",
    )


def moment(iso: str) -> str:
    """A time as a person here reads it, to the minute."""
    return datetime.fromisoformat(iso).astimezone().strftime("%Y-%m-%d %H:%M")

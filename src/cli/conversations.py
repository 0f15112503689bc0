"""Conversations as a person sees them."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime
from typing import TYPE_CHECKING

from teamwright.cli.output import table

if TYPE_CHECKING:
    from rich.table import Table

    from teamwright.agents.memory.conversations import Conversation


def sessions_table(conversations: Iterable[Conversation]) -> Table:
    """One a row."""
    head = ("SESSION", "JOB", "AGENT", "USER", "TURNS", "BEGAN", "LAST", "LAST WORDS")
    return table(head, map(_row, conversations))


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

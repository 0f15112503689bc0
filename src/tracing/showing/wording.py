"""How a terminal shows times, dollars and what people and models said."""

from __future__ import annotations

EXCERPT = 96
STYLES = {"ok": "green", "error": "bold red", "lost": "bold red", "running": "yellow"}
#: What the kinds of work of analysis.py are called.
TIMES = {"model": "models", "tools": "tools", "queue": "waiting", "calls": "between agents", "agents": "agents",
         "engine": "engine", "other": "other"}  # fmt: skip
#: Columns of a screen from which on there is room for everything.
WIDE = 110
_CONTROL = {code: "\N{REPLACEMENT CHARACTER}" for code in (*range(32), *range(0x7F, 0xA0)) if chr(code) not in "\n\t"}


def harmless(text: str) -> str:
    """`text` without what a terminal would obey: models and strangers write it."""
    return text if text.isprintable() else text.translate(_CONTROL)


def named(agent: str | None, room: int = 24) -> str:
    """An agent's name in so many characters."""
    name = harmless(agent or "")
    return name if len(name) <= room else name[: room - 1] + "…"


def excerpt(text: str, limit: int = EXCERPT) -> str:
    """One line of at most so many characters."""
    line = " ".join(text[: 8 * limit].split())
    return harmless(line if len(line) <= limit else line[: limit - 1] + "…")


def duration(milliseconds: float | None) -> str:
    """`0.4 ms`, `12 ms`, `1.24 s`, `2 m 05 s`; `…` when it isn't over."""
    if milliseconds is None:
        return "…"
    if milliseconds < 1000:
        return f"{milliseconds:.1f} ms" if milliseconds < 10 else f"{milliseconds:.0f} ms"
    if milliseconds < 60_000:
        return f"{milliseconds / 1000:.2f} s"
    minutes, seconds = divmod(round(milliseconds / 1000), 60)
    return f"{minutes} m {seconds:02d} s"


def dollars(cost: float | None) -> str:
    """A cost; a question mark where the price is unknown."""
    if cost is None:
        return "?"
    return f"${cost:.4f}" if 0 < cost < 1 else f"${cost:.2f}"


def count(number: int, noun: str) -> str:
    """`1 span`, `3 spans`."""
    return f"{number} {noun}{'' if number == 1 else 's'}"

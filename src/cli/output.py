"""What a person sees: tables, progress and durations. Rich is imported when something is printed, not before."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from rich.console import Console

    from teamwright.cli.fitting import Fitting
    from teamwright.home import Home

_COLOURS = {
    "running": "green",
    "healthy": "green",
    "ok": "green",
    "busy": "cyan",
    "starting": "cyan",
    "pending": "dim",
    "stopping": "yellow",
    "degraded": "yellow",
    "backing_off": "yellow",
    "paused": "yellow",
    "halted": "yellow",
    "unhealthy": "red",
    "failed": "red",
    "error": "red",
    "lost": "red",
    "stopped": "dim",
}


def say_shedding(home: Home) -> None:
    """A line, if traces are being dropped or have been."""
    from teamwright.tracing.storing.shedding import shedding

    if (text := shedding(home.spans_db, home.spool_dir).text) is not None:
        click.secho(text, fg="yellow")


def console(*, stderr: bool = False, width: int = 200) -> Console:
    """Where rich text goes; `width` columns wide when it is not a terminal, so that little is cut for `grep`."""
    from rich.console import Console

    found = Console(stderr=stderr, highlight=False, soft_wrap=False)
    if not found.is_terminal:
        found.width = width
    return found


def spoken(text: str) -> str:
    """What an agent or a card says, without what a terminal would obey."""
    from teamwright.tracing.showing.wording import harmless

    return harmless(text.replace("\r", ""))


def note(text: str) -> None:
    """A word to the person on stderr; scripts read stdout."""
    click.echo(spoken(text), err=True)


def warn(warnings: Iterable[str]) -> None:
    """One line on stderr for each."""
    for warning in warnings:
        note(f"warning: {warning}")


def table(
    columns: Sequence[str], rows: Iterable[Sequence[str]], *, spare: Sequence[str] = (), broken: str = ""
) -> Fitting:
    """A plain table; words of a STATUS column have their colour. `spare` and `broken` are for narrow terminals."""
    from rich.text import Text

    from teamwright.cli.fitting import Fitting

    cells = (
        [
            Text(spoken(cell), style=_COLOURS.get(cell, "") if column == "STATUS" else "")
            for column, cell in zip(columns, row, strict=True)
        ]
        for row in rows
    )
    return Fitting(columns, cells, spare=spare, broken=broken)


def job_table(view: dict[str, Any]) -> Fitting:
    """The agents of one job, as `start` and `ps JOB` show them."""
    return table(
        ("AGENT", "STATUS", "PID", "ADDRESS", "BACKEND", "LEVEL", "READY IN", "RESTARTS", "LAST EXIT"),
        (
            (
                agent["id"],
                agent["status"],
                str(agent["pid"] or "-"),
                agent["url"] or "-",
                agent["backend"] + (" (foreign)" if agent.get("foreign") else ""),
                str(agent["level"]),
                milliseconds(agent["started_in_ms"]),
                str(agent["restarts"]),
                last_exit(agent["last_exit"]) if agent["last_exit"] else agent.get("last_error") or "-",
            )
            for listed in view["agents"]
            for agent in listed.get("replicas") or [listed]
        ),
        spare=("LEVEL", "READY IN", "BACKEND", "RESTARTS", "PID", "LAST EXIT", "ADDRESS"),
        broken="LAST EXIT",
    )


def say_agents(view: dict[str, Any]) -> None:
    """Print the agents of one job, and what `foreign` means where one is."""
    console().print(job_table(view))
    if any(agent.get("foreign") for agent in view["agents"]):
        click.echo("foreign: runs no code of ours, so it is not held to tokens, limits and halts")


def jobs_table(views: Iterable[dict[str, Any]]) -> Fitting:
    """All jobs of a home, as `ps` shows them."""
    return table(
        ("JOB", "STATUS", "AGENTS", "UP", "ENTRY", "FILE"),
        (
            (
                view["job"],
                view["status"],
                str(len(view["agents"])),
                str(sum(agent["status"] in ("healthy", "busy") for agent in view["agents"])),
                view["entry_point"] or "-",
                view.get("file") or "-",
            )
            for view in views
        ),
        spare=("ENTRY", "AGENTS", "FILE", "UP"),
        broken="FILE",
    )


def last_exit(info: dict[str, Any] | None) -> str:
    """How a process ended, in a few words."""
    if info is None:
        return "-"
    if info.get("signal"):
        return f"{info['reason']} (signal {info['signal']})"
    if info.get("code") is not None:
        return f"{info['reason']} (exit {info['code']})"
    return str(info["reason"])


def milliseconds(value: float | None) -> str:
    """A duration given in milliseconds, in the unit that reads well."""
    if value is None:
        return "-"
    if value < 1000:
        return f"{value:.0f} ms"
    if value < 120_000:
        return f"{value / 1000:.2f} s"
    return f"{value / 60_000:.1f} min"


def dollars(value: float | None) -> str:
    """A cost; a question mark where the price is unknown."""
    if value is None:
        return "$?"
    return f"${value:.4f}" if 0 < value < 0.1 else f"${value:.2f}"

"""The filters that every list has: one set of options, one value."""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import click

from teamwright.cli.app import MOST, Call

if TYPE_CHECKING:
    from teamwright.tracing.reading.filters import Filter

_OPTIONS = {
    "job": click.option("--job", metavar="JOB|FILE", help="Only this job's."),
    "agent": click.option("--agent", metavar="ID", help="Only this agent's."),
    "session": click.option("--session", metavar="ID", help="Only this conversation's."),
    "user": click.option("--user", metavar="NAME", help="Only this user's."),
    "pairs": click.option(
        "--label", "pairs", metavar="KEY=VALUE", multiple=True, help="Only with this label; may be repeated."
    ),
    "status": click.option(
        "--status", type=click.Choice(["running", "ok", "error", "lost"]), help="Only those that ended so."
    ),
    "text": click.option("--text", metavar="WORDS", help="Only those with these words in the question."),
    "min_duration": click.option("--min-duration", metavar="TIME", help="Only those that took longer: 500ms, 2s, 1m."),
    "since": click.option("--since", metavar="TIME", help="Only those begun within: 10m, 2h, 7d."),
}


def limited(default: int) -> Callable[..., Any]:
    """The option for how many of the newest."""
    return click.option(
        "-n", "--limit", type=click.IntRange(1, MOST), default=default, show_default=True, help="At most so many."
    )


def narrowed(*left_out: str) -> Callable[..., Any]:
    """Give a command the options but those; it gets them as `which`, a Filter. `job` may be an argument instead.

    >>> @command("list", group=runs)
    ... @narrowed()
    ... @limited(20)
    ... @click.pass_obj
    ... def list_runs(call: Call, which: Filter, limit: int) -> None: ...
    """

    def decorate(function: Callable[..., Any]) -> Callable[..., Any]:
        @functools.wraps(function)
        def with_filter(*arguments: Any, **options: Any) -> Any:
            call = click.get_current_context().find_object(Call)
            assert call is not None
            chosen = {name: options.pop(name) for name in _OPTIONS if name in options}
            return function(*arguments, which=_filter(call, **chosen), **options)

        made: Callable[..., Any] = with_filter
        for name, option in reversed(_OPTIONS.items()):
            if name not in left_out:
                made = option(made)
        return made

    return decorate


def _filter(
    call: Call,
    *,
    job: str | None = None,
    pairs: Sequence[str] = (),
    min_duration: str | None = None,
    since: str | None = None,
    **exact: Any,
) -> Filter:
    import time

    from teamwright.cli.targets import labels, parse_job
    from teamwright.tracing.reading.filters import Filter, nanoseconds

    return Filter(
        job=parse_job(call, job).job if job else None,
        labels=labels(pairs),
        min_ns=nanoseconds(min_duration) if min_duration else None,
        since_ns=time.time_ns() - nanoseconds(since) if since else None,
        **exact,
    )

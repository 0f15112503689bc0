"""The filters that every list has: one set of options, one value."""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import click

from teamwright.cli.app import Call

if TYPE_CHECKING:
    from teamwright.tracing.filters import Filter

_OPTIONS = (
    click.option("--job", metavar="JOB|FILE", help="Only this job's."),
    click.option("--agent", metavar="ID", help="Only this agent's."),
    click.option("--session", metavar="ID", help="Only this conversation's."),
    click.option("--user", metavar="NAME", help="Only this user's."),
    click.option("--label", "pairs", metavar="KEY=VALUE", multiple=True, help="Only with this label; may be repeated."),
    click.option("--status", type=click.Choice(["running", "ok", "error", "lost"]), help="Only those that ended so."),
    click.option("--text", metavar="WORDS", help="Only those with these words in the question."),
    click.option("--min-duration", metavar="TIME", help="Only those that took longer: 500ms, 2s, 1m."),
    click.option("--since", metavar="TIME", help="Only those begun within: 10m, 2h, 7d."),
    click.option("-n", "--limit", type=click.IntRange(min=1), default=20, show_default=True, help="At most so many."),
)


def narrowed(function: Callable[..., Any]) -> Callable[..., Any]:
    """Give a command the options; it gets them as `which`, a Filter, and `limit`.

    >>> @command("list", group=runs)
    ... @narrowed
    ... @click.pass_obj
    ... def list_runs(call: Call, which: Filter, limit: int) -> None: ...
    """

    @functools.wraps(function)
    def with_filter(*arguments: Any, **options: Any) -> Any:
        call = click.get_current_context().find_object(Call)
        assert call is not None
        chosen = {name: options.pop(name) for name in _NAMES}
        return function(*arguments, which=_filter(call, **chosen), **options)

    made: Callable[..., Any] = with_filter
    for option in reversed(_OPTIONS):
        made = option(made)
    return made


_NAMES = ("job", "agent", "session", "user", "pairs", "status", "text", "min_duration", "since")


def _filter(
    call: Call, *, job: str | None, pairs: Sequence[str], min_duration: str | None, since: str | None, **exact: Any
) -> Filter:
    import time

    from teamwright.cli.targets import labels, parse_job
    from teamwright.tracing.filters import Filter, nanoseconds

    return Filter(
        job=parse_job(call, job).job if job else None,
        labels=labels(pairs),
        min_ns=nanoseconds(min_duration) if min_duration else None,
        since_ns=time.time_ns() - nanoseconds(since) if since else None,
        **exact,
    )

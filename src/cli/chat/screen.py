"""What a chat shows: on a terminal Markdown and a live line that folds away, else plain lines without colours."""

from __future__ import annotations

import sys
from collections.abc import Callable, Generator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Protocol

import click

from teamwright.cli.output import milliseconds, note, spoken

if TYPE_CHECKING:
    from rich.console import Console, Group, RenderableType

    from teamwright.client.results import QueryResult
    from teamwright.tracing.reading.activity import Doing

Replies = Generator[dict[str, Any], None, "QueryResult"]
#: Of what goes on at once, so much is shown.
_SHOWN = 3
#: Lines that stay free below an answer that is still coming.
_REST = 4
_LOOKS = 5  # a second


class Screen(Protocol):
    """Where a chat's words go."""

    def follow(
        self, replies: Replies, take: Callable[[Mapping[str, Any]], str], doing: Callable[[], Sequence[Doing]]
    ) -> QueryResult:
        """Show an answer as it comes: `take` notes a reply and gives the words so far. The answer itself is shown."""

    def note(self, text: str) -> None:
        """Say something about the chat."""

    def show(self, what: RenderableType) -> None:
        """Print a table or a tree."""


class Lines:
    """For pipes: answers on stdout, whole and plain, everything else on stderr."""

    def __init__(self, emit: Callable[[Mapping[str, Any]], None] | None = None) -> None:
        self._emit = emit

    def follow(
        self, replies: Replies, take: Callable[[Mapping[str, Any]], str], doing: Callable[[], Sequence[Doing]]
    ) -> QueryResult:
        try:
            while True:
                take(next(replies))
        except StopIteration as over:
            result: QueryResult = over.value
        if self._emit is not None:
            self._emit(result.to_dict())
        elif result.status == "ok":
            click.echo(result.answer)
            sys.stdout.flush()
        return result

    def note(self, text: str) -> None:
        note(text)

    def show(self, what: RenderableType) -> None:
        from rich.console import Console

        Console(stderr=True, color_system=None, width=120, highlight=False).print(what)


class Terminal:
    """For people."""

    def __init__(self, console: Console) -> None:
        self._console = console

    def follow(
        self, replies: Replies, take: Callable[[Mapping[str, Any]], str], doing: Callable[[], Sequence[Doing]]
    ) -> QueryResult:
        from rich.live import Live
        from rich.markdown import Markdown

        words = ""
        with Live(
            get_renderable=lambda: self._so_far(words, doing()),
            console=self._console,
            refresh_per_second=_LOOKS,
            transient=True,
            redirect_stdout=False,
            redirect_stderr=False,
        ):
            try:
                while True:
                    words = take(next(replies))
            except StopIteration as over:
                result: QueryResult = over.value
        if result.status == "ok":
            self._console.print(Markdown(spoken(result.answer)))
        elif words:
            self._console.print(Markdown(spoken(words)))  # what had come of it
        return result

    def note(self, text: str) -> None:
        from rich.text import Text

        self._console.print(Text(spoken(text), style="dim"))

    def show(self, what: RenderableType) -> None:
        self._console.print(what)

    def _so_far(self, words: str, doing: Sequence[Doing]) -> Group:
        """The end of the answer as far as it has come and fits, and below it what the team does."""
        from rich.console import Group
        from rich.markdown import Markdown
        from rich.segment import Segments
        from rich.text import Text

        parts: list[RenderableType] = []
        if words:
            room = max(1, self._console.height - _REST)
            lines = self._console.render_lines(Markdown(spoken(words)), self._console.options, new_lines=True)[-room:]
            parts.append(Segments([segment for line in lines for segment in line]))
        told = [spoken(f"{each.agent}: {each.what}, {milliseconds(each.seconds * 1000)}") for each in doing[:_SHOWN]]
        more = [f"and {len(doing) - _SHOWN} more"] if len(doing) > _SHOWN else []
        parts.append(
            Text(f"… {'  '.join([*told, *more]) or 'waiting'}", style="dim", no_wrap=True, overflow="ellipsis")
        )
        return Group(*parts)

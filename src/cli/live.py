"""An answer on a terminal, piece by piece as it comes."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from teamwright.engine.door.frames import Reading


class Live:
    """Writes what is new in each reply. An answer that turns out otherwise is written anew, below.

    >>> live = Live(lambda text: click.echo(text, nl=False))
    >>> for reply in replies: live.take(reply)
    >>> live.end("the whole answer")
    """

    def __init__(self, write: Callable[[str], object]) -> None:
        self._write = write
        self._reading = Reading()
        self._shown = ""

    @property
    def begun(self) -> bool:
        """Whether something stands there already."""
        return bool(self._shown)

    def take(self, reply: Mapping[str, Any]) -> None:
        """Take one A2A reply."""
        self._reading.take(reply)
        result = reply.get("result")
        if isinstance(result, Mapping) and "artifactUpdate" in result:
            self._show(self._reading.answer)

    def end(self, answer: str) -> None:
        """The whole answer is known: write what is missing, and end the line."""
        self._show(answer)
        self._write("\n")

    def stop(self) -> None:
        """There is no answer: what stands there is left as it is."""
        if self.begun:
            self._write("\n")

    def _show(self, text: str) -> None:
        if text.startswith(self._shown):
            self._write(text[len(self._shown) :])
        else:
            self._write("\n" + text)
        self._shown = text

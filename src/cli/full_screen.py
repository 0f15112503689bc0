"""A table that fills the terminal and is drawn anew every few seconds, until q or Ctrl-C."""

from __future__ import annotations

import asyncio
from typing import Any

from prompt_toolkit.application import Application
from prompt_toolkit.formatted_text import StyleAndTextTuples
from prompt_toolkit.key_binding import KeyBindings, KeyPressEvent
from prompt_toolkit.layout import Layout, Window
from prompt_toolkit.layout.controls import FormattedTextControl
from prompt_toolkit.styles import Style

from teamwright.cli.watching import Watch, rows

_SORTS = {"c": "cpu", "m": "memory", "f": "in_flight", "n": "name"}
_KEYS = "q leaves   sort: c cpu, m memory, f in flight, n name   up and down scroll"
_STYLE = Style.from_dict({"title": "bold", "job": "bold ansicyan", "head": "ansibrightblack", "bad": "ansiyellow"})


class Screen:
    """`run()` shows what `watch` sees until somebody leaves."""

    def __init__(self, watch: Watch, every: float) -> None:
        self._watch = watch
        self._every = every
        self._found: dict[str, Any] | None = None
        self._sort = "name"
        self._skip = 0
        keys = KeyBindings()
        for key in ("q", "c-c"):
            keys.add(key)(self._leave)
        for key in _SORTS:
            keys.add(key)(self._sorted)
        keys.add("up")(lambda event: self._scroll(-1))
        keys.add("down")(lambda event: self._scroll(1))
        self._app: Application[None] = Application(
            Layout(Window(FormattedTextControl(self._text, show_cursor=False), wrap_lines=False)),
            key_bindings=keys,
            style=_STYLE,
            full_screen=True,
        )

    def run(self) -> None:
        """Until somebody leaves. Raises what looking at the home raises."""
        asyncio.run(self._run())

    async def _run(self) -> None:
        looking = asyncio.create_task(self._look())
        # It ends by itself only when it fails.
        looking.add_done_callback(lambda _: self._app.exit() if self._app.is_running else None)
        await self._app.run_async()
        if looking.done():
            looking.result()
        looking.cancel()

    async def _look(self) -> None:
        while True:
            self._found = await asyncio.to_thread(self._watch.look)
            self._app.invalidate()
            await asyncio.sleep(self._every)

    def _leave(self, event: KeyPressEvent) -> None:
        event.app.exit()

    def _sorted(self, event: KeyPressEvent) -> None:
        self._sort = _SORTS[event.key_sequence[0].data]

    def _scroll(self, lines: int) -> None:
        self._skip = max(0, self._skip + lines)

    def _text(self) -> StyleAndTextTuples:
        size = self._app.output.get_size()
        if self._found is None:
            return [("", "looking…")]
        title, *table = rows(self._found, sort=self._sort)
        room = max(1, size.rows - 2)
        self._skip = min(self._skip, max(0, len(table) - room))
        shown = [title, *table[self._skip : self._skip + room]]
        lines = [(f"class:{style}", f"{line[: size.columns]}\n") for style, line in shown]
        left = len(table) - self._skip - room
        last = _KEYS if left <= 0 else f"{left} more below   {_KEYS}"
        return [*lines, ("class:head", last[: size.columns])]

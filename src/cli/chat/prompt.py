"""Where a person types: history per job, several lines, completion, and what Ctrl-C means."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from pathlib import Path

from prompt_toolkit import PromptSession
from prompt_toolkit.completion import CompleteEvent, Completer, Completion, PathCompleter
from prompt_toolkit.document import Document
from prompt_toolkit.history import FileHistory
from prompt_toolkit.key_binding import KeyBindings, KeyPressEvent

Names = Callable[[], Iterable[str]]


class Prompt:
    """Asks for lines.

    >>> prompt = Prompt(home.job_dir(job) / "chat-history", {"agent": agents, "session": sessions}, commands, status)
    >>> prompt.ask("hello> ")

    Enter sends, Alt-Enter begins a new line. Ctrl-C clears what is typed; a second one, with nothing typed in
    between, raises KeyboardInterrupt, and so does the first when `at_once`. Ctrl-D raises EOFError.
    """

    def __init__(self, history: Path, names: dict[str, Names], commands: Iterable[str], status: Callable[[], str]):
        self._armed = False
        self._status = status
        history.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        history.touch(mode=0o600)
        self._session: PromptSession[str] = PromptSession(
            history=FileHistory(str(history)),
            completer=_Words(names, list(commands)),
            complete_while_typing=False,
            key_bindings=self._keys(),
            multiline=True,
            bottom_toolbar=self._toolbar,
            prompt_continuation="  ",
        )
        self._at_once = False
        self._session.default_buffer.on_text_changed += lambda buffer: self._typed(buffer.text)

    def ask(self, label: str, *, at_once: bool = False) -> str:
        """One message. Raises KeyboardInterrupt or EOFError."""
        self._armed, self._at_once = False, at_once
        return self._session.prompt(label)

    def _typed(self, text: str) -> None:
        if text:
            self._armed = False

    def _toolbar(self) -> str:
        return "Ctrl-C again leaves" if self._armed else self._status()

    def _keys(self) -> KeyBindings:
        keys = KeyBindings()

        @keys.add("enter")
        def send(event: KeyPressEvent) -> None:
            event.current_buffer.validate_and_handle()

        @keys.add("escape", "enter")
        @keys.add("escape", "c-j")  # typed while an answer came, when the terminal still made line ends of it
        def line(event: KeyPressEvent) -> None:
            event.current_buffer.insert_text("\n")

        @keys.add("c-c", eager=True)
        def clear(event: KeyPressEvent) -> None:
            if not event.current_buffer.text and (self._armed or self._at_once):
                event.app.exit(exception=KeyboardInterrupt, style="class:aborting")
                return
            event.current_buffer.reset()
            self._armed = True

        return keys


class _Words(Completer):
    """Commands, and the names that may stand behind one."""

    def __init__(self, names: dict[str, Names], commands: list[str]) -> None:
        self._names = names
        self._commands = commands
        self._paths = PathCompleter(expanduser=True)

    def get_completions(self, document: Document, complete_event: CompleteEvent) -> Iterator[Completion]:
        text = document.text_before_cursor
        if not text.startswith("/") or "\n" in text:
            return
        word, space, rest = text[1:].partition(" ")
        if not space:
            yield from _matching(self._commands, word)
        elif word in ("file", "save"):
            yield from self._paths.get_completions(Document(rest, len(rest)), complete_event)
        elif word in self._names:
            with suppress(Exception):  # an engine that is away completes nothing
                yield from _matching(self._names[word](), rest)


def _matching(names: Iterable[str], begun: str) -> Iterator[Completion]:
    for name in names:
        if name.startswith(begun):
            yield Completion(name, start_position=-len(begun))

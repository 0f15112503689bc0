"""What a stand-in is told to say, and what reached it; the same words for every vendor."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal


@dataclass(frozen=True)
class Call:
    """A tool call. `arguments` as a str is sent as it is, so it may be broken JSON; `id` empty = one is made."""

    name: str
    arguments: Mapping[str, Any] | str = field(default_factory=dict)
    id: str = ""


@dataclass(frozen=True)
class Tokens:
    """What a reply says it used. `read` includes `cached`; `written` includes `reasoning`."""

    read: int = 20
    written: int = 9
    cached: int = 4
    reasoning: int = 0


@dataclass(frozen=True)
class Reply:
    """One reply of the model, or how it fails.

    `text`: a str, or the pieces it is streamed in; `[""]` is a block of text without a word in it.
    `delay`: seconds before the first byte; `pause`: between frames; `held`: nothing is sent before it is set, where
    `after` is given and it ends well: nothing more than so many frames.
    `status` from 400: an error with `error` as its message. `finish`: the vendor's own word, else what fits.
    `end`: `cut` closes the connection in mid-stream, `hang` goes silent until the client goes; both after `after`
    frames; a hang with `after=None` sends not even the head of the response.
    `raw` goes out as it is, as the whole body, instead of a reply.
    """

    text: str | Sequence[str] = ""
    calls: Sequence[Call] = ()
    thinking: str = ""
    delay: float = 0.0
    pause: float = 0.0
    held: threading.Event | None = None
    status: int = 200
    error: str = ""
    headers: Mapping[str, str] = field(default_factory=dict)
    finish: str | None = None
    tokens: Tokens | None = field(default_factory=Tokens)
    end: Literal["well", "cut", "hang"] = "well"
    after: int | None = None
    raw: bytes | None = None

    @property
    def pieces(self) -> list[str]:
        """The text as it is streamed: its words, where it is one str of less than a thousand characters."""
        if not isinstance(self.text, str):
            return list(self.text)
        if len(self.text) > 1000:
            return [self.text[start : start + 4000] for start in range(0, len(self.text), 4000)]
        words = self.text.split(" ")
        return [f"{word} " for word in words[:-1]] + words[-1:] if self.text else []

    @property
    def whole(self) -> str:
        return "".join(self.pieces)


@dataclass(eq=False)
class Seen:
    """A request that reached the stand-in.

    `number` counts from 1. `system`, `user` (the last words of the user), `said` (every text of user and model, in
    order), `tools` (names offered) and `results` (answers to the calls of the last reply, by call id) are read from
    the vendor's `body`. `gone` is set when the client left before the reply was through, `answered` when it was.
    """

    number: int
    path: str
    headers: Mapping[str, str]
    body: Mapping[str, Any]
    model: str = ""
    streaming: bool = False
    system: str = ""
    user: str = ""
    said: Sequence[str] = ()
    tools: Sequence[str] = ()
    results: Mapping[str, str] = field(default_factory=dict)
    at: float = field(default_factory=time.monotonic)
    gone: threading.Event = field(default_factory=threading.Event)
    answered: threading.Event = field(default_factory=threading.Event)


#: A reply, or a function that makes one of the request.
Line = Reply | Callable[[Seen], Reply]

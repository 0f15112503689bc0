"""What a message looks like to the model: its words, its files, and earlier words where the CLI has none of them."""

from __future__ import annotations

import base64
from collections.abc import Mapping, Sequence
from typing import Any

from teamwright.backends.api import File, Message, Turn
from teamwright.backends.loop import named

_IMAGES = ("image/png", "image/jpeg", "image/gif", "image/webp")
_TEXT_LIMIT = 200_000


def content_of(turn: Turn, *, earlier: bool) -> list[Mapping[str, Any]]:
    """The blocks of a message. `earlier`: the words of the session so far go with it."""
    blocks: list[Mapping[str, Any]] = []
    if earlier and turn.history:
        blocks.append(_text(_retold(turn.history)))
    blocks += [_file(file) for file in turn.files]
    blocks.append(_text(turn.text or "(no words, only files)"))
    return blocks


def shown_of(turn: Turn) -> str:
    """The message as spans show it: the words, and the names of the files."""
    return "\n".join([turn.text, *map(named, turn.files)]).strip()


def _retold(history: Sequence[Message]) -> str:
    said = "\n".join(f"{'You' if word.role == 'agent' else 'User'}: {word.text}" for word in history)
    return f"<conversation-so-far>\n{said}\n</conversation-so-far>"


def _file(file: File) -> Mapping[str, Any]:
    kind = file.media_type.partition(";")[0].strip().lower()
    if file.data is None:
        return _text(named(file))
    if kind in _IMAGES:
        return {"type": "image", "source": _base64(kind, file.data)}
    if kind == "application/pdf":
        return {"type": "document", "title": file.name, "source": _base64(kind, file.data)}
    try:
        words = file.data.decode()
    except UnicodeDecodeError:
        return _text(named(file))
    cut = f"\n(cut: {len(words):,} characters in all)" if len(words) > _TEXT_LIMIT else ""
    return _text(f'<file name="{file.name}">\n{words[:_TEXT_LIMIT]}{cut}\n</file>')


def _text(text: str) -> Mapping[str, Any]:
    return {"type": "text", "text": text}


def _base64(kind: str, data: bytes) -> Mapping[str, str]:
    return {"type": "base64", "media_type": kind, "data": base64.b64encode(data).decode()}

"""Files as A2A parts in JSON, as clients and agents send them, and as traces tell of them."""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Iterable, Mapping
from typing import Any

from teamwright.backends.api import File
from teamwright.tracing import messages
from teamwright.tracing.messages import Messages


def said(role: str, text: str, files: Iterable[File] = (), data: Mapping[str, Any] | None = None) -> Messages | None:
    """What somebody said as a span holds it: the words, or the data as JSON where there are none, and the files."""
    words = text or (messages.to_json(data) if data is not None else "")
    return messages.said(
        role,
        words,
        (messages.file(one.name, one.media_type, len(one.data) if one.data is not None else None, one.uri)
         for one in files),
    )  # fmt: skip


def part_of(file: File) -> dict[str, Any]:
    """A file as a part: its bytes, or where it lies."""
    part: dict[str, Any] = {"filename": file.name, "mediaType": file.media_type}
    if file.data is not None:
        part["raw"] = b64encode(file.data).decode()
    else:
        part["url"] = file.uri
    return part

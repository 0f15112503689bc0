"""Files as A2A parts in JSON, as clients and agents send them, and as traces tell of them."""

from __future__ import annotations

from base64 import b64decode, b64encode
from collections.abc import Iterable, Mapping
from typing import Any

from teamwright.backends.api import File
from teamwright.tracing import messages
from teamwright.tracing.messages import Messages


def readable(text: str) -> str:
    """Text that can travel: half a surrogate pair, which is no UTF-8, becomes a question mark."""
    return text if text.isascii() else text.encode(errors="replace").decode()


def files_in(parts: Iterable[Mapping[str, Any]]) -> tuple[File, ...]:
    """The files among parts. Raises ValueError for bytes that are not base64."""
    return tuple(
        File(
            name=part.get("filename") or f"file-{number}",
            media_type=part.get("mediaType") or "application/octet-stream",
            data=b64decode(part["raw"]) if "raw" in part else None,
            uri=part.get("url"),
        )
        for number, part in enumerate(parts, start=1)
        if "raw" in part or "url" in part
    )


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

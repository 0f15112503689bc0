"""Large texts of spans, each in a file that is called by what is in it: a span has only a reference.

<home>/content/ab/abcdef…    the text; its name is its SHA-256. Written again, it only gets younger.

A reference is a part as the GenAI conventions have them for what lies elsewhere, and so valid in messages:
{"type":"uri","modality":"text","mime_type":"text/plain","uri":"teamwright:sha256:…","size":123456,"preview":"…"}
In place of a text that is no part of a message, its type is `text file`.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import secrets
from collections.abc import Collection, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

from teamwright.tracing.messages import to_json
from teamwright.tracing.vocabulary import CONTENT

#: Characters from which on a text goes into a file, and how many of it stay.
LARGE = 32_768
PREVIEW = 1000
#: What a reference stands for: a text part of a message, or just a text.
_PART, _TEXT = "uri", "text file"
_SCHEME = "teamwright:sha256:"
REFERENCE = re.compile(rb"teamwright:sha256:([0-9a-f]{64})")
_NAME = re.compile(r"[0-9a-f]{64}")


def content_dir(spool_dir: Path) -> Path:
    """Where the files of a home lie, beside its spools."""
    return spool_dir.parent / "content"


class Parts:
    """The files of a home.

    >>> parts = Parts(content_dir(home.spool_dir))
    >>> parts.fold(INPUT_MESSAGES, encode("x" * 100_000))   # what goes into the span
    >>> parts.unfold(...)                                   # what it was
    """

    def __init__(self, folder: Path, large: int = LARGE) -> None:
        self._folder = folder
        self._large = large

    def fold(self, name: str, value: str) -> str:
        """An attribute's text, with references for the large parts of it; as it is when they can't be written."""
        if len(value) <= self._large or name not in CONTENT:
            return value
        try:
            found = json.loads(value) if value[:1] in ("{", "[") else None
        except (ValueError, RecursionError):
            found = None
        if found is None:
            return to_json(made) if (made := self._put(value)) else value
        folded = to_json(self._inside(found))
        if len(folded) <= self._large:
            return folded
        # Large by many small parts.
        return to_json(made) if (made := self._put(value, media_type="application/json")) else value

    def unfold(self, value: Any) -> Any:
        """An attribute's value, with what the references in it stand for, as far as the files are there."""
        if not isinstance(value, str) or _SCHEME not in value:
            return value
        try:
            found = self._outside(json.loads(value))
        except (ValueError, LookupError, RecursionError):
            return value
        return found if isinstance(found, str) else to_json(found)

    def remove(self, *, before: float, but: Collection[str] = ()) -> int:
        """Delete files last written before that Unix time, `but` those; how many."""
        gone = 0
        for file in self._files():
            with suppress(OSError):
                if file.name not in but and file.stat().st_mtime < before:
                    file.unlink()
                    gone += 1
        return gone

    def shrink(self, to: int, but: Collection[str] = ()) -> int:
        """Delete the oldest files, `but` those, until all take at most so many bytes; how many that were."""
        found = []
        for file in self._files():
            with suppress(OSError):
                status = file.stat()
                found.append((file.name in but, status.st_mtime, status.st_size, file))
        found.sort(reverse=True)
        total = gone = 0
        for stays, _, size, file in found:
            total += size
            if total > to and not stays:
                file.unlink(missing_ok=True)
                gone += 1
        return gone

    def _files(self) -> Iterator[Path]:
        for file in self._folder.glob("??/*"):
            if _NAME.fullmatch(file.name):
                yield file

    def _inside(self, value: Any) -> Any:
        if isinstance(value, str):
            return (self._put(value) or value) if len(value) > self._large else value
        if isinstance(value, list):
            return [self._inside(item) for item in value]
        if not isinstance(value, dict):
            return value
        if value.get("type") == "text" and isinstance(text := value.get("content"), str):
            return (self._put(text, _PART) or value) if len(text) > self._large else value
        return {key: self._inside(item) for key, item in value.items()}

    def _put(self, text: str, kind: str = _TEXT, media_type: str = "text/plain") -> dict[str, Any] | None:
        data = text.encode(errors="replace")
        name = hashlib.sha256(data).hexdigest()
        file = self._folder / name[:2] / name
        try:
            if file.exists():
                os.utime(file)
            else:
                file.parent.mkdir(parents=True, exist_ok=True)
                draft = file.with_name(f".{name}.{secrets.token_hex(4)}")
                try:
                    draft.write_bytes(data)
                    draft.chmod(0o600)
                    draft.replace(file)
                finally:
                    draft.unlink(missing_ok=True)
        except OSError:
            return None
        return {
            "type": kind,
            "modality": "text",
            "mime_type": media_type,
            "uri": _SCHEME + name,
            "size": len(data),
            "preview": text[:PREVIEW],
        }

    def _outside(self, value: Any) -> Any:
        if isinstance(value, list):
            return [self._outside(item) for item in value]
        if not isinstance(value, dict):
            return value
        if not str(value.get("uri", "")).startswith(_SCHEME):
            return {key: self._outside(item) for key, item in value.items()}
        text = self._read(value["uri"].removeprefix(_SCHEME))
        if text is None:
            return value
        return {"type": "text", "content": text} if value["type"] == _PART else text

    def _read(self, name: str) -> str | None:
        if not _NAME.fullmatch(name):
            return None
        try:
            return (self._folder / name[:2] / name).read_text(errors="replace")
        except OSError:
            return None

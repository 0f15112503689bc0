"""Files as A2A parts in JSON, as clients and agents send them."""

from __future__ import annotations

from base64 import b64encode
from typing import Any

from teamwright.backends.api import File


def part_of(file: File) -> dict[str, Any]:
    """A file as a part: its bytes, or where it lies."""
    part: dict[str, Any] = {"filename": file.name, "mediaType": file.media_type}
    if file.data is not None:
        part["raw"] = b64encode(file.data).decode()
    else:
        part["url"] = file.uri
    return part

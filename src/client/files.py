"""Files that go along with a question, and those that came with an answer."""

from __future__ import annotations

import stat
from collections.abc import Iterable, Sequence
from pathlib import Path

from teamwright.backends.api import File
from teamwright.errors import UserError

#: Bytes of all files of one message. As base64, with its text, it stays below what an agent takes.
FILES_LIMIT = 11 << 20


def attachments(items: Iterable[Path | str | File], *, said: str = "") -> list[File]:
    """Files to send along, those of paths read. `said` stands in front of what errors say.

    Raises UserError for what can't be read, or is too large for one message.
    """
    from teamwright.agents.own_code.worker_turns import media_type_of

    found, size = [], 0
    for item in items:
        if isinstance(item, File):
            found.append(item)
            size += len(item.data or b"")
            continue
        path = Path(item)
        try:
            kind = path.stat().st_mode
            if stat.S_ISCHR(kind) or stat.S_ISBLK(kind) or stat.S_ISSOCK(kind):
                raise UserError(f"{said}{path}: is a device, not a file")
            # One byte more than fits tells that it is too large: pipes say no size, and files grow.
            with path.open("rb") as file:
                data = file.read(max(0, FILES_LIMIT - size) + 1)
            size += max(len(data), path.stat().st_size)
            if size <= FILES_LIMIT:
                found.append(File(path.name, media_type_of(path.name), data))
        except OSError as error:
            raise UserError(f"{said}{path}: {(error.strerror or str(error)).lower()}") from None
    if size > FILES_LIMIT:
        raise UserError(
            f"{said.strip() or 'files'}: {size / (1 << 20):.1f} MiB is more than the {FILES_LIMIT >> 20} MiB"
            " that fit into one message",
            hint="agents on this machine can read a path that stands in the text",
        )
    return found


def save(files: Sequence[File], folder: Path | str, *, said: str = "") -> list[Path]:
    """Write an answer's files into a folder, over nothing that is there. Raises UserError."""
    from teamwright.agents.own_code.attachments import unique_name

    folder = Path(folder)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        taken = {path.name for path in folder.iterdir()}
        saved = [folder / unique_name(file.name, taken) for file in files if file.data is not None]
        for path, file in zip(saved, (file for file in files if file.data is not None), strict=True):
            with path.open("xb") as target:
                target.write(file.data or b"")
    except OSError as error:
        raise UserError(f"{said}{folder}: {(error.strerror or str(error)).lower()}") from None
    return saved

"""The files of a message and of its answer, for a program that knows only folders.

    with Folders(label, files) as folders:
        folders.environment     TEAMWRIGHT_FILES: where they are; TEAMWRIGHT_ANSWER_FILES: what goes out with the answer
        folders.answer_files()  what it has put there

Both are made for one message, readable by their owner alone, and gone after it. What an agent that was killed has left
is swept when it starts again.
"""

from __future__ import annotations

import errno
import logging
import os
import shutil
import stat
import tempfile
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Self

from teamwright.agents.own_code.worker_turns import ANSWER_FILES, media_type_of
from teamwright.backends.api import File
from teamwright.errors import CodeError

log = logging.getLogger(__name__)

_PREFIX = "teamwright-files."
#: Files in one answer; bytes of a name, with room left for what makes it unique.
_NUMBER, _NAME = 100, 200


class Folders:
    """The two folders of one message; a context. `label` says whose they are, for `sweep`. Raises CodeError."""

    def __init__(self, label: str, files: Sequence[File]) -> None:
        self._label = label
        self._files = files
        self._path = Path()

    def __enter__(self) -> Self:
        try:
            self._path = Path(tempfile.mkdtemp(prefix=f"{_PREFIX}{self._label}.{os.getpid()}."))
            self._came.mkdir()
            self._goes.mkdir()
            taken: set[str] = set()
            for file in self._files:
                self._put(unique_name(file.name, taken), file)
        except OSError as error:
            self._remove()
            raise CodeError(f"the message's files can't be put into a folder: {error.strerror}") from None
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._remove()

    @property
    def environment(self) -> Mapping[str, str]:
        """The variables that name the folders."""
        return {"TEAMWRIGHT_FILES": str(self._came), "TEAMWRIGHT_ANSWER_FILES": str(self._goes)}

    def answer_files(self) -> tuple[File, ...]:
        """What lies in the folder for the answer, by name; links and folders don't count. Raises CodeError."""
        found: list[File] = []
        room = ANSWER_FILES
        for path in sorted(self._goes.iterdir()):
            data = _read(path, room)
            if data is None:
                log.warning("%s does not go out with the answer: it is not a plain file", path.name)
                continue
            room -= len(data)
            if room < 0 or len(found) == _NUMBER:
                what = f"{ANSWER_FILES // 1_000_000} MB" if room < 0 else f"{_NUMBER} files"
                raise CodeError(f"it left more than {what} for the answer", reason="too_large")
            found.append(File(path.name, media_type_of(path.name), data))
        return tuple(found)

    @property
    def _came(self) -> Path:
        return self._path / "files"

    @property
    def _goes(self) -> Path:
        return self._path / "answer"

    def _put(self, name: str, file: File) -> None:
        if file.data is not None:
            (self._came / name).write_bytes(file.data)
        else:  # nobody fetches what a stranger names: the program may
            (self._came / f"{name}.url").write_text(f"{file.uri}\n")

    def _remove(self) -> None:
        if self._path != Path():
            shutil.rmtree(self._path, ignore_errors=True)


def sweep(label: str) -> None:
    """Remove what dead processes of that label have left."""
    for path in Path(tempfile.gettempdir()).glob(f"{_PREFIX}{label}.*"):
        pid = path.name[len(_PREFIX) + len(label) + 1 :].partition(".")[0]
        if pid.isdigit() and not _lives(int(pid)):
            with suppress(OSError):
                if path.lstat().st_uid == os.getuid():
                    shutil.rmtree(path)


def _plain(name: str) -> str:
    """A name without folders in it, which can't be mistaken for anything else."""
    last = name.replace("\\", "/").rpartition("/")[2]
    found = "".join(letter for letter in last if letter.isprintable()).strip()
    while len(found.encode()) > _NAME:
        found = found[1:]  # the end says what it is
    return found if found.strip(".") else "file"


def unique_name(name: str, taken: set[str]) -> str:
    """A name without folders in it that is not in `taken`, where it is put."""
    name = _plain(name)
    stem, dot, end = name.rpartition(".")
    if not stem:
        stem, dot, end = name, "", ""
    found, number = name, 1
    while found in taken:
        number += 1
        found = f"{stem}-{number}{dot}{end}"
    taken.add(found)
    return found


def _read(path: Path, room: int) -> bytes | None:
    """The bytes of a plain file, one more than `room` at most; None for anything else."""
    try:
        handle = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
    except OSError as error:
        if error.errno in (errno.ELOOP, errno.ENXIO, errno.EACCES):
            return None
        raise CodeError(f"its file {path.name} can't be read: {error.strerror}") from None
    if not stat.S_ISREG(os.fstat(handle).st_mode):
        os.close(handle)
        return None
    with open(handle, "rb") as file:
        return file.read(room + 1)


def _lives(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except OSError as error:
        return error.errno == errno.EPERM
    return True

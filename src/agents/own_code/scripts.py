"""`script: [python, summary.py]`: a program of the user's, run once per message.

The text comes on stdin, or in place of `{text}` where that stands in the list; stdout is the answer, streamed as it is
written; another exit code than 0 is a failure that says what was written to stderr last. stderr goes to the log.
Files that came with the message lie in a folder, and what it puts into another one goes out with the answer.
"""

from __future__ import annotations

import asyncio
import codecs
import logging
import os
import subprocess
from collections import deque
from collections.abc import AsyncIterator, Mapping
from typing import IO, Any, ClassVar

from teamwright.agents.own_code.attachments import Folders, sweep
from teamwright.agents.own_code.children import Child
from teamwright.agents.own_code.programs import script_label, script_words
from teamwright.agents.spec import AgentSpec
from teamwright.backends.api import Answer, BackendConfig, Turn
from teamwright.errors import CodeError

log = logging.getLogger(__name__)

TEXT = "{text}"
#: Bytes. No answer is longer.
OUTPUT_LIMIT = 16 << 20
#: Seconds that a cancelled script gets after SIGTERM.
_TERMINATE = 0.08
#: Seconds in which what it wrote last is read, once it has ended.
_REST = 1.0
_LAST_LINES = 5
_LINE, _CHUNK = 1000, 65_536


class ScriptCode:
    """A program as a Backend."""

    name: ClassVar[str] = "script"
    description = ""

    def __init__(self, spec: AgentSpec) -> None:
        self._spec = spec
        self._words: list[str] = []
        self._label = script_label(spec.script)
        self._owner = f"{spec.home_id}.{spec.id.replace('/', '.')}"

    async def open(self, config: BackendConfig) -> None:
        """Find the program. Raises UserError."""
        sweep(self._owner)
        self._words = script_words(self._spec.script, self._spec.python, self._spec.job_folder, os.environ.get("PATH"))

    async def close(self) -> None:
        """Nothing is open; scripts that run are ended with their messages."""

    async def run(self, turn: Turn) -> Answer:
        """Run it. Raises CodeError when it fails."""
        with Folders(self._owner, turn.files) as folders:
            text = await self._run(turn, folders.environment)
            return Answer(text, folders.answer_files())

    async def _run(self, turn: Turn, folders: Mapping[str, str]) -> str:
        words = [word.replace(TEXT, turn.text) for word in self._words]
        by_argument = words != self._words
        stdin = _file("" if by_argument else turn.text)
        try:
            child = Child(
                words,
                folder=self._spec.job_folder,
                environment={**os.environ, **_variables(turn), **folders},
                stdin=stdin,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
            )
        except (OSError, ValueError) as error:
            raise CodeError(f"{self._label} can't be run: {getattr(error, 'strerror', None) or error}") from None
        finally:
            os.close(stdin)
        output = _Output(turn)
        errors: deque[str] = deque(maxlen=_LAST_LINES)
        work = [
            asyncio.ensure_future(output.read(child.stdout)),
            asyncio.ensure_future(_log(child.stderr, errors)),
        ]
        try:
            waited: list[asyncio.Future[Any]] = [child.ended, work[0]]
            await asyncio.wait(waited, return_when=asyncio.FIRST_COMPLETED)
            if work[0].done():
                work[0].result()  # raises when there was too much of it
            code = await asyncio.shield(child.ended)
            await child.end()  # what it left running holds its output open
            await asyncio.wait(work, timeout=_REST)
            if work[0].done():
                work[0].result()
        finally:
            for task in work:
                task.cancel()
            await child.end(_TERMINATE)
            await asyncio.gather(*work, return_exceptions=True)
        if code != 0:
            how = f"was killed by signal {-code}" if code < 0 else f"ended with exit code {code}"
            said = "\n".join(errors)
            raise CodeError(f"{self._label} {how}" + (f": {said}" if said else ""), reason="exit_code")
        return output.text


def _variables(turn: Turn) -> Mapping[str, str]:
    return {
        "TRACEPARENT": turn.tracer.current().traceparent,
        "TEAMWRIGHT_SESSION": turn.session,
        "TEAMWRIGHT_RUN_ID": str(turn.run.run_id),
        "TEAMWRIGHT_USER": turn.user or "",
        "PYTHONUNBUFFERED": "1",
    }


class _Output:
    """What the script writes, streamed in pieces; blank lines at its end are left out."""

    def __init__(self, turn: Turn) -> None:
        self._turn = turn
        self._decoder = codecs.getincrementaldecoder("utf-8")("replace")
        self._held = ""
        self._pieces: list[str] = []
        self._size = 0

    @property
    def text(self) -> str:
        return "".join(self._pieces)

    async def read(self, pipe: IO[bytes] | None) -> None:
        """Until its end. Raises CodeError when there is too much of it."""
        async for data in _chunks(pipe):
            self._size += len(data)
            if self._size > OUTPUT_LIMIT:
                raise CodeError(f"it wrote more than {OUTPUT_LIMIT >> 20} MB", reason="too_large")
            await self._add(self._decoder.decode(data))
        await self._add(self._decoder.decode(b"", final=True))

    async def _add(self, text: str) -> None:
        text = self._held + text
        piece = text.rstrip()
        self._held = text[len(piece) :]
        if piece:
            self._pieces.append(piece)
            await self._turn.stream(piece)


async def _log(pipe: IO[bytes] | None, last: deque[str]) -> None:
    """Each line into the agent's log, at whatever level that is kept; the last ones are remembered."""
    rest = b""
    async for data in _chunks(pipe):
        *lines, rest = (rest + data).split(b"\n")
        for line in lines:
            _note(line, last)
    _note(rest, last)


def _note(line: bytes, last: deque[str]) -> None:
    text = line.decode(errors="replace").rstrip()
    if text:
        last.append(text[:_LINE])
        log.log(max(log.getEffectiveLevel(), logging.INFO), "stderr: %s", text[:_LINE])


async def _chunks(pipe: IO[bytes] | None) -> AsyncIterator[bytes]:
    """What comes through a pipe, until its end."""
    reader = asyncio.StreamReader()
    transport, _ = await asyncio.get_running_loop().connect_read_pipe(
        lambda: asyncio.StreamReaderProtocol(reader), pipe
    )
    try:
        while data := await reader.read(_CHUNK):
            yield data
    finally:
        transport.close()


def _file(text: str) -> int:
    """A descriptor to read `text` from, in memory only: nobody has to wait until a script reads its stdin."""
    fd = os.memfd_create("stdin", os.MFD_CLOEXEC)
    with open(fd, "wb", closefd=False) as file:
        file.write(text.encode(errors="replace"))
    os.lseek(fd, 0, os.SEEK_SET)
    return fd

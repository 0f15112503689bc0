"""`deploy chat` at a terminal, key by key, and in a pipe."""

from __future__ import annotations

import fcntl
import json
import os
import pty
import re
import select
import struct
import subprocess
import termios
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from tests.system.conftest import Deploy

JOB = """
job: {name: pub}
defaults: {module: pub}
agents:
  - {id: barkeeper, type: Barkeeper, calls: [cellar]}
  - {id: cellar, type: Cellar}
"""
CODE = """
import asyncio, os
from teamwright import Agent, tool

class Barkeeper(Agent):
    async def run(self, turn):
        word, _, rest = turn.text.partition(" ")
        if word == "which":
            return "so it is " + await turn.ask_user("red or white?")
        if word == "slow":
            await turn.stream("# First part")
            return "# First part\\n\\n" + (await turn.ask_peer("cellar", rest)).text
        if word == "die":
            await turn.stream("half of it")
            os._exit(3)
        if word == "ring":
            return "a bell\\a \\x1b]0;pwned\\a \\x1b[2Jrings"
        if word == "fail":
            raise ValueError("no more beer")
        heard = [each.text for each in turn.history if each.role == "user"]
        files = "".join(f" with {each.name}" for each in turn.files)
        return "**" + " ".join([*heard, turn.text]) + "**" + files

class Cellar(Agent):
    async def run(self, turn):
        while not os.path.exists(turn.text):
            await asyncio.sleep(0.01)
        return "second part"
"""
#: The end of the line below the prompt: it takes keys now.
READY = "Ctrl-D leaves"
CTRL_C, CTRL_D, ALT_ENTER = "\x03", "\x04", "\x1b\r"
_ESCAPES = re.compile(r"\x1b(?:\[[0-9;?]*[a-zA-Z]|\][^\x07]*\x07|[=>])")


@pytest.fixture(scope="module")
def folder(shared_deploy: Deploy) -> Iterator[Path]:
    folder = shared_deploy.home.parent / "pub"
    folder.mkdir()
    (folder / "pub.yaml").write_text(JOB)
    (folder / "pub.py").write_text(CODE)
    (folder / "note.txt").write_text("a note")
    shared_deploy("start", folder / "pub.yaml").ok()
    yield folder
    shared_deploy("stop", "--all").ok()


def _own_terminal() -> None:
    fcntl.ioctl(0, termios.TIOCSCTTY, 0)


class Person:
    """Somebody at a terminal of 100 x 30, in front of one command."""

    def __init__(self, deploy: Deploy, folder: Path, *arguments: str) -> None:
        self._master, slave = pty.openpty()
        fcntl.ioctl(slave, termios.TIOCSWINSZ, struct.pack("HHHH", 30, 100, 0, 0))
        environment = {**deploy.environment, "TERM": "xterm-256color"}
        self._process = subprocess.Popen(
            [deploy.program, *arguments], stdin=slave, stdout=slave, stderr=slave, cwd=folder, env=environment,
            start_new_session=True, preexec_fn=_own_terminal,
        )  # fmt: skip
        os.close(slave)
        self.raw = ""
        self._seen = 0

    @property
    def screen(self) -> str:
        """All that was printed, without its escapes."""
        return _ESCAPES.sub("", self.raw)

    def type(self, keys: str) -> None:
        os.write(self._master, keys.encode())

    def sees(self, words: str, within: float = 60) -> str:
        """Wait until these words appear, after those it waited for last; what was printed up to them."""
        end = time.monotonic() + within
        while (at := self.screen.find(words, self._seen)) < 0:
            assert time.monotonic() < end and self._read(end), f"no {words!r} in:\n{self.screen[self._seen :]}"
        found = self.screen[self._seen : at]
        self._seen = at + len(words)
        return found

    def shows(self, words: str) -> bool:
        """Whether these words have appeared by now."""
        while self._read(0):
            pass
        return words in self.screen

    def leaves(self, keys: str = CTRL_D) -> int:
        self.type(keys)
        end = time.monotonic() + 60
        while self._read(end):
            pass
        os.close(self._master)
        return self._process.wait(60)

    def goes(self) -> None:
        """End the command, if it still runs."""
        if self._process.poll() is None:
            self._process.kill()
            self._process.wait()
            os.close(self._master)

    def resize(self, rows: int, columns: int) -> None:
        fcntl.ioctl(self._master, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))

    def _read(self, end: float) -> bool:
        with suppress(OSError):
            if select.select([self._master], [], [], max(0.0, end - time.monotonic()))[0]:
                piece = os.read(self._master, 65536)
                self.raw += piece.decode(errors="replace")
                if b"\x1b[6n" in piece:
                    self.type("\x1b[1;1R")  # where the cursor is, as a terminal tells
                return bool(piece)
        return False


Sits = Callable[..., Person]


@pytest.fixture
def sits(shared_deploy: Deploy, folder: Path) -> Iterator[Sits]:
    """Puts somebody in front of a command; whoever is left there when the test is over is sent away."""
    there: list[Person] = []

    def sit(*arguments: str) -> Person:
        there.append(Person(shared_deploy, folder, *arguments))
        return there[-1]

    yield sit
    for person in there:
        person.goes()


def test_at_a_terminal(shared_deploy: Deploy, folder: Path, sits: Sits) -> None:
    person = sits("chat", "pub", "--session", "evening")
    person.sees(READY)
    person.type("hello\r")
    person.sees("hello")
    person.sees("-- trace ")
    assert "**" not in person.screen and "\x1b[1m" in person.raw, "Markdown is not rendered"
    person.type(f"two{ALT_ENTER}lines\r")
    person.sees("hello two")
    person.sees("-- trace ")
    person.sees(READY)
    person.type("/coz\r")
    person.sees("error: no such command /coz")
    person.sees("hint: commands: help, agents")
    person.sees(READY)
    person.type("/co\t")
    person.sees("st")
    person.type("\r")
    person.sees("2 answers: ")
    person.sees(READY)
    person.type("/help\r")
    person.sees("/file      PATH: send a file along")
    person.sees(READY)
    person.type("/agents\r")
    person.sees("http://127.0.0.1:")
    person.sees(READY)
    person.type("/agent cel\t")
    person.sees("lar")
    person.type("\r")
    person.sees("talking with cellar")
    person.sees(READY)
    person.type("/agent\r")
    person.sees("the entry point")
    person.sees(READY)
    person.type("/agent nobody\r")
    person.sees("job pub has no agent 'nobody'")
    person.sees(READY)
    person.type("/file note.txt\r")
    person.sees("goes along with the next message: note.txt")
    person.sees(READY)
    person.type("here\r")
    person.sees("with note.txt")
    person.sees("-- trace ")
    person.sees(READY)
    person.resize(24, 60)
    person.type("/save said.md\r")
    person.sees("saved said.md")
    assert (folder / "said.md").read_text() == "**hello two\nlines here** with note.txt\n"
    person.type("/trace\r")
    person.sees("barkeeper")
    person.sees(READY)
    person.type("/trace full\r")
    person.sees("invoke_workflow")
    person.sees(READY)
    person.type("/sessions\r")
    person.sees("LAST WORDS")
    person.sees(READY)
    person.type("/session no-such\r")
    person.sees("there is no session 'no-such'")
    person.sees(READY)
    person.type("/session new\r")
    person.sees("session ")
    person.sees(READY)
    person.type("fresh\r")
    person.sees("fresh")
    person.sees("-- trace ")
    person.sees(READY)
    person.type("/retry\r")
    person.sees("fresh fresh")
    person.sees("-- trace ")
    person.sees(READY)
    person.type("/session even\t")
    person.sees("ing")
    person.type("\r")
    person.sees("session evening")
    person.sees(READY)
    person.type("which wine\r")
    person.sees("red or white?")
    person.sees("asks>")
    person.sees(READY)
    person.type("white\r")
    person.sees("so it is white")
    person.sees(READY)
    assert person.leaves() == 0
    assert "session evening is kept: deploy chat pub --session evening" in person.screen
    history = shared_deploy.home / "jobs/pub/chat-history"
    assert "which wine" in history.read_text() and history.stat().st_mode & 0o077 == 0


def test_a_live_line_that_folds_away_and_ctrl_c(shared_deploy: Deploy, folder: Path, sits: Sits) -> None:
    person = sits("chat", "pub", "--session", "slow")
    person.sees(READY)
    flag = folder / "flag"
    person.type(f"slow {flag}\r")
    person.sees("First part")
    person.sees("cellar: works, ")
    flag.touch()
    person.sees("second part")
    person.sees("-- trace ")
    person.sees(READY)

    person.type(f"slow {folder / 'never'}\r")
    person.sees("cellar: works, ")
    person.type(CTRL_C)
    person.sees("cancelled")
    person.sees(READY)
    runs = shared_deploy("runs", "list", "--job", "pub", "--session", "slow", "--json").ok().json["runs"]
    assert (runs[0]["status"], runs[0]["state"]) == ("error", "canceled"), runs[0]

    person.type("never sent" + CTRL_C)
    person.sees("again")
    person.type("still here\r")
    person.sees("still here")
    person.sees("-- trace ")
    person.sees(READY)
    person.type("which\r")
    person.sees("asks>")
    person.sees(READY)
    person.type(CTRL_C)
    person.sees("cancelled")
    person.sees(READY)
    person.type(CTRL_C)
    person.sees("again")
    assert person.leaves(CTRL_C) == 0
    assert "session slow is kept" in person.screen
    shown = shared_deploy("sessions", "show", "slow").ok().out
    assert "never sent" not in shown and "still here" in shown


def test_a_terminal_obeys_no_agent(sits: Sits) -> None:
    person = sits("chat", "pub", "--session", "bells")
    person.sees(READY)
    person.type("ring\r")
    person.sees("rings")
    person.sees("-- trace ")
    person.sees(READY)
    assert person.leaves("/quit\r") == 0
    for arguments in (
        ("query", "pub", "ring"),
        ("sessions", "show", "bells"),
        ("sessions", "list", "pub"),
    ):
        other = sits(*arguments)
        other.sees("rings")
        assert other.leaves("") == 0
        person.raw += other.raw
    assert "\x1b]0;" not in person.raw and "\x1b[2J" not in person.raw and "\a" not in person.raw


def test_in_a_pipe(shared_deploy: Deploy, folder: Path) -> None:
    lines = "/session pipe\nhello\n\nwhich\nred\n//x\n"
    done = shared_deploy("chat", "pub", "--session", "pipe", input=lines.removeprefix("/session pipe\n"))
    assert (done.code, done.out) == (0, "**hello**\nred or white?\nso it is red\n**hello which red /x**\n"), done
    assert "\x1b" not in done.out + done.err
    objects = shared_deploy("chat", "pub", "--json", input="one\ntwo\n").ok().out.splitlines()
    assert [json.loads(each)["answer"] for each in objects] == ["**one**", "**one two**"]
    failed = shared_deploy("chat", "pub", input="fail\n/agent nobody\nhello\n/quit\nno more\n")
    assert (failed.code, failed.out) == (1, "**hello**\n") and "no more beer" in failed.err, failed
    assert "job pub has no agent 'nobody'" in failed.err
    for arguments, line in (
        (("chat", "pubs"), "no job named 'pubs'"),
        (("chat", "pub/nobody"), "job pub has no agent 'nobody'"),
    ):
        refused = shared_deploy(*arguments, input="hello\n")
        assert (refused.code, refused.out) == (2, "") and line in refused.err, refused


def test_the_job_dies_in_mid_answer(shared_deploy: Deploy, folder: Path, sits: Sits) -> None:
    person = sits("chat", "pub")
    person.sees(READY)
    person.type("die\r")
    person.sees("error: ")
    person.sees(READY)
    person.type(f"slow {folder / 'nothing'}\r")
    person.sees("cellar: works, ", within=60)
    shared_deploy("stop", "pub").ok()
    person.sees("job pub is stop")
    person.sees("hint: deploy ps pub")
    assert person.leaves() == 0

"""`deploy query`: files that go along, and answers that come to a terminal piece by piece."""

from __future__ import annotations

import json
import os
import pty
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from tests.system.conftest import Deploy

JOB = """
job: {name: desk}
agents:
  - {id: front, run: "desk:answer", calls: [keeper]}
  - {id: keeper, script: [python, keeper.py]}
execution: {entry_point: front}
"""
CODE = """
import os, time

def answer(text, turn):
    word, _, rest = text.partition(" ")
    if word == "keep":
        return str(turn.ask_peer("keeper", "keep", files=turn.files).text)
    if word == "data":
        return {"files": [[file.name, file.media_type, file.data.decode()] for file in turn.files]}
    return pieces(word, rest)

def pieces(word, flag):
    yield "one "
    while not os.path.exists(flag):
        time.sleep(0.01)
    if word == "break":
        raise ValueError("broken off")
    yield "two"
"""
KEEPER = """
import os, shutil
came = os.environ["TEAMWRIGHT_FILES"]
for name in sorted(os.listdir(came)):
    print(name, os.path.getsize(os.path.join(came, name)))
    shutil.copy(os.path.join(came, name), os.environ["TEAMWRIGHT_ANSWER_FILES"])
"""


@pytest.fixture(scope="module")
def folder(shared_deploy: Deploy) -> Iterator[Path]:
    folder = shared_deploy.home.parent / "job"
    folder.mkdir()
    for name, text in (("desk.yaml", JOB), ("desk.py", CODE), ("keeper.py", KEEPER)):
        (folder / name).write_text(text)
    (folder / "a.txt").write_text("abc")
    (folder / "b.csv").write_text("x,y")
    shared_deploy("start", folder / "desk.yaml").ok()
    yield folder
    shared_deploy("stop", "--all").ok()


def test_files(shared_deploy: Deploy, folder: Path) -> None:
    files = ("--file", folder / "a.txt", "--file", folder / "b.csv")
    asked = shared_deploy("query", "desk", "data", *files, "--json").ok().json
    assert json.loads(asked["answer"]) == {"files": [["a.txt", "text/plain", "abc"], ["b.csv", "text/csv", "x,y"]]}
    assert "agents" not in asked
    root, server = spans_of(shared_deploy, asked["trace_id"])
    for span in (root, server):
        (said,) = json.loads(span["attributes"]["gen_ai.input.messages"])
        assert said["parts"] == [
            {"type": "text", "content": "data"},
            {"type": "file", "name": "a.txt", "mime_type": "text/plain", "size": 3},
            {"type": "file", "name": "b.csv", "mime_type": "text/csv", "size": 3},
        ]
        (said,) = json.loads(span["attributes"]["gen_ai.output.messages"])
        assert json.loads(said["parts"][0]["content"]) == json.loads(asked["answer"])
    assert shared_deploy("query", "desk", "keep", *files).ok().out == "a.txt 3\nb.csv 3\n"
    for span in spans_of(shared_deploy, "")[1:]:
        assert "b.csv" in span["attributes"]["gen_ai.input.messages"], span


def test_files_that_come_back(shared_deploy: Deploy, folder: Path) -> None:
    files = ("--file", folder / "a.txt", "--file", folder / "b.csv")
    asked = shared_deploy("query", "desk/keeper", "keep", *files, "--json").ok().json
    assert asked["files"] == [
        {"name": "a.txt", "media_type": "text/plain", "bytes": 3},
        {"name": "b.csv", "media_type": "text/csv", "bytes": 3},
    ]
    told = shared_deploy("query", "desk/keeper", "keep", *files).ok()
    assert "files: a.txt, b.csv (--out DIR saves them)" in told.err
    for names in (["a.txt", "b.csv"], ["a-2.txt", "a.txt", "b-2.csv", "b.csv"]):
        told = shared_deploy("query", "desk/keeper", "keep", *files, "--out", folder / "out").ok()
        assert told.out == "a.txt 3\nb.csv 3\n"
        assert sorted(path.name for path in (folder / "out").iterdir()) == names
    assert (folder / "out" / "b-2.csv").read_text() == "x,y"
    refused = shared_deploy("query", "desk/keeper", "keep", *files, "--out", folder / "a.txt")
    assert (refused.code, "a.txt: file exists" in refused.err) == (2, True)


def spans_of(deploy: Deploy, trace_id: str) -> list[Any]:
    """The spans of a trace, of the newest where none is named; those that say something first."""
    found = deploy("trace", "show", *([trace_id] if trace_id else []), "--json").ok().json
    assert found["complete"]
    spans: list[Any] = found["spans"]
    assert [span["kind"] for span in spans if span["kind"] == "SERVER"], "nobody answered"
    return [span for span in spans if span["kind"] != "INTERNAL" or span["parent_id"] is None]


def test_files_that_do_not_go(shared_deploy: Deploy, folder: Path) -> None:
    with (folder / "big.bin").open("wb") as file:
        file.truncate(7 << 20)
    for files, line in (
        ([folder / "none"], "none: no such file or directory"),
        ([folder], "is a directory"),
        ([folder / "big.bin"] * 2, "--file: 14.0 MiB is more than the 11 MiB that fit into one message"),
    ):
        done = shared_deploy("query", "desk", "data", *(word for one in files for word in ("--file", one)))
        assert (done.code, done.out) == (2, "")
        assert line in done.err
    shared_deploy("query", "desk", "keep", "--file", folder / "big.bin").ok()


@pytest.mark.parametrize("word", ["go", "break"])
def test_a_terminal_gets_the_answer_as_it_comes(shared_deploy: Deploy, folder: Path, word: str) -> None:
    flag = folder / f"flag-{word}"
    ours, theirs = pty.openpty()
    with subprocess.Popen(
        [shared_deploy.program, "query", "desk", f"{word} {flag}"],
        stdin=subprocess.DEVNULL, stdout=theirs, stderr=subprocess.PIPE, env=shared_deploy.environment, cwd=folder,
    ) as process:  # fmt: skip
        os.close(theirs)
        assert _read(ours, 4) == b"one "
        assert process.poll() is None
        flag.touch()
        rest = _read(ours, 1000)
        os.close(ours)
        error = process.communicate(timeout=60)[1].decode()
    if word == "go":
        assert (rest, process.returncode) == (b"two\r\n", 0)
        assert "-- trace" in error
    else:
        assert (rest, process.returncode) == (b"\r\n", 1)
        assert "broken off" in error


def _read(terminal: int, size: int) -> bytes:
    """So many bytes, or what there is until its end."""
    data = b""
    while len(data) < size:
        try:
            data += os.read(terminal, size - len(data))
        except OSError:  # the other side is closed
            break
    return data

"""What a person and a script see when a command fails, and its exit code."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from teamwright.cli.app import Call

_STAND_IN = """
import sys
import click
from teamwright.cli import app as frame, main
from teamwright.errors import *

@frame.command("fail")
@click.argument("what")
@click.pass_obj
def fail(call, what):
    if what == "user":
        raise UserError("no such thing", hint="try another")
    if what == "file":
        raise JobFileError([Problem("wrong", "a.yaml", 3, "agents[0]"), Problem("worse", "a.yaml", 4)])
    if what == "start":
        raise StartFailed("agent a ended", agent="a", tail=("one", "two"))
    if what == "bug":
        raise RuntimeError("two\\nlines")
    if what == "interrupt":
        raise KeyboardInterrupt
    if what == "wait":
        import time
        click.echo("ready")
        sys.stdout.flush()
        time.sleep(300)
    if what == "say":
        click.echo("said")
        click.echo("noted", err=True)
        assert open("/dev/null").fileno() > 2, "a file has a number that belongs to a stream"
    if what == "pipe":
        for number in range(100_000):
            click.echo("x" * 100)

frame.LazyGroup.list_commands = lambda self, ctx: ["fail"]
main.main()
"""


@pytest.fixture
def script(tmp_path: Path) -> Path:
    path = tmp_path / "stand_in.py"
    path.write_text(_STAND_IN)
    return path


def run(script: Path, environment: dict[str, str], *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, str(script), *arguments], env=environment, capture_output=True, text=True, timeout=60
    )


@pytest.mark.parametrize(
    ("what", "code", "error"),
    [
        ("user", 2, "error: no such thing\nhint: try another\n"),
        ("file", 2, "error: a.yaml:3: agents[0]: wrong\nerror: a.yaml:4: worse\n"),
        ("start", 1, "  | one\n  | two\nerror: agent a ended\n"),
        (
            "bug",
            1,
            "error: this is a bug in Teamwright: RuntimeError: two lines\n"
            "hint: run it again with --debug for the traceback\n",
        ),
        ("interrupt", 130, "\ninterrupted\n"),
    ],
)
def test_errors_are_a_line(script: Path, environment: dict[str, str], what: str, code: int, error: str) -> None:
    done = run(script, environment, "fail", what)
    assert (done.returncode, done.stdout, done.stderr) == (code, "", error)


def test_json_errors_are_one_object(script: Path, environment: dict[str, str]) -> None:
    done = run(script, environment, "fail", "start", "--json")
    assert done.returncode == 1
    expected = {"message": "agent a ended", "type": "StartFailed", "hint": None, "tail": ["one", "two"]}
    assert json.loads(done.stdout) == {"error": expected}


@pytest.mark.parametrize("place", [("--debug", "fail", "bug"), ("fail", "bug", "--debug")])
def test_traceback_with_debug(script: Path, environment: dict[str, str], place: tuple[str, ...]) -> None:
    done = run(script, environment, *place)
    assert done.returncode == 1
    assert "Traceback (most recent call last)" in done.stderr
    assert "--debug" not in done.stderr


@pytest.mark.parametrize("arguments", [("fail",), ("fail", "user", "--nonsense"), ("nonsense",), ("completion",)])
def test_usage_errors_are_bad_input(script: Path, environment: dict[str, str], arguments: tuple[str, ...]) -> None:
    done = run(script, environment, *arguments)
    assert done.returncode == 2
    assert done.stdout == ""
    first, second = done.stderr.splitlines()
    assert first.startswith("error: ")
    assert second.startswith("hint: try `deploy")


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_signals_interrupt(script: Path, environment: dict[str, str], number: signal.Signals) -> None:
    process = subprocess.Popen(
        [sys.executable, str(script), "fail", "wait"],
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    with process:
        assert process.stdout and process.stdout.readline() == "ready\n"
        os.kill(process.pid, number)
        _, error = process.communicate(timeout=60)
    assert (process.returncode, error) == (130, "\ninterrupted\n")


def test_a_reader_that_leaves_is_no_error(script: Path, environment: dict[str, str]) -> None:
    process = subprocess.Popen(
        [sys.executable, str(script), "fail", "pipe"], env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )
    with process:
        assert process.stdout and process.stderr
        process.stdout.readline()
        process.stdout.close()
        assert process.stderr.read() == b""
        assert process.wait(timeout=60) == 1


@pytest.mark.parametrize(
    ("streams", "code", "out", "error"),
    [
        (">&-", 0, "", "noted\n"),
        ("2>&-", 0, "said\n", ""),
        ("<&- >&- 2>&-", 0, "", ""),
        (">/dev/full", 1, "", "error: can't write: no space left on device\n"),
        ("--json >/dev/full", 1, "", "error: can't write: no space left on device\n"),
    ],
)
def test_streams_that_take_nothing(
    script: Path, environment: dict[str, str], streams: str, code: int, out: str, error: str
) -> None:
    done = subprocess.run(
        ["sh", "-c", f'exec "$0" "$1" fail say {streams}', sys.executable, script],
        env=environment, capture_output=True, text=True, timeout=60,
    )  # fmt: skip
    assert (done.returncode, done.stdout, done.stderr) == (code, out, error)


def test_a_folder_that_is_gone(script: Path, environment: dict[str, str], tmp_path: Path) -> None:
    (tmp_path / "gone").mkdir()
    done = subprocess.run(
        ["sh", "-c", 'cd "$2" && rmdir "$2" && exec "$0" "$1" fail user', sys.executable, script, tmp_path / "gone"],
        env=environment, capture_output=True, text=True, timeout=60,
    )  # fmt: skip
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == "error: the folder you are in is gone\nhint: cd somewhere else\n"


@pytest.mark.parametrize(("environ", "program"), [({}, "deploy"), ({"UV_RUN_RECURSION_DEPTH": "1"}, "uv run deploy")])
def test_commands_to_type_next(environ: dict[str, str], program: str, tmp_path: Path) -> None:
    call = Call(environ=environ, cwd=tmp_path)
    assert call.next("ps") == f"{program} ps"
    assert call.hint(f"`deploy stop --all`, or {call.next('ps')}") == f"`{program} stop --all`, or {program} ps"
    assert call.hint("see deploy.log") == "see deploy.log"

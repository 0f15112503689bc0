"""Finding and killing what nobody looks after."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from teamwright.host import proc
from teamwright.host.sweep import Records, leftovers, sweep, sweep_home

_HOME_ID = "feedfeedfeed"


@pytest.fixture
def started() -> Iterator[list[subprocess.Popen[bytes]]]:
    processes: list[subprocess.Popen[bytes]] = []
    yield processes
    for process in processes:
        process.kill()
        process.wait()


def _sleep(started: list[subprocess.Popen[bytes]], mark: str = "") -> proc.Process:
    environment = {proc.MARK: mark} if mark else {}
    started.append(subprocess.Popen(["/bin/sleep", "300"], env=environment, start_new_session=True))
    found = proc.read(started[-1].pid)
    assert found is not None
    deadline = time.monotonic() + 60
    while proc.mark(found.pid) != mark and time.monotonic() < deadline:
        time.sleep(0.005)  # until it is exec'ed it has our environment
    return found


def test_by_mark_and_by_record(tmp_path: Path, started: list[subprocess.Popen[bytes]]) -> None:
    marked = _sleep(started, f"{_HOME_ID}:j/a:1")
    recorded = _sleep(started)
    stranger = _sleep(started)
    other_home = _sleep(started, "000000000000:j/a:1")
    reused = _sleep(started)
    Records(tmp_path, "host").write([recorded.key, (reused.pid, reused.start - 1)])
    assert {process.pid for process in leftovers(tmp_path, _HOME_ID)} == {marked.pid, recorded.pid}
    assert set(sweep(tmp_path, _HOME_ID)) == {marked.pid, recorded.pid}
    assert not (tmp_path / "processes").exists()
    assert all(proc.read(process.pid) for process in (stranger, other_home, reused))


def test_records_of_another_boot_say_nothing(tmp_path: Path, started: list[subprocess.Popen[bytes]]) -> None:
    process = _sleep(started)
    Records(tmp_path, "host").write([process.key])
    file = tmp_path / "processes/host.json"
    file.write_text(json.dumps({**json.loads(file.read_text()), "boot": "another"}))
    assert leftovers(tmp_path, _HOME_ID) == []


@pytest.mark.parametrize("text", ["", "[]", "{", '{"boot": 1}', '{"boot": "x", "processes": [[1]]}'])
def test_damaged_records_say_nothing(tmp_path: Path, text: str) -> None:
    (tmp_path / "processes").mkdir()
    (tmp_path / "processes/host.json").write_text(text)
    assert leftovers(tmp_path, _HOME_ID) == []


def test_records_that_can_not_be_written_are_no_error(tmp_path: Path) -> None:
    (tmp_path / "processes").write_text("in the way")
    Records(tmp_path, "host").write([(1, 2)])


def test_children_of_leftovers_go_too_and_we_ourselves_stay(tmp_path: Path) -> None:
    # The one that sweeps is marked itself: `deploy stop` from an agent's own shell.
    code = (
        "import sys, pathlib, subprocess; from teamwright.host.sweep import sweep;"
        "child = subprocess.Popen(['/bin/sleep', '300'], env={}, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL);"
        f"print(child.pid, sweep(pathlib.Path(sys.argv[1]), {_HOME_ID!r}), flush=True)"
    )
    parent = subprocess.Popen(
        ["/bin/sh", "-c", "sleep 300 & sleep 300"], env={proc.MARK: f"{_HOME_ID}:j/a:1"}, start_new_session=True
    )
    done = subprocess.run(
        [sys.executable, "-c", code, str(tmp_path)],
        env={proc.MARK: f"{_HOME_ID}:j/b:1"},
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
    )
    parent.wait()
    child, _, killed = done.stdout.partition(" ")
    assert str(parent.pid) in killed
    # What it had started without an environment is below a marked one, but that one is spared.
    os.kill(int(child), signal.SIGKILL)


def test_a_home_without_a_guard(tmp_path: Path, started: list[subprocess.Popen[bytes]]) -> None:
    marked = _sleep(started, f"{_HOME_ID}:j/a:1")
    run_dir = tmp_path / "run"
    run_dir.mkdir()
    (run_dir / "host.sock").touch()
    (tmp_path / "engine.json").touch()
    assert sweep_home(tmp_path, _HOME_ID, run_dir) == [marked.pid]
    assert not run_dir.exists()
    assert not (tmp_path / "engine.json").exists()
    assert sweep_home(tmp_path, _HOME_ID, run_dir) == []
    assert sweep_home(tmp_path / "nowhere", _HOME_ID) == []

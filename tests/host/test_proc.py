from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys

import pytest

from teamwright.host import proc
from teamwright.host.launcher import niceness
from teamwright.host.spawn import spawn


def test_a_name_with_brackets_and_blanks() -> None:
    code = "import ctypes, time; ctypes.CDLL(None).prctl(15, b') R 1 (x', 0, 0, 0); print(flush=True); time.sleep(99)"
    with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        process.stdout.readline()
        found = proc.read(process.pid)
        assert found is not None
        assert (found.name, found.parent) == (") R 1 (x", os.getpid())
        assert process.pid in proc.snapshot()
        process.kill()


def test_zombies_are_gone() -> None:
    process = subprocess.Popen(["/bin/true"])
    os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT)
    found = proc.read(process.pid)
    assert found is not None and found.gone
    assert not proc.kill(found)
    process.wait()
    assert proc.read(process.pid) is None


def test_kill_spares_whoever_got_the_pid_later() -> None:
    with subprocess.Popen(["/bin/sleep", "99"]) as process:
        found = proc.read(process.pid)
        assert found is not None
        assert not proc.kill(found._replace(start=found.start - 1))
        assert process.poll() is None
        assert proc.kill(found)
        assert process.wait() == -signal.SIGKILL


def test_descendants_and_ancestors() -> None:
    with subprocess.Popen(["/bin/sh", "-c", "sleep 99 & wait"], start_new_session=True) as shell:
        while not (below := proc.descendants([shell.pid], proc.snapshot())):
            pass
        assert [process.parent for process in below] == [shell.pid]
        assert {below[0].pid, shell.pid, os.getpid()} <= proc.ancestors(below[0].pid, proc.snapshot())
        os.killpg(shell.pid, signal.SIGKILL)


def test_memory_and_boot() -> None:
    assert proc.memory(os.getpid()) > 1_000_000
    assert proc.memory(2**22 + 1) == 0
    assert proc.mark(2**22 + 1) == ""
    assert "pid:[" in proc.boot()


def test_who_holds_a_port() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        assert proc.holder(port).endswith(f"(pid {os.getpid()})")
    assert proc.holder(port) == "another process"


def test_spawn_says_why_not() -> None:
    with pytest.raises(FileNotFoundError) as missing:
        spawn(["/no/such/program"], env={}, output=2)
    assert missing.value.filename == "/no/such/program"
    with pytest.raises(NotADirectoryError):
        spawn(["/bin/true"], env={}, output=2, cwd="/bin/true")


@pytest.mark.parametrize(("cpu", "nice"), [(None, 0), (2, 0), (1, 0), (0.5, 3), (0.25, 6), (0.01, 19), (0, 19)])
def test_niceness(cpu: float | None, nice: int) -> None:
    assert niceness(cpu) == nice

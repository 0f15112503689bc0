"""The frame of the system tests: the real command line in a clean world, and nobody left behind.

>>> def test_start(deploy: Deploy) -> None:
...     done = deploy("start", "hello.yaml", "--json")
...     assert done.code == 0 and done.json["job"] == "hello"

After each test every process that carries the test's folder in its environment or command line, every listening
port it printed and every socket file of its homes must be gone.
"""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Generator, Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

_URL = re.compile(r"http://127\.0\.0\.1:(\d+)")
_VITALS = ("cpu", "memory", "in_flight", "queued")
_FAILED = pytest.StashKey[bool]()


@dataclass(frozen=True)
class Done:
    """A finished command: exit code, what it printed, seconds it took."""

    arguments: tuple[str, ...]
    code: int
    out: str
    err: str
    seconds: float

    @property
    def json(self) -> Any:
        """Its stdout, which must be exactly one JSON object on one line."""
        lines = self.out.splitlines()
        assert len(lines) == 1, f"not one line on stdout: {self}"
        return json.loads(lines[0])

    def ok(self) -> Done:
        """Itself, when it ended well."""
        assert self.code == 0, str(self)
        return self

    def __str__(self) -> str:
        command = " ".join(self.arguments)[:200]
        return f"$ deploy {command}\nexit {self.code}, {self.seconds:.2f} s\n{self.out}\n--- stderr\n{self.err}"


@dataclass
class Deploy:
    """The `deploy` command of this installation, run as a person would."""

    environment: dict[str, str]
    folder: Path
    home: Path
    ports: set[int] = field(default_factory=set)

    @property
    def program(self) -> str:
        return str(Path(sys.executable).with_name("deploy"))

    def __call__(
        self,
        *arguments: str | Path,
        input: str | bytes | None = None,
        folder: Path | None = None,
        environment: dict[str, str] | None = None,
        timeout: float = 120,
    ) -> Done:
        """Run to the end. Raises subprocess.TimeoutExpired (and kills it) after `timeout` seconds."""
        words = [str(argument) for argument in arguments]
        began = time.monotonic()
        done = subprocess.run(
            [self.program, *words],
            input=input.encode() if isinstance(input, str) else (input or b""),
            capture_output=True,
            cwd=folder or self.folder,
            env={**self.environment, **(environment or {})},
            timeout=timeout,
        )
        out, err = done.stdout.decode(), done.stderr.decode()
        self.ports.update(int(port) for port in _URL.findall(out + err))
        return Done(tuple(words), done.returncode, out, err, time.monotonic() - began)

    def begin(self, *arguments: str | Path, environment: dict[str, str] | None = None) -> subprocess.Popen[bytes]:
        """Start it and return at once; the caller waits for it."""
        return subprocess.Popen(
            [self.program, *map(str, arguments)],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            cwd=self.folder,
            env={**self.environment, **(environment or {})},
        )

    @staticmethod
    def settled(agents: list[dict[str, Any]]) -> list[dict[str, Any]]:
        """Agents of `ps --json` without what is different at every look: CPU, memory, work at hand."""
        return [{key: held for key, held in agent.items() if key not in _VITALS} for agent in agents]

    def processes(self) -> list[Process]:
        """The living processes of this test."""
        return processes(str(self.home.parent))

    def nothing_left(self, *, patience: float = 0.0) -> None:
        """Fail when anything of this test still runs, listens or lies about."""
        check_nothing_left(str(self.home.parent), self.ports, patience=patience)


@pytest.fixture
def mark(tmp_path: Path) -> str:
    """What tells this test's processes from all others: its folder."""
    return str(tmp_path)


@pytest.fixture
def deploy(
    request: pytest.FixtureRequest, environment: dict[str, str], root: Path, home_path: Path, mark: str
) -> Iterator[Deploy]:
    """The real command line, in the project's folder, with a home of its own; nothing may be left afterwards."""
    environment["TEAMWRIGHT_HOME"] = str(home_path)
    runner = Deploy(environment, root, home_path)
    yield runner
    try:
        if request.node.stash.get(_FAILED, False):
            print_logs(Path(mark))
        else:
            check_nothing_left(mark, runner.ports)
    except AssertionError:
        print_logs(Path(mark))
        raise
    finally:
        for process in processes(mark):
            with suppress(ProcessLookupError):
                os.kill(process.pid, signal.SIGKILL)


@pytest.fixture(scope="module")
def shared_deploy(request: pytest.FixtureRequest, shared_environment: dict[str, str]) -> Iterator[Deploy]:
    """The same for all tests of a module: jobs that are started once. Nothing may be left after the last of them."""
    folder = Path(shared_environment["HOME"]).parent
    shared_environment["TEAMWRIGHT_HOME"] = str(folder / "logs")
    runner = Deploy(shared_environment, request.config.rootpath, folder / "logs")
    before = request.session.testsfailed
    yield runner
    try:
        if request.session.testsfailed > before:
            print_logs(folder)
        else:
            check_nothing_left(str(folder), runner.ports)
    finally:
        for process in processes(str(folder)):
            with suppress(ProcessLookupError):
                os.kill(process.pid, signal.SIGKILL)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo[None]
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Note on the test itself that it failed, for the fixtures that finish after it."""
    report = yield
    if report.failed and report.when != "teardown":
        item.stash[_FAILED] = True
    return report


@dataclass(frozen=True)
class Process:
    """A living process of a test."""

    pid: int
    command: str

    def __str__(self) -> str:
        return f"{self.pid}: {self.command[:160]}"


def processes(mark: str) -> list[Process]:
    """All living processes, ours excepted, with `mark` in their environment, command line or working folder.

    A zombie has none of these left, so it counts as gone.
    """
    found = []
    for entry in Path("/proc").iterdir():
        if not entry.name.isdigit() or int(entry.name) == os.getpid():
            continue
        try:
            command = (entry / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
            environ = (entry / "environ").read_bytes().decode(errors="replace")
            folder = str((entry / "cwd").readlink())
        except OSError:
            continue
        if mark in command or mark in environ or folder.startswith(mark):
            found.append(Process(int(entry.name), command))
    return found


def listeners(ports: set[int]) -> dict[int, list[int]]:
    """Which of `ports` is listened on, and the pids that hold it."""
    inodes: dict[str, int] = {}
    for line in Path("/proc/net/tcp").read_text().splitlines()[1:]:
        columns = line.split()
        port = int(columns[1].rpartition(":")[2], 16)
        if columns[3] == "0A" and port in ports:
            inodes[f"socket:[{columns[9]}]"] = port
    held: dict[int, list[int]] = {port: [] for port in inodes.values()}
    if inodes:
        for descriptor in Path("/proc").glob("[0-9]*/fd/*"):
            with suppress(OSError):
                if found := inodes.get(str(descriptor.readlink())):
                    held[found].append(int(descriptor.parts[2]))
    return held


def check_nothing_left(mark: str, ports: set[int], *, patience: float = 20.0) -> None:
    """Fail when a process, a listening port or a socket file of this test is there after `patience` seconds.

    A port that somebody else's process has taken in the meantime is not ours.
    """
    until = time.monotonic() + patience
    while True:
        alive = processes(mark)
        mine = {process.pid for process in alive}
        open_ports = {port: pids for port, pids in listeners(ports).items() if not pids or mine & set(pids)}
        sockets = [path for path in Path(mark).rglob("*") if path.is_socket()]
        for marker in Path(mark).rglob("home.json"):
            identity = json.loads(marker.read_text())["id"]
            sockets += Path(f"/tmp/teamwright-{os.getuid()}", identity).glob("*.sock")
        if not (alive or open_ports or sockets):
            return
        if time.monotonic() > until:
            break
        time.sleep(0.05)
    lines = [f"process {process}" for process in alive]
    lines += [f"port {port} held by {pids}" for port, pids in open_ports.items()]
    lines += [f"socket {path}" for path in sockets]
    raise AssertionError("left behind:\n" + "\n".join(lines))


def print_logs(folder: Path) -> None:
    """Show the ends of all logs below `folder`, for whoever reads why a test failed."""
    for path in sorted(folder.rglob("*.log")):
        lines = path.read_text(errors="replace").splitlines()
        sys.stdout.write(f"\n--- {path.relative_to(folder)} ({len(lines)} lines)\n" + "\n".join(lines[-40:]) + "\n")

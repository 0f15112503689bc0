"""Where the state goes: two homes, sub-folders, homes that can't be written, two starts at once."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.system.waiting import until

if TYPE_CHECKING:
    from tests.system.conftest import Deploy

HELLO = "examples/jobs/hello.yaml"


def test_two_homes_at_once(deploy: Deploy, tmp_path: Path) -> None:
    second = str(tmp_path / "second")
    first = deploy("start", HELLO, "--json").ok().json
    other = deploy("start", HELLO, "--json", "--home", second).ok().json
    assert {agent["url"] for agent in first["agents"]} & {agent["url"] for agent in other["agents"]} == set()
    assert deploy("query", "hello", "hi", "--json").ok().json["status"] == "ok"
    assert deploy("query", "hello", "hi", "--json", "--home", second).ok().json["status"] == "ok"
    deploy("stop", "--all").ok()
    assert deploy("ps", "hello", "--json", "--home", second).ok().json["status"] == "running"
    deploy("stop", "--all", "--home", second).ok()


def test_a_sub_folder_finds_its_home(deploy: Deploy, root: Path, tmp_path: Path) -> None:
    project = tmp_path / "project"
    shutil.copytree(root / "examples", project / "examples")
    inside = project / "examples" / "jobs"
    del deploy.environment["TEAMWRIGHT_HOME"]
    deploy("start", HELLO, folder=project).ok()
    assert (project / "logs" / "home.json").exists()
    assert (project / "logs" / ".gitignore").exists()
    assert deploy("ps", "hello", "--json", folder=inside).ok().json["status"] == "running"
    assert not (inside / "logs").exists()
    deploy("stop", "--all", folder=inside).ok()
    assert deploy("ps", "--json", folder=tmp_path).ok().json == {"jobs": []}


def test_reading_makes_nothing(deploy: Deploy) -> None:
    assert deploy("ps", "--json").ok().json == {"jobs": []}
    assert deploy("trace", "list", "--json").ok().json == {"traces": []}
    assert deploy("engine", "status").code == 1
    assert deploy("stop", "--all").code == 0
    assert not deploy.home.exists()


def test_a_home_that_may_only_be_read(deploy: Deploy, tmp_path: Path) -> None:
    """What happened can still be looked at; nothing can be started."""
    place = tmp_path / "place"
    place.mkdir()
    mounted = subprocess.run(["mount", "-t", "tmpfs", "tmpfs", str(place)], capture_output=True)
    home = place / "logs"
    try:
        deploy("query", HELLO, "hi", "--home", home).ok()
        deploy("stop", "--all", "--home", home).ok()
        if mounted.returncode == 0:
            until(lambda: not subprocess.run(["mount", "-o", "remount,ro", str(place)]).returncode)
        assert "stopped" in deploy("ps", "--home", home).ok().out
        assert len(deploy("trace", "show", "--json", "--home", home).ok().json["spans"]) > 1
        assert "ready" in deploy("logs", "hello", "--home", home).ok().out
        if mounted.returncode == 0:
            assert "not writable" in deploy("start", HELLO, "--home", home).err
            assert deploy("stop", "--all", "--home", home).code in (0, 1)
    finally:
        if mounted.returncode == 0:
            subprocess.run(["umount", "-l", str(place)], check=True)


@pytest.fixture
def read_only(tmp_path: Path) -> Iterator[Path]:
    """A folder on a read-only tmpfs; as somebody who may not mount, in a user namespace would not be seen by others."""
    folder = tmp_path / "read-only"
    folder.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "ro,size=64k", "tmpfs", str(folder)], capture_output=True, text=True
    )
    if mounted.returncode != 0:
        folder = Path("/proc/sys")  # nobody may make a folder here either
    yield folder
    if mounted.returncode == 0:
        subprocess.run(["umount", "-l", str(folder)], check=True)


def test_a_home_that_is_not_writable(deploy: Deploy, read_only: Path) -> None:
    for home in (read_only, read_only / "below"):
        done = deploy("start", HELLO, "--home", home)
        assert done.code == 1, str(done)
        assert str(read_only) in done.err
        assert done.err.startswith("error: ")
        assert "--home" in done.err
        assert done.out == ""
    assert deploy("ps", "--json", "--home", read_only).ok().json == {"jobs": []}


def test_two_starts_at_the_same_moment(deploy: Deploy) -> None:
    starts = [deploy.begin("start", HELLO, "--json") for _ in range(2)]
    results = []
    for process in starts:
        out, err = process.communicate(timeout=60)
        results.append((process.returncode, out.decode(), err.decode()))
    good = [json.loads(out) for code, out, _ in results if code == 0]
    assert good, results
    for code, printed, said in results:  # the other one found it running, or was told that it is being started
        assert code == 0 or (code, "is being started already" in said, "error" in json.loads(printed)) == (
            1,
            True,
            True,
        )
    assert deploy.settled(deploy("ps", "hello", "--json").ok().json["agents"]) == deploy.settled(good[0]["agents"])
    deploy("stop", "--all").ok()


def test_an_explicit_port_that_is_taken(deploy: Deploy) -> None:
    import socket

    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        done = deploy("start", HELLO, "--port", str(port))
    assert done.code == 1
    assert str(port) in done.err
    assert str(os.getpid()) in done.err  # the holder

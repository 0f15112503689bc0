"""A disk that gets full: traces are shed before anything else, and it is said; queries go on."""

from __future__ import annotations

import os
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

import httpx
import pytest

if TYPE_CHECKING:
    from tests.system.conftest import Deploy

TEAM = Path(__file__).parent / "team" / "restless.yaml"
SIZE = 24 << 20
RESERVE = SIZE // 8


@pytest.fixture
def small(home_path: Path, deploy: Deploy) -> Iterator[Deploy]:
    """The home on a disk of 24 MiB."""
    home_path.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", f"size={SIZE}", "tmpfs", str(home_path)], capture_output=True
    )
    if mounted.returncode:
        pytest.skip("can't mount a tmpfs")
    try:
        yield deploy
        deploy("stop", "--all").ok()
    finally:
        subprocess.run(["umount", "-l", str(home_path)], check=True)


def free(folder: Path) -> int:
    found = os.statvfs(folder)
    return found.f_bavail * found.f_frsize


def fill(folder: Path, leave: int) -> Path:
    """Take up all room but so many bytes."""
    filler = folder / "filler"
    with filler.open("ab", buffering=0) as file, suppress(OSError):
        while (room := free(folder) - leave) > 0:
            file.write(b"x" * min(room, 1 << 20))
    return filler


def until(what: Callable[[], Any], seconds: float = 60.0) -> Any:
    end = time.monotonic() + seconds
    while not (found := what()):
        assert time.monotonic() < end, "it did not happen"
        time.sleep(0.05)
    return found


def ask(deploy: Deploy, text: str) -> dict[str, Any]:
    found: dict[str, Any] = deploy("query", "restless", text, "--json").ok().json
    assert found["status"] == "ok", found
    return found


def traces(deploy: Deploy) -> dict[str, Any]:
    found: dict[str, Any] = deploy("engine", "status", "--json").ok().json["traces"]
    return found


def shown(deploy: Deploy, trace_id: str) -> dict[str, Any]:
    found: dict[str, Any] = deploy("trace", "show", trace_id, "--json").ok().json
    return found


@pytest.mark.parametrize("collector", ["engine", "process"])
def test_traces_are_shed_before_anything_else(small: Deploy, collector: str) -> None:
    small.environment["TEAMWRIGHT_COLLECTOR"] = collector
    home = small.home
    small("start", TEAM).ok()
    before = [ask(small, f"ask back before-{number}") for number in range(3)]
    assert all(shown(small, item["trace_id"])["complete"] for item in before)
    assert traces(small)["dropped_spans"] == 0 and not traces(small)["shedding"]

    filler = fill(home, RESERVE // 2)  # traces must not touch what is left
    left = free(home)
    during = [ask(small, f"ask back during-{number}") for number in range(5)]
    told = until(lambda: (found := traces(small))["dropped_spans"] >= 20 and found)
    assert told["shedding"] and told["reserve"] == RESERVE and told["free"] < RESERVE
    assert free(home) > left - (1 << 20)  # engine.db has grown, and logs
    assert "traces are being dropped" in small("trace", "list").ok().out
    assert "traces are being dropped" in small("ps").ok().out
    assert "traces are being dropped" in small("engine", "status").ok().out
    log = home / ("collector.log" if collector == "process" else "engine.log")
    until(lambda: "traces are dropped from now on" in log.read_text())
    runs = small("runs", "list", "--json").ok().json["runs"]
    assert {item["run_id"] for item in during} <= {run["run_id"] for run in runs}  # engine.db goes on

    fill(home, 0)  # now nothing at all can be written
    assert free(home) == 0
    ask(small, "ask back nothing-left")
    assert all(shown(small, item["trace_id"])["complete"] for item in before)

    filler.unlink()
    until(lambda: "there is room for traces again" in log.read_text())
    after = ask(small, "ask back after")
    assert shown(small, after["trace_id"])["complete"]
    for item in before:
        assert shown(small, item["trace_id"])["complete"]  # nothing acknowledged is lost
    ids = {item["trace_id"] for item in during}

    def noted() -> dict[str, Any]:
        listed = small("trace", "list", "-n", "100", "--json").ok().json
        return {item["trace_id"]: item for item in listed["traces"] if item["trace_id"] in ids and item["dropped"]}

    def all_noted() -> bool:
        found = noted()
        return found.keys() == ids and {(item["dropped"], item["status"]) for item in found.values()} == {(4, "lost")}

    until(all_noted)
    assert not shown(small, during[0]["trace_id"])["complete"]
    dropped = traces(small)["dropped_spans"]
    assert not traces(small)["shedding"] and f"{dropped} spans were dropped" in small("trace", "list").ok().out
    status = small("engine", "status", "--json").ok().json
    token = (home / "operator.token").read_text().strip()
    metrics = httpx.get(f"{status['url']}/metrics", headers={"authorization": f"Bearer {token}"}, timeout=60).text
    gauges = [line for line in metrics.splitlines() if line.startswith("teamwright_")]
    assert f"teamwright_dropped_spans {dropped}" in gauges and "teamwright_shedding 0" in gauges, gauges

    fill(home, 0)
    small("stop", "--all").ok()
    assert not small.processes()

"""The guard alone: lock, port, restarts, lifeline, leaving."""

from __future__ import annotations

import json
import os
import random
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from teamwright.home import Home
from teamwright.host.proc import read

if TYPE_CHECKING:
    from tests.host.conftest import World


def test_it_says_ok_and_requests_wait_for_the_engine(world: World) -> None:
    begin = time.monotonic()
    answer = world.start(stay=True)
    world.show(f"guard answers after {(time.monotonic() - begin) * 1000:.0f} ms")
    told = world.engine(ask="pid")
    assert told["order"]["url"] == answer["url"]
    assert told["order"]["guard"] == answer["guard"] == world.guard.pid
    info = json.loads((world.home / "engine.json").read_text())
    assert info["url"] == answer["url"]
    assert info["home_id"] == world.home_id
    assert (info["version"], info["fingerprint"], info["on_demand"]) == ("1", "f", False)
    process = read(world.guard.pid)
    assert process is not None
    assert (info["guard"], info["guard_start"]) == (process.pid, process.start)


def test_the_files_are_where_the_home_says(world: World) -> None:
    (world.home / "home.json").write_text(json.dumps({"id": world.home_id}))
    home = Home(world.home)
    world.start(host=True)
    world.until(lambda: home.host_log.exists() and home.engine_log.exists())
    assert home.engine_file.exists()
    assert home.lock.exists()
    assert home.host_socket.name == "host.sock"
    world.until(home.epoch_file.exists)


def test_a_second_guard_is_refused(world: World) -> None:
    world.start()
    first = world.guards.pop()
    second = world.spawn()
    answer = world.answer()
    assert answer["exit"] == second.wait(60) == 11
    assert "already running" in answer["error"]
    world.guards = [first]
    assert world.engine(ask="pid")["order"]["guard"] == first.pid


def test_a_new_guard_waits_for_one_that_leaves(world: World) -> None:
    world.start()
    world.guard.terminate()
    world.until(lambda: not (world.home / "engine.json").exists())
    world.start()
    assert world.engine(ask="pid")["order"]["guard"] == world.guard.pid


def test_an_explicit_port_that_is_taken_names_the_holder(world: World) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        guard = world.spawn(port=port)
        answer = world.answer()
        assert answer["exit"] == guard.wait(60) == 12
    assert f"port {port} is taken by" in answer["error"]
    assert f"(pid {os.getpid()})" in answer["error"]
    assert not (world.home / "engine.json").exists()


def test_without_a_port_the_next_free_one_is_taken(world: World) -> None:
    with socket.socket() as taken:
        try:
            taken.bind(("127.0.0.1", 8500))
            taken.listen()
            first = 8501
        except OSError:
            first = 8500  # somebody else has it, but may give it back meanwhile
        assert world.start(port=None)["port"] >= first


def test_the_engine_comes_back(world: World) -> None:
    world.start()
    before = world.engine(ask="pid")["pid"]
    child = world.engine(ask="child")
    begin = time.monotonic()
    os.kill(before, signal.SIGKILL)
    after = world.engine(ask="pid")["pid"]
    world.show(f"stand-in engine answers again after {(time.monotonic() - begin) * 1000:.0f} ms")
    assert after != before
    assert read(child) is None  # it was killed before the new engine came


def test_a_stopped_engine_leaves_all_the_same(world: World) -> None:
    world.start()
    pid = world.engine(ask="pid")["pid"]
    os.kill(pid, signal.SIGSTOP)
    world.until(lambda: (process := read(pid)) is not None and process.state == "T")
    world.guard.terminate()
    assert world.guard.wait(60) == 0


def test_an_engine_that_keeps_dying_is_given_up(world: World) -> None:
    world.start(host=True, entry={"engine_dies": 3})
    assert world.guard.wait(60) == 13
    assert "the engine died 5 times within a minute" in (world.home / "guard.log").read_text()
    assert not (world.home / "engine.json").exists()
    assert not world.left()


def test_the_engine_has_the_guard_start_a_host_and_all_leave(world: World) -> None:
    world.start()
    assert world.pid("host") is None
    world.engine(op="host")
    world.until(lambda: world.pid("zygote"))
    world.until(lambda: any(event["event"] == "host_started" for event in world.engine(ask="events")))
    world.engine(op="leave")
    assert world.guard.wait(60) == 0
    assert not world.left()
    assert not (world.home / "engine.json").exists()
    assert not (world.home / "processes").exists()
    assert not world.run_dir.exists()


def test_the_engine_is_replaced_in_place(world: World) -> None:
    answer = world.start()
    before = world.engine(ask="pid")["pid"]
    world.engine(op="restart", version="2", fingerprint="g")
    world.until(lambda: read(before) is None)
    after = world.engine(ask="pid")
    assert after["pid"] != before
    assert after["order"]["version"] == "2"
    info = json.loads((world.home / "engine.json").read_text())
    assert (info["version"], info["fingerprint"], info["url"]) == ("2", "g", answer["url"])


def test_the_engine_hears_of_the_host(world: World) -> None:
    world.start(host=True)
    world.until(lambda: world.pid("zygote"))
    before = world.pid("host")
    assert before is not None
    os.kill(before, signal.SIGKILL)
    world.until(
        lambda: [e["event"] for e in world.engine(ask="events")] == ["host_started", "host_exit", "host_started"]
    )
    events = world.engine(ask="events")
    assert events[1] == {
        "event": "host_exit", "pid": before, "code": None, "signal": signal.SIGKILL, "planned": False
    }  # fmt: skip
    assert events[2]["pid"] == world.pid("host") != before


def test_a_broken_lifeline_ends_an_engine_on_demand(world: World) -> None:
    world.start(host=True)
    world.lifeline.close()
    assert world.guard.wait(60) == 0
    assert not world.left()


def test_ok_on_the_lifeline_does_not(world: World) -> None:
    world.start()
    world.lifeline.sendall(b"ok")
    world.lifeline.close()
    time.sleep(0.2)
    assert world.engine(ask="events") == []


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
@pytest.mark.parametrize("attempt", range(5))
def test_a_signal_at_any_moment_leaves_nothing(world: World, number: int, attempt: int) -> None:
    wait = random.Random(f"{number} {attempt}").uniform(0, 0.5)
    guard = world.spawn(host=True)
    time.sleep(wait)
    guard.send_signal(number)
    guard.wait(60)
    assert not world.left()
    assert not (world.home / "engine.json").exists()


def test_two_signals_are_a_hurry(world: World) -> None:
    world.start(host=True)
    world.until(lambda: world.pid("zygote"))
    world.guard.terminate()
    world.guard.send_signal(signal.SIGINT)
    assert world.guard.wait(60) == 0


def test_killed_guard_takes_all_with_it(world: World) -> None:
    world.start(host=True)
    world.until(lambda: world.pid("zygote"))
    begin = time.monotonic()
    world.guard.kill()
    world.guard.wait()
    world.until(lambda: not world.left())
    world.show(f"nothing is left {(time.monotonic() - begin) * 1000:.0f} ms after the guard was killed")
    world.start()  # what it left behind (engine.json, socket) is in nobody's way


def test_what_slipped_through_is_swept_at_the_next_start(world: World) -> None:
    marked = subprocess.Popen(
        ["/bin/sleep", "300"], env={"TEAMWRIGHT_MARK": f"{world.home_id}:j/a:1"}, start_new_session=True
    )
    other = subprocess.Popen(["/bin/sleep", "300"], env={"TEAMWRIGHT_MARK": "000000000000:j/a:1"})
    try:
        world.start()
        assert marked.wait(60) == -signal.SIGKILL
        assert other.poll() is None
    finally:
        for process in (marked, other):
            process.kill()
            process.wait()


def test_descriptors_and_environment_of_its_children(world: World) -> None:
    inherited = os.open("/dev/null", os.O_RDONLY)
    os.set_inheritable(inherited, True)
    world.environment["TEAMWRIGHT_HOME"] = str(world.home)
    world.start(host=True)
    os.close(inherited)
    told = world.engine(ask="pid")
    expected = {"0", "1", "2", str(told["order"]["listener"]), str(told["order"]["control"])}
    assert len(set(told["fds"]) - expected) == 1  # the one that was listing them
    assert set(told["environ"]) - {"LC_CTYPE"} == {*world.environment, "TEAMWRIGHT_MARK"}
    assert "env" not in told["order"] and "lifeline" not in told["order"]


def test_a_home_that_can_not_be_used(world: World) -> None:
    guard = world.spawn(home=str(world.home / "nowhere"))
    answer = world.answer()
    assert answer["exit"] == guard.wait(60) == 10
    assert "nowhere" in answer["error"]


def test_it_works_without_a_lifeline_and_standard_files(world: World) -> None:
    code = "import os,sys; os.closerange(0, 3); os.execv(sys.argv[1], sys.argv[1:])"
    order = json.dumps(world.order())
    guard_file = Path(sys.modules["teamwright.host.guard"].__file__ or "").resolve()
    guard = subprocess.Popen(
        [sys.executable, "-c", code, sys.executable, "-I", "-S", str(guard_file), order], start_new_session=True
    )
    world.guards.append(guard)
    world.until(lambda: (world.home / "engine.json").exists())
    assert world.engine(ask="pid")["order"]["guard"] == guard.pid


def test_it_is_light() -> None:
    guard_file = Path(sys.modules["teamwright.host.guard"].__file__ or "").resolve()
    code = (
        "import runpy, sys; runpy.run_path(sys.argv[1], run_name='guard');"
        "print([name for name in ('asyncio', 'logging', 'subprocess', 'dataclasses', 'psutil') if name in sys.modules])"
    )
    done = subprocess.run(
        [sys.executable, "-I", "-S", "-c", code, str(guard_file)], capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == "[]"

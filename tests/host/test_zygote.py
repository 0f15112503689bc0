"""The zygote: when it can't get ready, hangs, has threads; how agents that it forked look."""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from teamwright.host.proc import read

if TYPE_CHECKING:
    from tests.host.conftest import World

_THREAD = """
import threading, time
def warm(): threading.Thread(target=time.sleep, args=(300,), daemon=True).start()
"""
_ERROR = "def warm(): raise ImportError('no such package')\n"


@pytest.mark.parametrize("text", [_THREAD, _ERROR], ids=["thread", "error"])
async def test_without_a_zygote_agents_are_plain_subprocesses(
    world: World, team_of: Any, tmp_path: Path, text: str
) -> None:
    (tmp_path / "bad_warm.py").write_text(text)
    world.start(host=True, entry={"warm": f"{tmp_path}/bad_warm.py:warm"})
    team = team_of(world)
    (state,) = await team.launch("a")
    assert state.details["spawn"] == "subprocess"
    log = (world.home / "host.log").read_text()
    assert "giving up on zygotes" in log
    assert "no such package" in log or "warming up left 2 threads" in log


async def test_a_zygote_that_does_not_fork_is_replaced(team: Any) -> None:
    (before,) = await team.launch("a")
    zygote = team.world.pid("zygote")
    os.kill(zygote, signal.SIGSTOP)
    await team.link.bind(team.requests("b"))
    await team.link.launch([team.make("b")])
    state = await team.is_("j/b", "healthy")
    assert state.restarts == 0
    assert team.world.pid("zygote") != zygote
    assert (await team.is_("j/a", "healthy")).pid != before.pid


async def test_stopping_works_while_the_zygote_is_stopped(team: Any) -> None:
    (state,) = await team.launch("a", children=True)
    children = await team.children("a")
    zygote = team.world.pid("zygote")
    os.kill(zygote, signal.SIGSTOP)
    begin = time.monotonic()
    await team.link.stop(["j/a"])
    team.world.show(f"stopped after {time.monotonic() - begin:.2f} s with a stopped zygote")
    assert all((found := read(pid)) is None or found.gone for pid in (state.pid, *children))
    os.kill(zygote, signal.SIGCONT)


async def test_a_forked_agent_has_its_own_name(team: Any) -> None:
    await team.launch("a")
    stat = await team.get("a", "stat")
    assert stat["name"].startswith("a:") and len(stat["name"]) == 10


async def test_many_agents(team: Any) -> None:
    await team.launch("warm")
    begin = time.monotonic()
    agents = [f"agent-{number}" for number in range(30)]
    await team.launch(*agents)
    team.world.show(f"30 stand-in agents healthy after {time.monotonic() - begin:.2f} s")
    begin = time.monotonic()
    await team.link.stop([f"j/{agent}" for agent in agents])
    team.world.show(f"30 stand-in agents stopped after {time.monotonic() - begin:.2f} s")

"""A real guard with stand-ins for engine and agents, driven from the test as the engine would drive it."""

from __future__ import annotations

import asyncio
import json
import os
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from teamwright.agents.spec import AgentSpec, PeerSpec
from teamwright.host import guard as guard_module
from teamwright.host.api import AgentState, Cause, HealthCheck, LaunchOrder, PortRequest, RestartPolicy
from teamwright.host.link import HostLink
from teamwright.host.proc import Process, mark, read, snapshot

STANDINS = Path(__file__).parent / "standins"
GUARD = Path(guard_module.__file__).resolve()


#: Ports of this test run, so that another one at the same time does not take them.
PORTS = range(first := 10_000 + os.getpid() % 220 * 100, first + 100)


#: Statuses that an agent does not keep.
PASSING = frozenset(["starting", "stopping", "backing_off", "unhealthy"])


class World:
    """One home with its guard. `left()` are the processes that carry this home's mark."""

    def __init__(self, folder: Path, environment: dict[str, str]) -> None:
        self.home = folder / "logs"
        self.home.mkdir()
        self.home_id = secrets.token_hex(6)
        self.run_dir = Path(tempfile.mkdtemp(prefix="tw-"))
        self.environment = environment
        self.guards: list[subprocess.Popen[bytes]] = []
        self.lifelines: list[socket.socket] = []
        self.seen: list[int] = []

    def order(self, **changes: Any) -> dict[str, Any]:
        entry = {
            "engine": ["-I", str(STANDINS / "engine.py")],
            "agent": f"{STANDINS / 'agent.py'}:serve",
            "agent_command": ["-I", str(STANDINS / "agent.py")],
            "warm": "",
            **changes.pop("entry", {}),
        }
        return {
            "home": str(self.home),
            "home_id": self.home_id,
            "run_dir": str(self.run_dir),
            "python": sys.executable,
            "port": 0,
            "stay": False,  # a test that is killed takes its guard with it
            "host": False,
            "version": "1",
            "fingerprint": "f",
            "env": self.environment,
            "entry": entry,
            **changes,
        }

    def spawn(self, **changes: Any) -> subprocess.Popen[bytes]:
        """Start a guard; its answer is awaited by `answer()`."""
        ours, theirs = socket.socketpair()
        ours.settimeout(60)
        self.lifelines.append(ours)
        with theirs:
            order = self.order(lifeline=theirs.fileno(), **changes)
            process = subprocess.Popen(
                [sys.executable, "-I", "-S", str(GUARD), json.dumps(order)],
                env=self.environment,
                pass_fds=[theirs.fileno()],
                start_new_session=True,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
            )
        self.guards.append(process)
        return process

    def answer(self) -> dict[str, Any]:
        with self.lifeline.makefile() as file:
            answer: dict[str, Any] = json.loads(file.readline())
        return answer

    def start(self, **changes: Any) -> dict[str, Any]:
        """Start a guard that says ok."""
        self.spawn(**changes)
        answer = self.answer()
        assert answer.get("ok"), answer
        return answer

    @property
    def guard(self) -> subprocess.Popen[bytes]:
        return self.guards[-1]

    @property
    def lifeline(self) -> socket.socket:
        return self.lifelines[-1]

    @staticmethod
    def show(text: str) -> None:
        """For `pytest -s`: what was measured."""
        sys.stdout.write(f"    {text}\n")

    def engine(self, **message: Any) -> Any:
        """Say something to the stand-in engine."""
        info = json.loads((self.home / "engine.json").read_text())
        with socket.create_connection(("127.0.0.1", info["port"]), timeout=60) as connection:
            connection.sendall(json.dumps(message).encode() + b"\n")
            with connection.makefile() as file:
                text = file.read()
        return json.loads(text) if text else None

    def processes(self, who: str = "") -> list[Process]:
        """Living processes of this home; `who` is what follows the home's id in the mark."""
        wanted = f"{self.home_id}:{who}"
        return [process for process in snapshot().values() if not process.gone and mark(process.pid).startswith(wanted)]

    def pid(self, who: str) -> int | None:
        """The pid of engine, host or zygote."""
        return next((process.pid for process in self.processes(who) if self._is(process, who)), None)

    def _is(self, process: Process, who: str) -> bool:
        # Forked agents have the zygote's environment, and it shares that with nobody but them.
        parent = {"zygote": "host"}.get(who)
        return parent is None or mark(process.parent) == f"{self.home_id}:{parent}"

    @staticmethod
    def until(condition: Callable[[], Any], seconds: float = 60.0) -> float:
        """Wait until something holds; how long it took. Raises TimeoutError."""
        begin = time.monotonic()
        while not condition():
            if time.monotonic() - begin > seconds:
                raise TimeoutError
            time.sleep(0.005)
        return time.monotonic() - begin

    def left(self) -> list[str]:
        """What of this home still runs, the guard included."""
        found = [f"{process.name} {process.pid} {mark(process.pid)}" for process in self.processes()]
        found += [f"guard {guard.pid}" for guard in self.guards if guard.poll() is None]
        found += [
            f"child {process.pid}" for pid in self.seen if (process := read(pid)) and not process.gone and process.name
        ]
        return found

    def clear(self) -> list[str]:
        """Nothing should be left; whatever is, is killed and named."""
        for guard in self.guards:
            if guard.poll() is None:
                guard.terminate()
        with suppress(TimeoutError):
            self.until(lambda: all(guard.poll() is not None for guard in self.guards), 60)
        found = self.left()
        for guard in self.guards:
            if guard.poll() is None:
                guard.kill()
            guard.wait()
        for process in self.processes():
            with suppress(OSError):
                os.kill(process.pid, signal.SIGKILL)
        for lifeline in self.lifelines:
            lifeline.close()
        shutil.rmtree(self.run_dir, ignore_errors=True)
        return found


class Team:
    """Agents of a world, ordered over a HostLink as the engine does it."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.events: list[tuple[Cause, AgentState, int]] = []
        self.states: dict[str, AgentState] = {}
        self._told: dict[str, int] = {}  # agent -> how many of the events were looked at
        self._forgotten = 0
        self.hellos: list[tuple[dict[str, Any], list[AgentState]]] = []
        self.lost = 0
        self._changed = asyncio.Event()
        self.link = HostLink(world.run_dir / "host.sock", self._event, self._hello, self._lose)
        self.task = asyncio.create_task(self.link.run())

    def _event(self, cause: Cause, state: AgentState, seq: int) -> None:
        self.events.append((cause, state, seq))
        self.states[state.id] = state
        self._changed.set()

    async def _hello(self, hello: dict[str, Any], states: list[AgentState]) -> None:
        self.hellos.append((hello, states))
        self._changed.set()

    def _lose(self) -> None:
        self.lost += 1
        self._changed.set()

    async def until(self, condition: Callable[[], Any], seconds: float = 60.0) -> float:
        """Wait until something holds; how long it took."""
        begin = time.monotonic()
        async with asyncio.timeout(seconds):
            while not condition():
                self._changed.clear()
                with suppress(TimeoutError):
                    await asyncio.wait_for(self._changed.wait(), 0.02)
        return time.monotonic() - begin

    async def is_(self, agent: str, *statuses: str) -> AgentState:
        """Wait until an agent has one of these statuses; one that passes counts, where we were not told of it before.

        On a busy machine an agent may have died and be healthy again before we have looked once.
        """
        found: list[AgentState] = []

        def look() -> bool:
            now = self.states.get(agent)
            if now is not None and now.status in statuses:
                self._told[agent] = len(self.events)
                found.append(now)
                return True
            first = max(self._told.get(agent, 0), self._forgotten)
            for number, (_, state, _) in enumerate(self.events[first:], first + 1):
                if state.id == agent and state.status in PASSING.intersection(statuses):
                    self._told[agent] = number
                    found.append(state)
                    return True
            return False

        try:
            await self.until(look)
        except TimeoutError:
            raise AssertionError(f"{agent} is {self.states.get(agent)}, not {statuses}") from None
        return found[0]

    def forget(self) -> None:
        """What was told so far counts no more."""
        self.states.clear()
        self._forgotten = len(self.events)

    def make(self, agent: str, **given: Any) -> LaunchOrder:
        """An order for the stand-in agent; keys of LaunchOrder, the rest goes into its config."""
        names = ("timeout", "restart", "health", "threads", "memory", "cpu")
        order = {name: given.pop(name) for name in names if name in given}
        spec = {name: given.pop(name) for name in ("environment", "secrets", "tokens") if name in given}
        world = self.world
        return LaunchOrder(
            AgentSpec(
                job="j",
                agent=agent,
                incarnation="",
                home=str(world.home),
                home_id=world.home_id,
                job_folder=str(world.home),
                kind="class",
                url="",
                engine_url="",
                public_key="",
                epoch_file="",
                spool_dir="",
                config=given,
                **spec,
            ),
            log_file=str(world.home / "jobs/j/agents" / f"{agent}.log"),
            **{"health": HealthCheck(enabled=False), "restart": RestartPolicy(), **order},
        )

    @staticmethod
    def requests(*agents: str, port: int | None = None) -> list[PortRequest]:
        """For ports of these agents."""
        return [PortRequest(f"j/{agent}", port) for agent in agents]

    async def launch(self, *agents: str, wait: bool = True, **given: Any) -> list[AgentState]:
        """Bind, launch, and wait until they are healthy."""
        await self.link.bind(self.requests(*agents))
        await self.link.launch([self.make(agent, **given) for agent in agents])
        if not wait:
            return []
        return [await self.is_(f"j/{agent}", "healthy") for agent in agents]

    async def get(self, agent: str, path: str) -> Any:
        """Ask a stand-in agent."""
        port = self.states[f"j/{agent}"].port
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(f"GET /{path} HTTP/1.1\r\n\r\n".encode())
        data = await reader.read()
        writer.close()
        await writer.wait_closed()
        return json.loads(data.partition(b"\r\n\r\n")[2])

    async def children(self, *agents: str) -> list[int]:
        """The pids of everything these agents have started so far; looked after until the end of the test."""
        await self.until(lambda: all(len(self.logged(agent)) >= 5 for agent in agents))
        found = [pid for agent in agents for pid in self.logged(agent)]
        self.world.seen += found
        return found

    def logged(self, agent: str) -> list[int]:
        """The pids of its children that an agent has told so far."""
        path = self.world.home / "jobs/j/agents" / f"{agent}.log"
        lines = path.read_text().splitlines() if path.exists() else []
        return [int(line.split()[1]) for line in lines if line.startswith("child ")]

    def recorded(self) -> set[int]:
        """The pids that the host has written down."""
        path = self.world.home / "processes/host.json"
        return {pid for pid, _ in json.loads(path.read_text())["processes"]} if path.exists() else set()

    async def close(self) -> None:
        self.task.cancel()
        await asyncio.wait([self.task])


def _worlds(folder: Path, environment: dict[str, str]) -> Iterator[World]:
    made = World(folder, {**environment, "TEAMWRIGHT_PORTS": f"{PORTS[0]}-{PORTS[-1]}"})
    yield made
    left = made.clear()
    assert not left, left


@pytest.fixture
def world(tmp_path: Path, environment: dict[str, str]) -> Iterator[World]:
    """A home without anything."""
    yield from _worlds(tmp_path, environment)


@pytest.fixture
def other_world(tmp_path: Path, environment: dict[str, str]) -> Iterator[World]:
    """Another home."""
    (tmp_path / "other").mkdir()
    yield from _worlds(tmp_path / "other", environment)


@pytest.fixture
async def team_of() -> AsyncIterator[Callable[[World], Team]]:
    """Makes the engine's side for a world."""
    made: list[Team] = []

    def make(world: World) -> Team:
        made.append(Team(world))
        return made[-1]

    yield make
    for team in made:
        await team.close()


@pytest.fixture
async def team(world: World, team_of: Callable[[World], Team]) -> Team:
    """A guard, a host and no agents yet."""
    world.start(host=True)
    return team_of(world)


@pytest.fixture(params=["zygote", "subprocess"])
async def either_team(world: World, team_of: Callable[[World], Team], request: pytest.FixtureRequest) -> Team:
    """The same, with both ways to start agents."""
    world.environment["TEAMWRIGHT_SPAWN"] = str(request.param)
    world.start(host=True)
    return team_of(world)


@pytest.fixture
def port_range() -> range:
    """Where this test run takes its ports from."""
    return PORTS


@pytest.fixture
def team_order(tmp_path: Path) -> LaunchOrder:
    """An order with something in every field."""
    spec = AgentSpec(
        job="j",
        agent="a",
        incarnation="i",
        home="/h",
        home_id="0",
        job_folder="/f",
        kind="class",
        url="http://127.0.0.1:1",
        engine_url="http://127.0.0.1:2",
        public_key="k",
        epoch_file="/e",
        spool_dir="/s",
        peers=(PeerSpec("b", "j", "b", "http://127.0.0.1:3"),),
        tools=("t",),
    )
    restart, health = RestartPolicy("always", 1, 2.0), HealthCheck(True, 1.0, 2)
    return LaunchOrder(spec, "/l", restart=restart, health=health, threads=True, memory=1, cpu=0.5)

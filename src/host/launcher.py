"""Starting an agent's process: forked by the zygote, or a plain subprocess."""

from __future__ import annotations

import json
import logging
import math
import os
import signal
import socket
from collections.abc import Mapping
from dataclasses import dataclass, replace

from teamwright.agents.own_code.programs import find_program
from teamwright.host.api import LaunchOrder
from teamwright.host.nursery import Nursery, Running, Unforkable
from teamwright.host.proc import MARK
from teamwright.host.spawn import spawn
from teamwright.host.trees import Family, Trees, process_name

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Recipe:
    """How agents' processes are made. `command` are python's arguments before the two descriptors' numbers."""

    python: str
    environment: Mapping[str, str]
    umask: int
    command: tuple[str, ...] = ("-I", "-m", "teamwright.agents.main")


@dataclass(frozen=True, slots=True)
class Launched:
    """A process that was started, and the way it was done: `zygote`, `subprocess` or `command`."""

    running: Running
    way: str


class Launcher:
    """Starts agents in the way that fits each. Without a nursery everything is a plain subprocess."""

    def __init__(self, recipe: Recipe, trees: Trees, nursery: Nursery | None) -> None:
        self._recipe = recipe
        self._trees = trees
        self._nursery = nursery

    def forks(self, order: LaunchOrder) -> bool:
        """Whether this agent comes from the zygote."""
        return not (order.threads or order.foreign or self._nursery is None or self._nursery.broken)

    async def prepared(self, order: LaunchOrder) -> None:
        """Wait until an agent can be started at once: for the zygote to be warm. May be cancelled."""
        if self.forks(order) and self._nursery is not None:
            try:
                await self._nursery.prepared()
            except Unforkable as error:
                _log.warning("%s", error)

    def family(self, order: LaunchOrder, incarnation: str) -> Family:
        """What its processes are known by."""
        mark = f"{order.spec.home_id}:{order.id}:{incarnation}"
        return Family(mark, process_name(order.spec.process, mark) if self.forks(order) else "")

    async def start(self, order: LaunchOrder, family: Family, listener: socket.socket, log: int) -> Launched:
        """Start the agent's process, whose family is known to the trees. Raises OSError or ZygoteLost."""
        incarnation = family.mark.rpartition(":")[2]
        spec = _sealed(json.dumps(replace(order.spec, incarnation=incarnation).to_dict()).encode())
        try:
            if family.name and self._nursery is not None:
                try:
                    running = await self._fork(self._nursery, order, family, [listener.fileno(), spec, log])
                    return Launched(running, "zygote")
                except Unforkable as error:
                    _log.warning("%s is started as a plain subprocess: %s", order.id, error)
                    family.name = ""
            return Launched(self._spawn(order, family, listener, spec, log), "subprocess")
        finally:
            os.close(spec)

    async def _fork(self, nursery: Nursery, order: LaunchOrder, family: Family, fds: list[int]) -> Running:
        settings = {
            "mark": family.mark,
            "name": family.name,
            "nice": niceness(order.cpu),
            "umask": self._recipe.umask,
        }
        running = await nursery.fork(settings, fds)
        family.pid = running.pid
        return running

    def _spawn(self, order: LaunchOrder, family: Family, listener: socket.socket, spec: int, log: int) -> Running:
        number = listener.fileno()
        pid = spawn(
            [self._recipe.python, *self._recipe.command, str(number), str(spec)],
            env={**self._recipe.environment, MARK: family.mark},
            output=log,
            keep=(number, spec),
            death_signal=signal.SIGKILL,
            session=True,
            nice=niceness(order.cpu),
            umask=self._recipe.umask,
        )
        return self._running(pid, family)

    def start_command(self, order: LaunchOrder, family: Family, port: int, log: int) -> Launched:
        """Start somebody else's server: in the job's folder, with the port to listen on in its environment.

        Raises OSError.
        """
        spec = order.spec
        environment = {**self._recipe.environment, **spec.environment, **spec.secrets}
        program = find_program(spec.command[0], spec.job_folder, environment.get("PATH"))
        if program is None:
            raise FileNotFoundError(f"no program {spec.command[0]}")
        pid = spawn(
            [program, *spec.command[1:]],
            env={**environment, "HOST": "127.0.0.1", "PORT": str(port), MARK: family.mark},
            output=log,
            cwd=spec.job_folder,
            death_signal=signal.SIGKILL,
            session=True,
            nice=niceness(order.cpu),
            umask=self._recipe.umask,
        )
        return Launched(self._running(pid, family), "command")

    def _running(self, pid: int, family: Family) -> Running:
        ended = self._trees.expect(pid)
        family.pid = pid
        try:
            handle = os.pidfd_open(pid)
        except OSError:
            os.kill(pid, signal.SIGKILL)  # it is our child and not reaped yet
            raise
        return Running(pid, handle, ended)


def niceness(cpu: float | None) -> int:
    """The nice value that gives about that share of a core against an agent that has a whole one."""
    if cpu is None or cpu >= 1:
        return 0
    return min(19, round(math.log(1 / max(cpu, 0.001), 1.25)))


def _sealed(content: bytes) -> int:
    """A descriptor to read `content` from, once, until its end; it is in memory only."""
    fd = os.memfd_create("spec", os.MFD_CLOEXEC)
    try:
        with open(fd, "wb", closefd=False) as file:
            file.write(content)
        os.lseek(fd, 0, os.SEEK_SET)
    except BaseException:
        os.close(fd)
        raise
    return fd

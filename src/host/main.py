"""The host: owns the agents of this machine. Exec'ed by the guard as `python -I -m teamwright.host.main ORDER`.

ORDER is the guard's JSON (see `guard.py`): home, home_id, python, umask, guard (its pid), `listener` and `control`
descriptors. `entry`, for tests, may hold: agent ("module:function" or "/file.py:function" that a fork runs),
agent_command (python's arguments for a plain subprocess), warm (what the zygote runs first; "" for nothing).

TEAMWRIGHT_SPAWN=subprocess: no zygote. TEAMWRIGHT_PORTS: where agents' ports are taken from.
Exit codes: 0 the engine had us leave, 1 the guard is gone, 143 terminated; whatever the way, no descendant is left.
"""

from __future__ import annotations

import json
import os
import signal
import socket
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

from teamwright.host import zygote
from teamwright.host.proc import MARK
from teamwright.host.pulse import BEAT
from teamwright.host.spawn import become_subreaper
from teamwright.host.sweep import kill_below
from teamwright.host.ward import say
from teamwright.settings import ENGINE_ONLY

if TYPE_CHECKING:
    from teamwright.host.desk import Desk
    from teamwright.host.fleet import Fleet
    from teamwright.host.nursery import Nursery

Start = Callable[[], tuple[int, socket.socket]]
_TERMINATED = 128 + signal.SIGTERM


def main(argument: str) -> None:
    """Run until told to leave, or until the guard is gone."""
    order = json.loads(argument)
    for name in ("listener", "control"):
        os.set_inheritable(order[name], False)
    become_subreaper()
    if os.getppid() != order["guard"]:
        raise SystemExit(1)
    for name in ENGINE_ONLY:
        os.environ.pop(name, None)
    start, first = None, None
    if os.environ.get("TEAMWRIGHT_SPAWN") != "subprocess":
        # Warming up takes longest: it goes on beside the rest of our own imports.
        start = _zygote_start(order)
        first = start()

    import asyncio
    import logging

    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s: %(message)s")
    asyncio.run(_Host(order).run(start, first))


def _zygote_start(order: dict[str, Any]) -> Start:
    entry = order.get("entry") or {}
    told = {"entry": entry.get("agent", zygote.ENTRY), "warm": entry.get("warm", zygote.WARM)}
    environment = {**os.environ, MARK: f"{order['home_id']}:zygote"}
    return partial(zygote.start, order["python"], environment, told)


class _Host:
    """Puts the parts together and takes them apart again."""

    def __init__(self, order: dict[str, Any]) -> None:
        self._order = order
        self._home = Path(order["home"])
        self._desk: Desk | None = None
        self._fleet: Fleet | None = None
        self._nursery: Nursery | None = None
        self._terminating = False

    async def run(self, start: Start | None, first: tuple[int, socket.socket] | None) -> None:
        """Serve the engine; ends by `_exit` only."""
        import asyncio

        from teamwright.host import usage
        from teamwright.host.desk import Desk
        from teamwright.host.fleet import Fleet
        from teamwright.host.launcher import Launcher, Recipe
        from teamwright.host.nursery import Nursery
        from teamwright.host.ports import Ports
        from teamwright.host.supervised import Means
        from teamwright.host.trees import Trees
        from teamwright.settings import port_range

        loop = asyncio.get_running_loop()
        self._trees = Trees(self._home, self._order["home_id"])
        loop.add_signal_handler(signal.SIGCHLD, self._trees.reap)
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self._terminate)
        loop.add_signal_handler(signal.SIGHUP, lambda: None)
        self._control = socket.socket(fileno=self._order["control"])
        loop.add_reader(self._control, self._guard_gone)
        self._beat()
        if os.getppid() != self._order["guard"]:  # it went before the handler was there
            self._guard_gone()
        self._make_epochs()
        desk = Desk(partial(self._leave, 0))
        if start is not None and first is not None:
            self._nursery = Nursery(self._trees, start, first, desk.zygote)
        command = (self._order.get("entry") or {}).get("agent_command")
        environment = {name: text for name, text in os.environ.items() if name != MARK}
        recipe = Recipe(self._order["python"], environment, self._order["umask"], **_given(command=command))
        launcher = Launcher(recipe, self._trees, self._nursery)
        means = Means(Ports(port_range(os.environ)), launcher, self._trees, desk.report)
        self._desk, self._fleet = desk, Fleet(means)
        await desk.open(socket.socket(fileno=self._order["listener"]), self._fleet)
        self._trees.reap()  # what ended before the handler was there
        await asyncio.gather(self._trees.watch(), usage.keep(self._trees, self._home))

    def _beat(self) -> None:
        """Tell the guard every few seconds that we live."""
        import asyncio

        say(self._control, {"op": "beat"})
        asyncio.get_running_loop().call_later(self._order.get("beat", BEAT), self._beat)

    def _make_epochs(self) -> None:
        """Every agent checks this file at each call, and counts a missing one as a halt."""
        import logging

        from teamwright.errors import Refused
        from teamwright.safety.epochs import EpochFile

        try:
            EpochFile.create(self._home / "epochs").close()
        except (OSError, Refused) as error:
            logging.getLogger(__name__).error("no epoch file: %s", error)

    def _terminate(self) -> None:
        import asyncio

        if os.getppid() != self._order["guard"]:
            self._guard_gone()
        if self._terminating:
            _exit(_TERMINATED)
        self._terminating = True
        self._farewell = asyncio.ensure_future(self._leave(_TERMINATED))

    def _guard_gone(self) -> None:
        """Nobody looks after us any more: end everything, at once."""
        _exit(1)

    async def _leave(self, code: int) -> None:
        if self._fleet is not None:
            await self._fleet.leave(5.0)
        if self._nursery is not None:
            await self._nursery.close()
        if self._desk is not None:
            await self._desk.flush()
        _exit(code)


def _given(**values: list[str] | None) -> dict[str, Any]:
    return {name: tuple(value) for name, value in values.items() if value is not None}


def _exit(code: int) -> NoReturn:
    """Leave, with no descendant left."""
    kill_below(seconds=5.0)
    sys.stderr.flush()
    os._exit(code)


if __name__ == "__main__":
    main(sys.argv[1])

"""What the engine knows of agents at this moment, as gauges."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

from teamwright.engine.telemetry.keeper import Keeper
from teamwright.errors import TeamwrightError
from teamwright.registry.records import AgentEntry
from teamwright.tracing import vocabulary as v
from teamwright.tracing.metrics.instruments import KEY, Gauge

log = logging.getLogger("teamwright.engine")

_UP = ("healthy", "busy")


def of_agents(
    views: Iterable[Mapping[str, Any]], entries: Iterable[AgentEntry], clock: Callable[[], float] = time.time
) -> Iterator[Gauge]:
    """`views` are the jobs as `ps JOB` shows them, `entries` the registry's."""
    for view in views:
        for agent in view["agents"]:
            who = {v.JOB: view["job"], v.AGENT: agent["id"]}
            yield Gauge("teamwright.agent.up", who, float(agent["status"] in _UP))
            yield Gauge("teamwright.agent.restarts", who, float(agent["restarts"] or 0))
    now = clock()
    for entry in entries:
        who = {v.JOB: entry.job, v.AGENT: entry.agent}
        yield Gauge("teamwright.agent.heartbeat.age", who, max(0.0, round(now - entry.last_seen, 3)))
        for name, key in (("teamwright.agent.queue.length", "waiting"), ("teamwright.agent.working", "working")):
            if key in entry.load:
                yield Gauge(name, who, float(entry.load[key]))


def of_providers(views: Iterable[Mapping[str, Any]]) -> Iterator[Gauge]:
    """`views` are the limited providers as `engine status` shows them."""
    for view in views:
        for key in view["keys"]:
            which = {v.PROVIDER: view["provider"], KEY: key["key"]}
            yield Gauge("teamwright.provider.working", which, float(key["working"]))
            yield Gauge("teamwright.provider.waiting", which, float(key["waiting"]))
            yield Gauge("teamwright.provider.backing_off", which, key["backs_off_s"])


async def send(keeper: Keeper, found: Callable[[], Iterable[Gauge]], every: float) -> None:
    """Send them on to the receivers that take metrics, every so many seconds; 0 = never. Runs until it is cancelled."""
    while every > 0:
        await asyncio.sleep(every)
        try:
            await keeper.send_metrics(list(found()))
        except (TeamwrightError, OSError) as error:
            log.warning("metrics could not be sent on: %s", error)

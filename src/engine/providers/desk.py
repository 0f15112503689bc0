"""Limits that all agents of this engine share for a provider's key: who asks for a place, and gets it in turn.

An account is a provider and a key, known by a digest of it. A place is held as long as the connection stays open over
which it was asked for: an agent that dies gives it back in that moment. Which providers are limited stands in a file of
the home, so that agents whose providers have no limits ask nobody.
"""

from __future__ import annotations

import asyncio
import json
import logging
import time
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

from teamwright.engine.providers.line import Limit, Line
from teamwright.home import write_atomically
from teamwright.jobs.plan import Plan

log = logging.getLogger("teamwright.engine")

#: Seconds after an engine's start in which only those get places who had one from the engine before.
SETTLES = 2.0
#: An account that nobody has used for so long is forgotten, seconds: its calls of the last minute are over.
_FORGOTTEN = 120.0
#: (provider, digest of the key)
Account = tuple[str, str]


class Caller:
    """Somebody who asks for a place: an agent's registry name, and what happens when it gets one."""

    def __init__(self, agent: str) -> None:
        self.agent = agent
        self.go = asyncio.Event()


class Providers:
    """The lines of all accounts. `plans` gives those of the jobs that are active; `file` tells agents of limits.

    `settles`: seconds from now in which nobody new gets a place.
    """

    def __init__(
        self,
        plans: Callable[[], Iterable[Plan]],
        file: Path,
        *,
        clock: Callable[[], float] = time.monotonic,
        settles: float = 0.0,
    ) -> None:
        self._plans = plans
        self._file = file
        self._clock = clock
        self._limits: dict[str, Limit] = {}
        self._told: str | None = None
        self._lines: dict[Account, Line[Caller]] = {}
        self._alarms: dict[Account, asyncio.TimerHandle] = {}
        self._from = clock() + settles

    # --- what jobs say ------------------------------------------------------------------------------

    def sync(self) -> None:
        """Jobs have come or gone: what holds now is reckoned, and written down for the agents."""
        given = [one for plan in self._plans() for one in plan.providers]
        self._limits = {
            name: Limit.strictest(one for one in given if one.provider == name)
            for name in sorted({one.provider for one in given})
        }
        text = json.dumps(sorted(self._limits))
        if text != self._told and (self._limits or self._file.exists()):
            try:
                write_atomically(self._file, text + "\n")
                self._told = text
            except OSError as error:
                log.error("limits of providers could not be written down, agents are not held to them: %s", error)
        for account in list(self._lines):
            self._look(account)

    def notes(self, plan: Plan) -> list[str]:
        """What whoever starts that job should know: limits of others that are other than its own."""
        others = [(one, other.job) for other in self._plans() if other.job != plan.job for one in other.providers]
        found = []
        for own in plan.providers:
            limit = self._limits.get(own.provider, Limit())
            for key in ("concurrent", "rpm"):
                mine, holds = getattr(own, key), getattr(limit, key)
                differ = {
                    job: getattr(one, key)
                    for one, job in others
                    if one.provider == own.provider and getattr(one, key) not in (None, mine)
                }
                if differ and mine is not None:
                    said = ", ".join(f"{job} {value}" for job, value in sorted(differ.items()))
                    found.append(
                        f"providers.{own.provider}.{key}: {plan.job} says {mine}, {said}: "
                        f"the strictest holds for all, {holds}"
                    )
        return found

    # --- what agents ask ------------------------------------------------------------------------------

    def join(self, account: Account, caller: Caller, *, working: bool = False) -> None:
        """Somebody wants a place; its `go` is set when it has it. `working`: an earlier engine gave it one."""
        line = self._lines.setdefault(account, Line())
        if working:
            line.take_back(caller, self._clock())
            caller.go.set()
        else:
            line.waiting.append(caller)
            self._look(account)

    def leave(self, account: Account, caller: Caller) -> None:
        """It has what it wanted, or wants it no more."""
        self._lines[account].leave(caller)
        self._look(account)

    def back_off(self, account: Account, seconds: float) -> None:
        """The provider told one of the account's callers to come back after so long: that goes for all of them."""
        self._lines.setdefault(account, Line()).back_off(self._clock() + seconds)
        log.info("%s (key %s) is not asked for %.1f s: rate limited", *account, seconds)
        self._look(account)

    def waits(self, account: Account) -> tuple[int, str, float]:
        """How many wait there, why, and the seconds that the back-off still takes."""
        line, now = self._lines[account], self._clock()
        reason = line.why(self._limit(account), now) or "engine_restarted"
        return len(line.waiting), reason, max(0.0, line.backed_off_until - now)

    def view(self) -> list[dict[str, Any]]:
        """Limits and accounts as `engine status --json` shows them; a key is a digest."""
        now = self._clock()
        return [
            {
                "provider": name,
                "concurrent": limit.concurrent,
                "rpm": limit.rpm,
                "keys": [
                    {
                        "key": key,
                        "working": len(line.working),
                        "waiting": len(line.waiting),
                        "calls_last_minute": line.calls(now),
                        "backs_off_s": round(max(0.0, line.backed_off_until - now), 3),
                    }
                    for (provider, key), line in sorted(self._lines.items())
                    if provider == name
                ],
            }
            for name, limit in self._limits.items()
        ]

    def aclose(self) -> None:
        """Look no more."""
        for alarm in self._alarms.values():
            alarm.cancel()
        self._alarms.clear()

    def _limit(self, account: Account) -> Limit:
        return self._limits.get(account[0], Limit())

    def _look(self, account: Account) -> None:
        """Let those go who may, and set the alarm for when others may."""
        if (alarm := self._alarms.pop(account, None)) is not None:
            alarm.cancel()
        line, now = self._lines.get(account), self._clock()
        if line is None:
            return
        again: float | None = self._from - now
        if now >= self._from:
            again = line.admit(self._limit(account), now, lambda caller: caller.go.set())
        if line.idle:
            if line.calls(now) == 0 and now >= line.backed_off_until:
                del self._lines[account]
                return
            again = _FORGOTTEN
        if again is not None:
            loop = asyncio.get_running_loop()
            self._alarms[account] = loop.call_later(max(again, 0.001), self._look, account)


def accounts(body: Mapping[str, Any]) -> Account | None:
    """The account that a request is about; None where it names none."""
    provider, key = body.get("provider"), body.get("key")
    short = isinstance(provider, str) and isinstance(key, str) and 0 < len(provider) <= 80 and 0 < len(key) <= 64
    return (str(provider), str(key)) if short else None

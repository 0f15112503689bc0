"""The tokens that the engine hands out: to agents for the engine and their peers, to itself for the front door."""

from __future__ import annotations

import time
from collections.abc import Callable

from teamwright.jobs.plan import AgentPlan, Plan
from teamwright.safety.tokens import ENGINE_AUDIENCE, TOKEN_LIFE, Claims, Issuer

_CACHE = 10_000


class Mint:
    """Makes tokens; those of the front door are kept while at least half their life is left."""

    def __init__(self, issuer: Issuer, *, clock: Callable[[], float] = time.time) -> None:
        self._issuer = issuer
        self._clock = clock
        self._kept: dict[tuple[str, str, str], tuple[str, float]] = {}
        self._own = ("", 0.0)

    def agent(self, plan: Plan, agent: AgentPlan) -> dict[str, str]:
        """The tokens of one agent by audience: `engine`, and `job/agent` of each callee.

        Foreign ones get none, and for them there is none.
        """
        if agent.foreign:
            return {}
        ours = [callee for callee in agent.callees if not plan.agent(callee).foreign]
        audiences = [ENGINE_AUDIENCE, *(f"{plan.job}/{callee}" for callee in ours)]
        return {
            audience: self._issuer.mint(
                f"{plan.job}/{agent.id}", audience, job=plan.job, agent=agent.id, group=agent.group, role="agent"
            )
            for audience in audiences
        }

    def introduced(self, caller: Claims, callee: str, tags: tuple[str, ...]) -> str:
        """What an agent shows `job/agent` that it has found; bound to the halts of the caller as its others are, and
        good as long as the registration token it asked with.
        """
        return self._issuer.mint(
            caller.sub, callee, job=caller.job, agent=caller.agent, group=caller.group, tags=tags, role="agent",
            via=caller.jti if caller.role == "guest" else None,
        )  # fmt: skip

    def front_door(self, caller: str, job: str, agent: str) -> str:
        """What the front door shows the agent on behalf of `caller`, whose tasks are then the caller's own."""
        key = (caller, job, agent)
        now = self._clock()
        token, good_until = self._kept.get(key, ("", 0.0))
        if now >= good_until:
            if len(self._kept) >= _CACHE:
                self._kept.clear()
            token = self._issuer.mint(caller, f"{job}/{agent}", job=job, role="front-door")
            self._kept[key] = (token, now + TOKEN_LIFE / 2)
        return token

    def forget(self, caller: str, job: str, agent: str) -> None:
        """The agent has refused the kept token: a halt may have come and gone since."""
        self._kept.pop((caller, job, agent), None)

    def operator(self) -> str:
        """What the engine shows the collector process."""
        now = self._clock()
        token, good_until = self._own
        if now >= good_until:
            token = self._issuer.mint("engine", ENGINE_AUDIENCE, role="operator")
            self._own = (token, now + TOKEN_LIFE / 2)
        return token

    def engine(self, job: str, agent: str) -> str:
        """What the engine itself shows an agent, to look after tasks of any caller."""
        return self._issuer.mint("engine", f"{job}/{agent}", job=job, role="engine")

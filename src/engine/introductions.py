"""Who sees whom in the registry, and the token with which an agent calls one that it has found."""

from __future__ import annotations

from typing import Any

from teamwright.engine.minting import Mint
from teamwright.engine.state import EngineState
from teamwright.errors import Refused
from teamwright.jobs.plan import AgentPlan
from teamwright.registry.policy import DiscoveryPolicy, tags_of
from teamwright.registry.records import AgentEntry
from teamwright.registry.service import Registry
from teamwright.safety.tokens import TOKEN_LIFE, Claims


class Introductions:
    """The policies of both sides, read from the plans of the jobs that run. Groups are those of the job files; tags are
    what cards say.
    """

    def __init__(self, state: EngineState, registry: Registry, mint: Mint) -> None:
        self._state = state
        self._registry = registry
        self._mint = mint

    def sees(self, claims: Claims, entry: AgentEntry) -> bool:
        """Whether the bearer of a token may read an entry: operators all of them, a person those of the token's job, an
        agent its own, those of the agents that it is wired to, and those that it and they agree on.
        """
        if claims.role == "operator":
            return True
        if claims.role == "user":
            return entry.job == claims.job
        plan = self._plan(claims.job, claims.agent)
        if plan is None:
            return False
        if entry.job == claims.job and (entry.agent == claims.agent or entry.agent in plan.callees):
            return True
        return self._agree(claims, plan, entry)

    def introduce(self, claims: Claims, entry: AgentEntry) -> dict[str, Any]:
        """What the bearer needs to call an agent: `agent` (its entry), `token`, `expires_in` in seconds.

        Raises Refused when the policy of one of them doesn't allow it.
        """
        plan = self._plan(claims.job, claims.agent) if claims.role == "agent" else None
        if plan is None or plan.foreign or (entry.job, entry.agent) == (claims.job, claims.agent):
            raise Refused(f"{claims.sub} may not call {entry.id}")
        if not self._agree(claims, plan, entry):
            raise Refused(f"{claims.sub} may not call {entry.id}: `discover` of one of them does not allow it")
        asked = self._policy(entry.job, entry.agent) or DiscoveryPolicy()
        tags = asked.shared(self._tags(claims, plan))
        token = self._mint.introduced(claims, f"{entry.job}/{entry.agent}", tags)
        return {"agent": entry.to_dict(), "token": token, "expires_in": TOKEN_LIFE}

    def _agree(self, claims: Claims, plan: AgentPlan, entry: AgentEntry) -> bool:
        """Whether the policies of both let them deal with each other."""
        theirs = self._policy(entry.job, entry.agent)
        return (
            plan.discover is not None
            and theirs is not None
            and plan.discover.admits(entry.group, tags_of(entry.skills))
            and theirs.admits(plan.group, self._tags(claims, plan))
        )

    def _tags(self, claims: Claims, plan: AgentPlan) -> list[str]:
        listed = self._registry.look(f"{claims.job}.{claims.agent}")
        return tags_of(plan.skills if listed is None else listed.skills)

    def _policy(self, job: str, agent: str) -> DiscoveryPolicy | None:
        plan = self._plan(job, agent)
        return plan.discover if plan is not None else None

    def _plan(self, job: str | None, agent: str | None) -> AgentPlan | None:
        record = self._state.jobs.get(job or "")
        if record is None or agent is None or agent not in record.agents:
            return None
        return record.plan.agent(agent)

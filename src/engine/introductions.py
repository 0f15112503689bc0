"""Who sees whom in the registry, and the token with which an agent calls one that it has found."""

from __future__ import annotations

from typing import Any

from teamwright.agents.replicas import replica_name
from teamwright.engine.minting import Mint
from teamwright.engine.store.state import EngineState
from teamwright.errors import Refused
from teamwright.jobs.plan import AgentPlan
from teamwright.registry.policy import DiscoveryPolicy, tags_of
from teamwright.registry.records import OUTSIDE, AgentEntry
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
        if claims.role == "guest":
            return (entry.job, entry.agent) == (claims.job, claims.agent) or self._welcomes(claims, entry)
        plan = self._plan(claims.job, claims.agent)
        if plan is None:
            return False
        if entry.job == claims.job and (entry.agent == claims.agent or entry.agent in plan.callees):
            return True
        return self._agree(claims, plan, entry)

    def introduce(self, claims: Claims, entry: AgentEntry) -> dict[str, Any]:
        """What the bearer needs to call an agent: `agent` (its entry), `token`, `expires_in` in seconds.

        The token is empty for one that isn't ours: it would not know it.

        Raises Refused when the policy of one of them doesn't allow it.
        """
        if claims.role == "guest":
            if not self._welcomes(claims, entry):
                raise Refused(f"{claims.sub} may not call {entry.id}")
            return self._introduced(claims, entry, ())
        plan = self._plan(claims.job, claims.agent) if claims.role == "agent" else None
        if plan is None or plan.foreign or (entry.job, entry.agent) == (claims.job, claims.agent):
            raise Refused(f"{claims.sub} may not call {entry.id}")
        if not self._agree(claims, plan, entry):
            raise Refused(f"{claims.sub} may not call {entry.id}: `discover` of one of them does not allow it")
        asked = self._policy(entry.job, entry.agent) or DiscoveryPolicy()
        callee = self._plan(entry.job, entry.agent)
        if callee is not None and callee.auth is not None:
            raise Refused(f"{entry.id} wants a credential that is of job {entry.job} alone: ask an agent of that job")
        return self._introduced(claims, entry, asked.shared(self._tags(claims, plan)))

    def _introduced(self, claims: Claims, entry: AgentEntry, tags: tuple[str, ...]) -> dict[str, Any]:
        token = "" if entry.foreign else self._mint.introduced(claims, f"{entry.job}/{entry.agent}", tags)
        return {"agent": entry.to_dict(), "token": token, "expires_in": TOKEN_LIFE}

    def _welcomes(self, claims: Claims, entry: AgentEntry) -> bool:
        """Whether an agent of ours is to be found by one of another engine, which has a group but no tags here."""
        policy = self._policy(entry.job, entry.agent)
        return policy is not None and not entry.foreign and policy.admits(claims.group, ())

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
        if job == OUTSIDE:
            return DiscoveryPolicy()  # whoever had it listed wants it to be found
        plan = self._plan(job, agent)
        return plan.discover if plan is not None else None

    def _plan(self, job: str | None, agent: str | None) -> AgentPlan | None:
        record = self._state.jobs.get(job or "")
        if record is None or agent is None or not record.processes(agent):
            return None
        return record.plan.agent(agent)


def admit(state: EngineState, entry: AgentEntry) -> None:
    """An agent's process lists itself at its own address; one that was replaced, or is elsewhere, does not.

    Raises Refused.
    """
    process = entry.agent if entry.replica is None else replica_name(entry.agent, entry.replica)
    known = state.agent(f"{entry.job}/{process}")
    if known is None or not known.wanted:
        raise Refused(f"{entry.id} is not an agent that runs here")
    if known.url is not None and entry.url.rstrip("/") != known.url:
        raise Refused(f"{entry.id} is at {known.url}, not at {entry.url}")
    if known.state.pid is not None and known.state.incarnation not in ("", entry.incarnation):
        raise Refused(f"another process is {entry.id}")

"""What applying a plan to a running job would change, and which of its processes that disturbs."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from teamwright.agents.spec import AgentSpec
from teamwright.backends.catalog import CATALOG
from teamwright.host.api import LaunchOrder
from teamwright.jobs.difference import difference
from teamwright.jobs.plan import AgentPlan, Plan
from teamwright.jobs.revision import code_files

#: What differs between any two orders without making another process of it. `revision` is what a job's queries are
#: labelled with by the engine, `search_path` has the folder that the command was typed in.
_NOT_COMPARED = ("incarnation", "tokens", "revision", "search_path")
#: Keys of a plan's agent that say where it stands, not what it is.
_PLACE = ("level",)

Orders = Mapping[str, LaunchOrder]


@dataclass(frozen=True, slots=True)
class Changes:
    """`changed` has why, by agent: keys of the job file with their values before and after, or `code …`, `secrets`.

    `keys` are those of the job itself. `code` and `packages` as `difference` gives them.
    """

    job: str
    before: str
    after: str
    added: tuple[str, ...] = ()
    removed: tuple[str, ...] = ()
    changed: Mapping[str, tuple[Mapping[str, Any], ...]] = field(default_factory=dict)
    keys: tuple[Mapping[str, Any], ...] = ()
    code: tuple[Mapping[str, Any], ...] = ()
    packages: tuple[Mapping[str, Any], ...] = ()

    @property
    def none(self) -> bool:
        """Whether the job is already what the plan says."""
        return not (self.added or self.removed or self.changed or self.keys or self.code or self.packages)

    def disturbs(self, agent: str) -> bool:
        """Whether processes of the agent that are there have to be others; more or fewer replicas leave them alone."""
        return any(item["key"] != "replicas" for item in self.changed.get(agent, ()))

    def to_dict(self) -> dict[str, Any]:
        """The JSON of `apply`."""
        return {
            "job": self.job,
            "revision": {"before": self.before, "after": self.after},
            "added": list(self.added),
            "removed": list(self.removed),
            "changed": [{"agent": agent, "why": list(why)} for agent, why in self.changed.items()],
            "job_changes": list(self.keys),
            "code": list(self.code),
            "packages": list(self.packages),
        }


def changes(before: Plan, after: Plan, orders: tuple[Orders, Orders]) -> Changes:
    """What turns `before` into `after`. `orders` are those of the two plans, with the same ports and secrets as far as
    those stay.
    """
    found = difference(before, after)
    known = {agent.id for agent in before.agents}
    wanted = {agent.id for agent in after.agents}
    moved = {item["file"] for item in found["code"]}
    packages = {item["name"] for item in found["packages"]}
    why = {
        agent.id: _why(agent.id, found["file"], _unlike(agent.id, before, after, orders), _code(agent, after, moved))
        + [{"key": f"package {name}"} for name in sorted(packages & _package(agent))]
        for agent in after.agents
        if agent.id in known
    }
    return Changes(
        after.job,
        before.revision,
        after.revision,
        added=tuple(agent.id for agent in after.agents if agent.id not in known),
        removed=tuple(agent.id for agent in before.agents if agent.id not in wanted),
        changed={agent: tuple(reasons) for agent, reasons in why.items() if reasons},
        keys=tuple(item for item in found["file"] if not item["key"].startswith("agents.")),
        code=tuple(found["code"]),
        packages=tuple(found["packages"]),
    )


def _why(agent: str, file: Iterable[Mapping[str, Any]], unlike: list[str], code: list[str]) -> list[Mapping[str, Any]]:
    """Why an agent's process has to be another one; empty when it need not."""
    start = f"agents.{agent}."
    keys = [
        {**item, "key": item["key"].removeprefix(start)}
        for item in file
        if item["key"].startswith(start) and item["key"].removeprefix(start) not in _PLACE
    ]
    named = {str(item["key"]).partition(".")[0] for item in keys}
    # What its file's own keys do not tell: a peer's address, a setting of the whole job, the value of a secret.
    told = {"callees": "peers", "port": "url", "script": "script"}
    more = [name for name in unlike if name not in named and name not in {told.get(key) for key in named}]
    if not unlike and not code:
        return []
    besides = [{"key": name} for name in more if not (name in ("callers", "stages") and keys)]
    return [*keys, *besides, *({"key": f"code {file}"} for file in code)]


def _unlike(agent: str, before: Plan, after: Plan, orders: tuple[Orders, Orders]) -> list[str]:
    """The parts in which an agent's orders differ; of a `url:` agent, which has none, those of its plan."""
    plans = before.agent(agent), after.agent(agent)
    shared = [name for name in plans[0].processes if name in plans[1].processes]
    if plans[0].replicas != plans[1].replicas:
        found = [_of_orders(orders[0][name], orders[1][name]) for name in shared]
        return list(dict.fromkeys(["replicas", *(part for parts in found for part in parts)]))
    one, other = (plan.get(shared[0]) for plan in orders)
    if one is None or other is None:
        return _different(dataclasses.asdict(plans[0]), dataclasses.asdict(plans[1]), _PLACE)
    return _of_orders(one, other)


def _of_orders(one: LaunchOrder, other: LaunchOrder) -> list[str]:
    spec = [field.name for field in dataclasses.fields(AgentSpec)]
    values = [{**{name: getattr(order.spec, name) for name in spec}, **_around(order)} for order in (one, other)]
    return _different(values[0], values[1], _NOT_COMPARED)


def _around(order: LaunchOrder) -> dict[str, Any]:
    return {item.name: getattr(order, item.name) for item in dataclasses.fields(order) if item.name != "spec"}


def _different(one: Mapping[str, Any], other: Mapping[str, Any], but: tuple[str, ...]) -> list[str]:
    return [name for name in one if name not in but and one[name] != other.get(name)]


def _code(agent: AgentPlan, plan: Plan, moved: set[str]) -> list[str]:
    return sorted(moved & code_files(agent, plan)) if moved else []


def _package(agent: AgentPlan) -> set[str]:
    info = CATALOG.get(agent.backend)
    return {info.package} if info is not None and info.package else set()

from __future__ import annotations

import random
from itertools import pairwise
from typing import TYPE_CHECKING

import pytest

from teamwright.errors import JobFileError
from teamwright.jobs.levels import find_cycle, levels_of
from teamwright.registry.policy import DiscoveryPolicy

if TYPE_CHECKING:
    from tests.jobs.conftest import Folder, Team


def test_hub_spoke(folder: Folder, team: Team) -> None:
    plan = folder.load(team("lead a b", "topology: {type: hub-spoke, hub: lead, spokes: [a, b]}")).plan
    assert plan.levels == (("a", "b"), ("lead",))
    assert plan.edges == (("lead", "a"), ("lead", "b"))
    assert plan.entry_point == "lead"
    assert plan.topology == "hub-spoke"
    assert plan.agent("lead").callees == ("a", "b")
    assert plan.agent("a").callers == ("lead",)
    assert (plan.agent("a").level, plan.agent("lead").level) == (0, 1)


def test_pipeline(folder: Folder, team: Team) -> None:
    plan = folder.load(team("a b c d", "topology: {type: pipeline, stages: [a, [b, c], d]}")).plan
    assert plan.stages == (("a",), ("b", "c"), ("d",))
    assert plan.levels == (("d",), ("b", "c"), ("a",))
    assert plan.edges == (("a", "b"), ("a", "c"), ("a", "d"))  # the first stage's runtime hands everything on
    assert plan.entry_point == "a"


def test_pipeline_with_a_parallel_first_stage(folder: Folder, team: Team) -> None:
    plan = folder.load(team("a b c", "topology: {type: pipeline, stages: [[a, b], c]}")).plan
    assert plan.entry_point == "a"
    assert plan.edges == (("a", "b"), ("a", "c"))
    assert plan.levels == (("c",), ("b",), ("a",))


def test_a_pipeline_is_asked_at_its_first_agent(folder: Folder, team: Team) -> None:
    text = team("a b", "topology: {type: pipeline, stages: [a, b]}")
    assert folder.load(f"{text}\nexecution: {{entry_point: a}}\n").plan.entry_point == "a"
    with pytest.raises(JobFileError, match=r"execution.entry_point: a pipeline is asked at its first agent, 'a'"):
        folder.load(f"{text}\nexecution: {{entry_point: b}}\n")


def test_dag(folder: Folder, team: Team) -> None:
    plan = folder.load(
        team(
            "source left right sink other",
            """
            topology:
              type: dag
              connections:
                - {from: source, to: [left, right]}
                - {from: left, to: sink}
                - {from: right, to: sink, type: query}
                - {from: sink, to: other, type: bidirectional}
            """,
        )
    ).plan
    assert plan.entry_point == "source"
    assert ("sink", "other") in plan.edges
    assert ("other", "sink") in plan.edges
    assert plan.levels == (("sink", "other"), ("left", "right"), ("source",))


def test_mesh_is_one_level(folder: Folder, team: Team) -> None:
    more = "topology: {type: mesh, agents: [a, b, c]}\nexecution: {entry_point: b}"
    plan = folder.load(team("a b c", more)).plan
    assert plan.levels == (("a", "b", "c"),)
    assert len(plan.edges) == 6
    assert plan.entry_point == "b"


def test_a_mesh_without_agents_is_of_all(folder: Folder, team: Team) -> None:
    plan = folder.load(team("a b c", "topology: {type: mesh}\nexecution: {entry_point: b}")).plan
    assert len(plan.edges) == 6


def test_hierarchical_calls_downwards_only(folder: Folder, team: Team) -> None:
    plan = folder.load(team("boss a b c", "topology: {type: hierarchical, root: boss, levels: [[a, b], [c]]}")).plan
    assert plan.edges == (("boss", "a"), ("boss", "b"), ("a", "c"), ("b", "c"))
    assert plan.levels == (("c",), ("a", "b"), ("boss",))
    assert plan.entry_point == "boss"


def test_dynamic_wires_nobody(folder: Folder, team: Team) -> None:
    resolved = folder.load(team("a b", "topology: {type: dynamic}\nexecution: {entry_point: a}"))
    assert resolved.plan.edges == ()
    assert resolved.plan.levels == (("a", "b"),)
    assert resolved.warnings == ()
    assert [agent.discover for agent in resolved.plan.agents] == [DiscoveryPolicy(), DiscoveryPolicy()]


def test_who_may_be_found(folder: Folder) -> None:
    text = """
        discover: {tags: [text]}
        agents:
          - {id: a, calls: [b]}
          - {id: b, discover: {groups: [writers]}}
    """
    a, b = folder.load(text).plan.agents
    assert (a.discover, b.discover) == (DiscoveryPolicy(tags=("text",)), DiscoveryPolicy(groups=("writers",)))
    wired = folder.load(text.replace("discover: {tags: [text]}", "")).plan.agents
    assert (wired[0].discover, wired[1].discover) == (None, DiscoveryPolicy(groups=("writers",)))
    assert DiscoveryPolicy(("a",), ("x", "y")).admits("a", ["Y"]) and not DiscoveryPolicy(("a",), ("x",)).admits(
        "a", []
    )
    assert DiscoveryPolicy().admits(None, []) and not DiscoveryPolicy(("a",)).admits(None, ["x"])


def test_route_needs_somebody_to_be_found(folder: Folder) -> None:
    (warning,) = folder.load("agents: [{id: a, route: any}]").warnings
    assert warning == (
        "team.yaml:1: agents[0].route: agent 'a': does nothing for an agent that finds nobody (write discover: {} too)"
    )
    assert folder.load("agents: [{id: a, route: any, discover: {}}]").warnings == ()


def test_calls_of_each_agent(folder: Folder) -> None:
    plan = folder.load("agents: [{id: a, calls: [b, c]}, {id: b, calls: [c]}, {id: c, calls: []}]").plan
    assert plan.topology == "calls"
    assert plan.levels == (("c",), ("b",), ("a",))
    assert plan.entry_point == "a"


def test_one_agent_needs_no_topology(folder: Folder, team: Team) -> None:
    plan = folder.load(team("lead")).plan
    assert (plan.topology, plan.entry_point, plan.levels, plan.edges) == ("none", "lead", (("lead",),), ())


@pytest.mark.parametrize(
    ("ids", "topology", "says"),
    [
        ("a b", "{type: hub-spoke, hub: lead, spokes: [b]}", "hub: no agent 'lead' (agents: a, b)"),
        ("lead b", "{type: hub-spoke, hub: leed, spokes: [b]}", "hub: no agent 'leed' (did you mean 'lead'?)"),
        ("a b", "{type: hub-spoke, hub: a, spokes: [x]}", "topology.spokes[0]: no agent 'x'"),
        ("a b", "{type: hub-spoke, hub: a}", "topology: hub-spoke needs spokes"),
        ("a b", "{type: hub-spoke, hub: a, spokes: [a, b]}", "spokes[0]: 'a' stands twice in the topology"),
        ("a b", "{type: hub-spoke, hub: a, spokes: [b, b]}", "topology.spokes[1]: 'b' stands twice"),
        (
            "a b",
            "{type: hub-spoke, hub: a, spokes: [b], stages: [a]}",
            "topology.stages: stages belongs to pipeline; hub-spoke takes hub, spokes",
        ),
        ("a b", "{type: pipeline, stages: []}", "topology.stages: must not be empty"),
        ("a b", "{type: pipeline, stages: [a, [], b]}", "topology.stages[1]: must not be empty"),
        ("a b", "{type: pipeline, stages: [a, b, a]}", "topology.stages[2]: 'a' stands twice"),
        ("a b", "{type: pipeline, stages: [a, [b, x]]}", "topology.stages[1][1]: no agent 'x'"),
        ("a b", "{type: dag, connections: [{from: a, to: b}, {from: b, to: a}]}", "topology: a cycle: a | b | a"),
        ("a b c", "{type: dag, connections: [{from: a, to: b}, {from: b, to: [c]}, {from: c, to: b}]}", "b | c | b"),
        ("a b", "{type: dag, connections: [{from: a, to: [b, a]}]}", "[0].to[1]: 'a' would call itself"),
        ("a b", "{type: dag, connections: [{from: x, to: b}]}", "topology.connections[0].from: no agent 'x'"),
        ("a b", "{type: hierarchical, root: a, levels: [[b], [a]]}", "topology.levels[1][0]: 'a' stands twice"),
        ("a b", "{type: hierarchical, levels: [[b]]}", "topology: hierarchical needs root"),
        ("a b", "{type: mesh, agents: [a, b, a]}", "topology.agents[2]: 'a' stands twice"),
        ("a b", "{type: dynamic, agents: [a]}", "agents belongs to mesh; dynamic takes nothing beside type"),
    ],
)
def test_what_is_wrong_with_a_topology(ids: str, topology: str, says: str, folder: Folder, team: Team) -> None:
    lines = folder.lines(team(ids, f"topology: {topology}"))
    assert any(says in line for line in lines), lines
    assert all(line.startswith("team.yaml:") for line in lines)


def test_a_cycle_of_calls_is_named_once(folder: Folder) -> None:
    text = "agents: [{id: a, calls: [b]}, {id: b, calls: [c]}, {id: c, calls: [a]}]\nexecution: {entry_point: a}"
    (line,) = folder.lines(text)
    assert "a cycle: a | b | c | a" in line
    assert "type: bidirectional" in line


def test_calls_and_a_topology_exclude_each_other(folder: Folder) -> None:
    text = "agents: [{id: a, calls: [b]}, {id: b}]\ntopology: {type: hub-spoke, hub: a, spokes: [b]}"
    (line,) = folder.lines(text)
    assert line.startswith("team.yaml:1: agents[0].calls: agent 'a': calls can't stand beside a topology")


def test_an_unknown_callee(folder: Folder) -> None:
    (line,) = folder.lines("agents: [{id: writer, calls: []}, {id: lead, calls: [writr]}]")
    assert line == "team.yaml:1: agents[1].calls[0]: agent 'lead': no agent 'writr' (did you mean 'writer'?)"


def test_the_entry_point_must_be_clear(folder: Folder, team: Team) -> None:
    (line,) = folder.lines(team("a b"))
    assert "which agent is asked first? (a, b are called by nobody)" in line
    assert "write execution: {entry_point: a}" in line
    (line,) = folder.lines(team("a b", "topology: {type: mesh}"))
    assert "(all are called)" in line
    (line,) = folder.lines(team("lead b", "execution: {entry_point: led}"))
    assert line.endswith("execution.entry_point: no agent 'led' (did you mean 'lead'?)")


def test_an_agent_outside_the_topology_is_a_warning(folder: Folder, team: Team) -> None:
    resolved = folder.load(team("lead a lost", "topology: {type: hub-spoke, hub: lead, spokes: [a]}"))
    (warning,) = resolved.warnings
    assert "agent 'lost' is not part of it" in warning
    assert resolved.plan.agent("lost").level == 0


def test_levels_of_any_graph_without_cycles_put_callees_first() -> None:
    chance = random.Random(7)
    for _ in range(50):
        agents = [f"a{number}" for number in range(12)]
        order = [(a, b) for at, a in enumerate(agents) for b in agents[at + 1 :] if chance.random() < 0.3]
        chance.shuffle(agents)
        assert find_cycle(agents, order) is None
        levels = levels_of(agents, order)
        level = {agent: number for number, members in enumerate(levels) for agent in members}
        assert sorted(level) == sorted(agents)
        assert all(level[callee] < level[caller] for caller, callee in order)


def test_a_long_chain_is_no_problem() -> None:
    agents = [f"a{number}" for number in range(3000)]
    order = list(pairwise(agents))
    assert find_cycle(agents, order) is None
    assert find_cycle(agents, [*order, (agents[-1], agents[0])]) == [*agents, agents[0]]

"""Where replicas make sense, and what a start makes of them."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from teamwright.agents.spec import AgentSpec
from teamwright.home import Home
from teamwright.jobs.orders import Site, launch_orders, port_requests
from teamwright.jobs.plan import Plan

if TYPE_CHECKING:
    from pathlib import Path

    from tests.jobs.conftest import Folder


@pytest.mark.parametrize(
    ("agent", "says"),
    [
        ("{id: a, url: 'http://x.example', replicas: 2}", "replicas: this agent is not started here"),
        ("{id: a, command: [python3], replicas: 2}", "replicas: a program that serves A2A keeps conversations"),
        (
            "{id: a, script: [python3, -c, pass], replicas: 2}",
            "replicas: each message has a process of its own already",
        ),
        ("{id: a, config: {port: 9000}, replicas: 2}", "replicas: several processes can't have one config.port"),
    ],
)
def test_where_they_make_no_sense(agent: str, says: str, folder: Folder) -> None:
    (line,) = folder.lines(f"agents: [{agent}]", environ={"PATH": "/usr/bin:/bin"})
    assert line.startswith("team.yaml:1: agents[0].replicas: agent 'a': ") and says in line and "(leave" in line


def test_those_of_the_defaults_are_for_agents_that_can_have_them(folder: Folder) -> None:
    text = "defaults: {replicas: 2}\nagents: [{id: a, calls: [b]}, {id: b, url: 'http://x.example'}]"
    plan = folder.load(text).plan
    assert [agent.replicas for agent in plan.agents] == [2, 1]


def test_a_name_may_not_be_that_of_a_replica(folder: Folder) -> None:
    (line,) = folder.lines("agents: [{id: a, replicas: 2, calls: [a-1]}, {id: a-1}]")
    assert "agents[1].id: agent 'a-1': a replica of 'a' is called a-1 too" in line


def test_each_process_has_an_order(folder: Folder, home_path: Path) -> None:
    plan = folder.load("agents: [{id: a, calls: [b]}, {id: b, replicas: 2}]").plan
    assert (
        Plan.from_dict(plan.to_dict()) == plan and plan.process("b-1") == ("b", 1) and plan.process("a") == ("a", None)
    )
    names = [request.id.partition("/")[2] for request in port_requests(plan, {"b-1": 9001})]
    assert names == ["a", "b-0", "b-1"]
    ports = {f"{plan.job}/{name}": 9000 + number for number, name in enumerate(names)}
    site = Site(Home(home_path).create(), "http://127.0.0.1:8500", "key", "http://127.0.0.1:8500")
    orders = launch_orders(plan, ports, {}, site, lambda plan, agent: {})
    assert list(orders) == names
    assert [order.spec.agent for order in orders.values()] == ["a", "b", "b"]
    assert [order.id for order in orders.values()] == [f"{plan.job}/{name}" for name in names]
    assert {order.spec.id for order in orders.values()} == {f"{plan.job}/a", f"{plan.job}/b"}
    (peer,) = AgentSpec.from_dict(orders["a"].spec.to_dict()).peers
    assert peer.urls == ("http://127.0.0.1:9001", "http://127.0.0.1:9002") and peer.url == peer.urls[0]
    assert len({order.log_file for order in orders.values()}) == 3

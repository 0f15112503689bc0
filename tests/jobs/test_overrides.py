from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from tests.jobs.conftest import Folder

TEXT = """
agents:
  - {id: lead, backend: offline, prompt: "${WHO}", limits: {turns: 9}}
  - {id: writer, backend: offline}
  - {id: critic, backend: offline}
topology: {type: hub-spoke, hub: lead, spokes: [writer, critic]}
"""


def test_agents_by_id_and_by_place(folder: Folder) -> None:
    plan = folder.load(
        TEXT,
        "agents.lead.limits.turns=3",
        "agents[1].config.port=9001",
        "agents.2.queue=7",
        "agents.lead.prompt=Be brief",
        "environment.LOG_LEVEL=debug",
        "environment.DEBUG=1.10",
        "deployment.timeout=10m",
        "agents.writer.limits={depth: 2}",
    ).plan
    assert plan.agent("lead").limits.turns == 3
    assert plan.agent("lead").prompt == "Be brief"  # and the variable that was missing is not missed
    assert plan.agent("writer").port == 9001
    assert plan.agent("writer").limits.depth == 2
    assert plan.agent("critic").queue == 7
    assert plan.agent("lead").environment == {"LOG_LEVEL": "debug", "DEBUG": "1.10"}
    assert plan.timeout == 600


def test_the_last_one_counts_and_lists_can_be_set(folder: Folder) -> None:
    plan = folder.load(
        TEXT, "job.name=a", "job.name=b", "topology.spokes=[critic]", "topology.spokes[0]=writer", environ={"WHO": "x"}
    ).plan
    assert plan.job == "b"
    assert plan.edges == (("lead", "writer"),)


def test_references_in_a_value_stay_as_they_are(folder: Folder) -> None:
    plan = folder.load(TEXT, 'agents.lead.prompt="${WHO} costs $5: ok"').plan
    assert plan.agent("lead").prompt == "${WHO} costs $5: ok"


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("agents.lead", "--set agents.lead: must be PATH=VALUE (for example agents.writer.limits.turns=3)"),
        ("=3", "--set : must be PATH=VALUE"),
        ("agents..lead=3", "can't make out the path 'agents..lead'"),
        (".agents=3", "can't make out the path"),
        ("agents[x]=3", "can't make out the path"),
        ("agents.wrter.queue=3", "--set agents.wrter.queue: no agent 'wrter' (did you mean 'writer'?)"),
        ("agents.9.queue=3", "agents has 3 entries, there is no [9]"),
        ("agents[9].queue=3", "agents has 3 entries, there is no [9]"),
        ("topology.spokes.writer=x", "topology.spokes is a list: write topology.spokes[0]"),
        ("topology.spokes[2]=x", "topology.spokes has 2 entries, there is no [2]"),
        ("topology.type.x=1", "topology.type is a value, it has no 'x' in it"),
        ("job.tags[0]=x", "there is no list job.tags"),
        ("agents.lead.queue=[1", "--set agents.lead.queue: not valid YAML"),
        ("agents.lead.queues=1", "--set agents.lead.queues: agents[0].queues: agent 'lead': unknown key (did you"),
        ("agents.lead.queue=many", "--set agents.lead.queue: agents[0].queue: agent 'lead': must be a"),
        ("agents.lead.restart={max: x}", "--set agents.lead.restart: agents[0].restart.max: "),
        ("topology.hub=nobody", "--set topology.hub: topology.hub: no agent 'nobody'"),
    ],
)  # fmt: skip
def test_what_cannot_be_set_names_the_flag(text: str, says: str, folder: Folder) -> None:
    lines = folder.lines(TEXT, text, environ={"WHO": "x"})
    assert any(says in line for line in lines), lines


def test_older_values_of_a_path_are_forgotten(folder: Folder) -> None:
    plan = folder.load("job: {version: '1', tags: [a]}\n" + TEXT, "job={name: x}", environ={"WHO": "x"}).plan
    assert (plan.job, plan.version, plan.tags) == ("x", "1.0.0", ())


def test_a_value_is_not_repeated_where_it_may_be_stored(folder: Folder) -> None:
    resolved = folder.load(TEXT, "agents.lead.auth=login", "environment.API_KEY=hidden", environ={"WHO": "x"})
    (warning,) = resolved.warnings
    assert warning.startswith("--set agents.lead.auth: agents[0].auth: ")
    assert resolved.secrets["lead"] == {"API_KEY": "hidden"}
    assert "hidden" not in str(resolved.plan.to_dict())

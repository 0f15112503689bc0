from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from teamwright.backends.catalog import CATALOG, for_model
from teamwright.errors import MissingExtra, UserError
from teamwright.jobs import agent_plans
from teamwright.jobs.backend_choice import choose, install_command, installed
from teamwright.jobs.plan import Plan
from teamwright.jobs.planner import load

if TYPE_CHECKING:
    from tests.jobs.conftest import Folder, Team

SMALLEST = """
agents:
  - {id: lead, backend: offline, prompt: You answer briefly.}
"""


def test_the_smallest_job(folder: Folder) -> None:
    resolved = folder.load(SMALLEST)
    plan = resolved.plan
    assert (plan.job, plan.entry_point, plan.strategy, plan.timeout) == ("team", "lead", "staged", 60)
    assert plan.file == str(folder.path / "team.yaml")
    assert plan.folder == str(folder.path)
    (lead,) = plan.agents
    assert (lead.kind, lead.backend, lead.prompt, lead.port) == ("declared", "offline", "You answer briefly.", None)
    assert (lead.limits.depth, lead.limits.turns, lead.limits.peer_calls, lead.limits.cost_usd) == (8, 25, 50, None)
    assert (lead.restart.policy, lead.restart.max, lead.restart.within) == ("on-failure", 5, 600)
    assert resolved.warnings == ()
    assert resolved.secrets == {"lead": {}}


def test_a_plan_survives_json(folder: Folder, team: Team) -> None:
    plan = folder.load(team("lead a b", "topology: {type: pipeline, stages: [lead, [a, b]]}")).plan
    assert Plan.from_dict(json.loads(json.dumps(plan.to_dict()))) == plan


def test_defaults_lie_under_every_agent(folder: Folder) -> None:
    folder.write("code.py", "class Bot: ...\n")
    text = """
        defaults:
          backend: offline
          max_concurrent: 4
          limits: {turns: 3, depth: 2}
          restart: {policy: never}
          type: Bot
          module: code
          tools: ["os.path:join"]
        agents:
          - {id: a, limits: {turns: 5}, calls: [b]}
          - {id: b, max_concurrent: 1, restart: {max: 1}, tools: []}
    """
    a, b = folder.load(text).plan.agents
    assert (a.kind, a.type, a.max_concurrent, a.limits.turns, a.limits.depth) == ("class", "Bot", 4, 5, 2)
    assert a.tools == ("os.path:join",)
    assert (b.max_concurrent, b.limits.turns, b.restart.policy, b.restart.max, b.tools) == (1, 3, "never", 1, ())


def test_an_agent_is_of_one_kind(folder: Folder) -> None:
    folder.write("code.py", "class Bot: ...\n")
    lines = folder.lines("agents: [{id: a, module: code, type: Bot, script: [x]}]")
    assert any("an agent is of one kind, this one has type, module, script" in line for line in lines)


def test_config_of_an_agent_without_a_class_goes_nowhere(folder: Folder) -> None:
    (line,) = folder.lines("agents: [{id: a, config: {port: 9001, city: Rome}}]")
    assert "agents[0].config.city: agent 'a': goes nowhere" in line


def test_a_prompt_from_a_file(folder: Folder) -> None:
    folder.write("prompts/writer.md", "You write ${NOTHING}.\n")
    text = "agents: [{id: a, prompt: {file: prompts/writer.md}}]"
    assert folder.load(text).plan.agents[0].prompt == "You write ${NOTHING}.\n"
    (line,) = folder.lines(text.replace("writer.md", "writr.md"))
    assert "agents[0].prompt.file: agent 'a': no file" in line
    assert "(did you mean 'writer.md'?)" in line
    (folder.path / "prompts/writer.md").write_bytes(b"\xff\x00")
    assert "is not text in UTF-8" in folder.lines(text)[0]
    assert "can't read" in folder.lines(text.replace("prompts/writer.md", "prompts"))[0]


def test_ids_are_unique(folder: Folder, team: Team) -> None:
    problems = folder.lines(team("a b a", "execution: {entry_point: a}"))
    assert problems == [
        "team.yaml:4: agents[2].id: agent 'a': this id is used twice (first at line 2: ids are unique in a job)"
    ]


def test_ports_are_unique(folder: Folder) -> None:
    text = """
        agents:
          - {id: a, config: {port: 9001}, calls: [b]}
          - id: b
            config:
              port: 9001
    """
    assert folder.lines(text) == [
        "team.yaml:5: agents[1].config.port: agent 'b': port 9001 is also that of agent 'a' "
        "(leave it out to get a free one)"
    ]


@pytest.mark.parametrize(
    ("stem", "text", "name", "job"),
    [
        ("team", SMALLEST, None, "team"),
        ("team", "job: {name: from-file}" + SMALLEST, None, "from-file"),
        ("team", "job: {name: from-file}" + SMALLEST, "from-flag", "from-flag"),
        ("My Team", "job: {name: from-file}" + SMALLEST, None, "from-file"),
        ("My Team", SMALLEST, "from-flag", "from-flag"),
    ],
)
def test_the_job_is_called(stem: str, text: str, name: str | None, job: str, folder: Folder) -> None:
    file = folder.write(f"{stem}.yaml", text)
    assert load(file, environ={}, name=name, cwd=folder.path).plan.job == job


def test_names_that_cannot_be(folder: Folder) -> None:
    folder.write("My Team.yaml", SMALLEST)
    with pytest.raises(UserError) as caught:
        load("My Team.yaml", environ={}, cwd=folder.path)
    assert str(caught.value) == (
        "My Team.yaml: the job is named after its file, and 'My Team' may only hold a-z, 0-9 and -, with a letter or "
        "digit first and last (write job: {name: my-team}, or start it with --name)"
    )
    (problem,) = folder.problems(SMALLEST, name="A_b")
    assert str(problem).startswith("--name: 'A_b' may only hold")
    (problem,) = folder.problems(SMALLEST, name="a" * 64)
    assert "is longer than 63 characters" in problem.message


def test_a_query_is_asked_unless_told_otherwise(folder: Folder) -> None:
    assert folder.load(SMALLEST + "execution: {query: Hello}").plan.query == "Hello"
    assert folder.load(SMALLEST + "execution: {query: Hello, auto_start: false}").plan.query is None


def test_an_unknown_backend(folder: Folder) -> None:
    (line,) = folder.lines("agents: [{id: a, backend: ofline}]")
    assert line == "team.yaml:1: agents[0].backend: agent 'a': no backend 'ofline' (did you mean 'offline'?)"
    (line,) = folder.lines("defaults: {backend: langchain}\nagents: [{id: a}]")
    assert (
        line
        == "team.yaml:1: defaults.backend: no backend 'langchain' (built in: offline, claude, gemini, crewai, openai;"
        " others need their package)"
    )


@pytest.mark.parametrize(
    ("backend", "model", "default_backend", "default_model", "chosen"),
    [
        (None, None, None, None, "offline"),
        ("gemini", "claude-sonnet-4-5", "offline", None, "gemini"),
        (None, "claude-sonnet-4-5", "offline", None, "claude"),
        (None, "gpt-5", None, None, "openai"),
        (None, "llama3", "openai", None, "openai"),
        (None, None, "offline", "gemini-3-pro", "offline"),
        (None, None, None, "gemini-3-pro", "gemini"),
    ],
)
def test_which_backend(
    backend: str | None, model: str | None, default_backend: str | None, default_model: str | None, chosen: str
) -> None:
    info, message, _ = choose(backend, model, default_backend, default_model)
    assert message is None
    assert info is CATALOG[chosen]


def test_a_model_that_does_not_tell_its_backend(folder: Folder) -> None:
    (line,) = folder.lines("agents:\n  - id: a\n    model: llama3\n")
    assert line.startswith("team.yaml:3: agents[0].model: agent 'a': which backend answers for the model 'llama3'?")
    assert for_model("llama3") is None


def test_a_missing_extra(folder: Folder, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(agent_plans, "BUILT_IN", tuple(CATALOG))
    monkeypatch.setattr(agent_plans, "installed", lambda info: info.extra is None)
    with pytest.raises(MissingExtra) as caught:
        folder.load("agents: [{id: a, model: claude-sonnet-4-5}]")
    assert str(caught.value) == (
        "team.yaml:1: agents[0].model: agent 'a': the backend claude needs packages that are not installed"
    )
    assert caught.value.hint == "uv sync --extra claude"
    assert caught.value.exit_code == 2
    lines = folder.lines("agents: [{id: a, backend: claude, env: [NOPE]}]")
    assert len(lines) == 2
    assert "(uv sync --extra claude)" in lines[0]


def test_what_a_backend_must_have_and_what_it_does_not_know(folder: Folder) -> None:
    assert folder.lines("agents:\n  - id: a\n    backend: openai\n    backend_options: {base_ulr: x}") == [
        "team.yaml:3: agents[0].backend: agent 'a': the backend openai needs a model (write model: …)",
        "team.yaml:4: agents[0].backend_options.base_ulr: agent 'a': the backend openai has no option 'base_ulr' "
        "(did you mean 'base_url'?)",
    ]


def test_a_limit_in_dollars_needs_a_price(folder: Folder) -> None:
    def lines(model: str, **options: str) -> list[str]:
        keys = f"model: {model}, backend_options: {options}, limits: {{cost_usd: 0.5}}"
        return folder.lines(f"agents: [{{id: a, backend: openai, {keys}}}]")

    assert lines("llama9", base_url="https://example.org/v1") == [
        "team.yaml:1: agents[0].limits.cost_usd: agent 'a': nobody knows what llama9 costs, so this could not be held "
        "(take a model that is in the price list, or leave it out)"
    ]
    text = "agents: [{{id: a, backend: openai, model: {}, {} limits: {{cost_usd: 0.5}}}}]"
    local = "backend_options: {base_url: 'http://127.0.0.1:1/v1'},"
    router = "backend_options: {base_url: 'https://openrouter.ai/api/v1'},"
    for model, options in (("gpt-4o", ""), ("llama9", local), ("anthropic/claude-sonnet-4-5", router)):
        assert folder.load(text.format(model, options)).plan.agents[0].limits.cost_usd == 0.5
    folder.write("bot.py", "def f(text): ...")
    others = "backend_options: {fallback_models: [gpt-4o-mini, llama9]},"
    (line,) = folder.lines(text.format("gpt-4o", others))
    assert "nobody knows what llama9 costs" in line
    # What a function of one's own spends is seen inside, unless that is off; what a script spends is not.
    function = 'agents: [{id: a, run: "bot:f", %s limits: {cost_usd: 1}}]'
    assert folder.load(function % "").plan.agents[0].limits.cost_usd == 1
    (line,) = folder.lines(function % "instrument: false,")
    assert "a run: agent with instrument: false asks by itself is not seen: it would not be held" in line
    (line,) = folder.lines("agents: [{id: a, script: [cat], limits: {cost_usd: 1}}]")
    assert "a script: agent asks by itself is not seen: it would not be held" in line


def test_packages_are_looked_for_and_not_imported() -> None:
    assert installed(CATALOG["offline"])
    assert installed(CATALOG["claude"], find=lambda name: object())
    assert not installed(CATALOG["claude"], find=lambda name: None)

    def no_parent(name: str) -> object:
        raise ModuleNotFoundError(name)

    assert not installed(CATALOG["gemini"], find=no_parent)


def test_how_an_extra_is_added(tmp_path: Path) -> None:
    assert install_command("claude") == "uv sync --extra claude"
    assert install_command("claude", tmp_path / "site-packages" / "teamwright") == 'pip install "teamwright[claude]"'


def test_paid_backends_get_a_cost_limit_and_their_variables(folder: Folder, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(agent_plans, "BUILT_IN", tuple(CATALOG))
    monkeypatch.setattr(agent_plans, "installed", lambda info: True)
    text = "agents: [{id: a, backend: crewai, environment: {OPENAI_BASE_URL: 'http://here'}}]"
    resolved = folder.load(text, environ={"OPENAI_API_KEY": "k", "OPENAI_BASE_URL": "http://shell", "OTHER": "x"})
    (agent,) = resolved.plan.agents
    assert (agent.limits.cost_usd, agent.threads) == (5.0, True)
    assert resolved.secrets == {"a": {"OPENAI_API_KEY": "k"}}
    assert agent.environment == {"OPENAI_BASE_URL": "http://here"}


def test_the_revision_changes_with_what_decides_behaviour(
    folder: Folder, tmp_path_factory: pytest.TempPathFactory
) -> None:
    folder.write("bot.py", "import inner\nclass Bot: ...\n")
    folder.write("inner.py", "x = 1\n")
    folder.write("prompt.md", "one")
    text = "agents: [{id: a, type: Bot, module: bot, prompt: {file: prompt.md}, env: [KEY]}]"

    def revision(**environ: str) -> str:
        return folder.load(text, environ={"KEY": "k", **environ}).plan.revision

    first = revision()
    assert len(first) == 16
    assert first == revision() == revision(KEY="another", UNUSED="x")
    folder.write("unrelated.py", "")
    assert revision() == first
    folder.write("inner.py", "x = 2\n")
    second = revision()
    folder.write("prompt.md", "two")
    third = revision()
    assert len({first, second, third}) == 3
    elsewhere = tmp_path_factory.mktemp("elsewhere")
    for file in folder.path.iterdir():
        (elsewhere / file.name).write_bytes(file.read_bytes())
    assert load(elsewhere / "team.yaml", environ={"KEY": "k"}, cwd=folder.path).plan.revision == third


def test_messages_call_the_file_as_seen_from_the_current_folder(folder: Folder, tmp_path: Path) -> None:
    file = folder.write("jobs/team.yaml", "agents: []")
    with pytest.raises(UserError, match=r"^jobs/team\.yaml:1: "):
        load(file, environ={}, cwd=tmp_path)
    other = tmp_path / "other"
    other.mkdir()
    with pytest.raises(UserError, match=f"^{file}:1: "):
        load("../jobs/team.yaml", environ={}, cwd=other)


def test_hello_is_a_valid_team(root: Path) -> None:
    resolved = load(root / "examples/jobs/hello.yaml", environ={}, cwd=root)
    assert resolved.warnings == ()
    assert resolved.plan.levels == (("greeter", "facts"), ("lead",))
    assert {agent.backend for agent in resolved.plan.agents} == {"offline"}


def test_a_plan_can_be_read_without_pydantic_and_yaml() -> None:
    code = "import sys, teamwright.jobs.plan; assert not {'pydantic', 'yaml'} & set(sys.modules), sorted(sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)

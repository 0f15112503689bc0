"""Wrong keys and values: each with file, line, key path, what was wrong, and the nearest right key."""

from __future__ import annotations

import textwrap
from typing import TYPE_CHECKING

import pytest

from teamwright.jobs.schema import JobFile, json_schema
from teamwright.jobs.validation import keys_at

if TYPE_CHECKING:
    from tests.jobs.conftest import Folder

AGENT = "agents: [{id: lead, backend: offline}]\n"


def test_an_unknown_key_suggests_the_nearest(folder: Folder) -> None:
    text = """
        agents:
          - id: lead
            backend: offline
          - id: writer
            backend: offline
            restart:
              maxx: 3
    """
    assert folder.lines(text) == [
        "team.yaml:7: agents[1].restart.maxx: agent 'writer': unknown key (did you mean 'max'?)"
    ]


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("topolgy: {type: mesh}", "team.yaml:2: topolgy: unknown key (did you mean 'topology'?)"),
        ("deployment: {stratgy: staged}", "deployment.stratgy: unknown key (did you mean 'strategy'?)"),
        ("tracing: {level: 3}", "tracing.level: unknown key (known keys: enabled, content, redact)"),
        ("name: x", "name: unknown key (write job: {name: …})"),
        ("timeout: 3", "timeout: unknown key (write deployment: {timeout: …})"),
        ("defaults: {temperature: 1}", "unknown key (write model_options: {temperature: …})"),
        ("defaults: {id: x}", "defaults.id: unknown key"),
        ("deployment: {strategy: stagd}", "must be one of staged, sequential, parallel, not 'stagd' (did you mean"),
        ("deployment: {timeout: soon}", "deployment.timeout: must be a duration like 60s or 10m, not 'soon'"),
        ("deployment: {timeout: 0}", "deployment.timeout: must be over 0"),
        ("deployment: {health_check: {retries: 0}}", "retries: must be at least 1, not 0"),
        ("deployment: {health_check: {enabled: yes}}", "must be true or false, not 'yes' (write true)"),
        ("deployment: staged", "deployment: must be a mapping, not 'staged'"),
        ("execution: {entry_point: [lead]}", "execution.entry_point: must be text, not a list"),
        ("job: {version: 1.0}", 'job.version: must be text, not 1.0 (put it in quotes: "1.0")'),
        ("job: {name: My Job}", "'My Job' may only hold a-z, 0-9 and -"),
        ("job: {name: my_job}", "'my-job' would do"),
        ("job: {tags: research}", "job.tags: must be a list, not 'research' (write [research])"),
        ("environment: {A-B: x}", "'A-B' is not the name of an environment variable"),
        ("environment: {TEAMWRIGHT_MARK: x}", "TEAMWRIGHT_MARK is Teamwright's own"),
        ("environment: {A: }", "environment.A: must be text, not nothing"),
        ("environment: [A]", "environment: must be a mapping, not a list"),
        ("topology: {hub: lead}", "topology.type: is missing (hub-spoke, pipeline, dag"),
        ("topology: {type: hubspoke}", "(did you mean 'hub-spoke'?)"),
        ("topology: {type: custom}", "must be one of hub-spoke, pipeline, dag, mesh, hierarchical, dynamic"),
        ("topology: {type: pipeline, stages: [lead, [lead, 3]]}", "topology.stages[1][1]: must be text, not 3"),
        ("topology: {type: dag, connections: [{to: lead}]}", "topology.connections[0].from: is missing"),
        ("registry_url: example.com", "registry_url: must be an http:// or https:// address"),
    ],
)
def test_what_is_said_of_the_file(text: str, says: str, folder: Folder) -> None:
    (line,) = folder.lines(AGENT + text)
    assert says in line
    assert line.startswith("team.yaml:2: ")


@pytest.mark.parametrize(
    ("keys", "says"),
    [
        ("port: 80", "unknown key (write config: {port: …})"),
        ("instructions: x", "unknown key (write prompt: …)"),
        ("secrets: [X]", "unknown key (write env: [NAME])"),
        ("promptt: x", "(did you mean 'prompt'?)"),
        ("max-concurrent: 3", "(did you mean 'max_concurrent'?)"),
        ("config: {port: '9000'}", "must be a whole number, not '9000' (without the quotes: 9000)"),
        ("config: {port: 0}", "must be at least 1, not 0"),
        ("config: {port: 70000}", "must be at most 65535, not 70000"),
        ("max_concurrent: 0", "max_concurrent: agent 'lead': must be at least 1, not 0"),
        ("replicas: 0", "replicas: agent 'lead': must be at least 1, not 0"),
        ("queue: -1", "must be at least 0, not -1"),
        ("max_concurrent: 1.5", "must be a whole number, not 1.5"),
        ("max_concurrent: true", "must be a whole number, not true"),
        ("restart: {policy: no}", "must be one of always, on-failure, never, not 'no'"),
        ("restart: {within: 10 parsecs}", "must be a duration like 60s or 10m"),
        ("restart: never", "restart: agent 'lead': must be a mapping, not 'never'"),
        ("limits: {duration: -1}", "limits.duration: agent 'lead': must not be negative"),
        ("limits: {turns: many}", "must be a whole number, not 'many'"),
        ("resources: {memory: lots}", "must be a size like 512M or 2G, not 'lots'"),
        ("resources: {memory: 512}", "must be at least 1M, not 512 bytes"),
        ("resources: {cpu: 0}", "must be over 0, not 0"),
        ("prompt: [a]", "prompt: agent 'lead': must be text, not a list"),
        ("prompt: {fil: a}", "prompt.fil: agent 'lead': unknown key (did you mean 'file'?)"),
        ("tools: [word_count]", "tools[0]: agent 'lead': must be package.module:name, not 'word_count'"),
        ("tools: a.b:c", "must be a list, not 'a.b:c' (write [a.b:c])"),
        ("module: a/b.py", "must be a module like package.module, not 'a/b.py'"),
        ("skills: [{name: a}]", "skills[0].id: agent 'lead': is missing"),
        ("env: [A B]", "'A B' is not the name of an environment variable"),
        ("group: A", "'A' may only hold"),
        ("url: ftp://x", "must be an http:// or https:// address, not 'ftp://x'"),
        ("mcp_servers: {a: {commandd: x}}", "mcp_servers.a.commandd: agent 'lead': unknown key (did you mean 'c"),
    ],
)  # fmt: skip
def test_what_is_said_of_an_agent(keys: str, says: str, folder: Folder) -> None:
    problems = folder.lines(f"agents:\n  - id: lead\n    {keys}\n")
    assert any(says in line and line.startswith("team.yaml:3: agents[0].") for line in problems), problems


def test_an_agent_needs_an_id_and_a_file_needs_agents(folder: Folder) -> None:
    assert folder.lines("agents: [{backend: offline}]") == [
        "team.yaml:1: agents[0].id: is missing (every agent has an id: - {id: lead, …})"
    ]
    assert "agents: is missing (agents: [{id: lead" in folder.lines("job: {name: a}")[0]
    assert folder.lines("agents: []") == ["team.yaml:1: agents: must not be empty"]
    assert folder.lines("agents: {lead: {}}") == ["team.yaml:1: agents: must be a list, not a mapping"]
    assert folder.lines("agents: [lead]") == ["team.yaml:1: agents[0]: must be a mapping, not 'lead'"]


def test_several_at_once_in_file_order(folder: Folder) -> None:
    text = """
        job: {nme: x}
        agents:
          - id: lead
            prompt: ${WHO}
            queue: many
          - id: Lead
        deployment: {timeout: 0}
    """
    problems = folder.problems(text)
    assert [(problem.line, problem.key) for problem in problems] == [
        (1, "job.nme"),
        (4, "agents[0].prompt"),
        (5, "agents[0].queue"),
        (6, "agents[1].id"),
        (7, "deployment.timeout"),
    ]


def test_a_missing_variable_is_not_also_a_wrong_type(folder: Folder) -> None:
    text = "agents:\n  - id: lead\n    config:\n      port: ${PORT}\n"
    assert [problem.message for problem in folder.problems(text)] == [
        "agent 'lead': the variable PORT is not set",
    ]


def test_durations_and_sizes(folder: Folder) -> None:
    text = """
        agents:
          - id: lead
            limits: {duration: 1m30s}
            resources: {memory: 512M}
            restart: {within: 10m}
        deployment: {timeout: 500ms, health_check: {interval: 2}}
    """
    plan = folder.load(text).plan
    (lead,) = plan.agents
    assert (lead.limits.duration, lead.memory, lead.restart.within) == (90.0, 512 * 1024**2, 600.0)
    assert (plan.timeout, plan.health.interval) == (0.5, 2.0)


def test_zero_is_a_limit_like_any_other(folder: Folder) -> None:
    text = "agents: [{id: lead, queue: 0, limits: {turns: 0, depth: 0, peer_calls: 0}, restart: {max: 0}}]"
    (lead,) = folder.load(text).plan.agents
    assert (lead.queue, lead.limits.turns, lead.limits.depth, lead.limits.peer_calls) == (0, 0, 0, 0)


LARGE = """
job: {name: research-assistant, version: 1.0.0, description: Finds things out, tags: [research]}
environment: {LOG_LEVEL: info}
defaults: {backend: offline, max_concurrent: 32, queue: 256}
agents:
  - id: searcher
    type: SearcherAgent
    module: examples.agents.searcher
    config: {port: 9021, name: Searcher}
    deployment: {target: localhost, environment: {}}
    resources: {cpu: 0.5, memory: 512M}
    restart: {policy: on-failure, max: 5, within: 10m}
    replicas: 2
  - id: writer
    name: Writer
    description: Writes the report
    prompt: {file: prompts/writer.md}
    model: claude-sonnet-4-5
    model_options: {temperature: 0.2, max_tokens: 2000}
    skills: [{id: writing, name: Writing, description: Writes, tags: [text]}]
    tools: ["examples.tools.text:word_count"]
    mcp_servers: {files: {command: npx, args: [-y, files]}, web: {url: "http://localhost:1/mcp"}}
    env: [MY_KEY]
    group: authors
    limits: {turns: 25, duration: 60s, tool_calls: 50, cost_usd: 0.50, depth: 3, peer_calls: 9}
    scope: {files: {read: {allow: ["docs/**"]}}}
    approve: [send_mail]
    auth: login
    backend_options: {builtin_tools: [Read], setting_sources: [project], cwd: .}
    output_schema: {type: object}
    on_disconnect: cancel
    discover: {groups: [authors], tags: [text]}
    route: any
  - {id: facts, run: "my.bot:answer"}
  - {id: report, run: "crew.main:kickoff", python: ../crew/.venv/bin/python}
  - {id: legacy, script: [python, gemini_agent.py]}
  - {id: other, command: [node, server.js]}
  - {id: partner, url: "https://agents.example.com"}
topology: {type: hub-spoke, hub: searcher, spokes: [writer]}
deployment: {strategy: staged, timeout: 60, health_check: {enabled: true, interval: 5, retries: 3}}
execution: {entry_point: searcher, query: "What is new?", auto_start: false}
tracing: {enabled: true, content: full}
watch: {cost: {over: 3}}
providers: {anthropic: {concurrent: 8, rpm: 50}}
discover: {groups: [authors]}
registry_url: http://localhost:8500
"""


def test_every_key_of_the_large_example_has_its_place() -> None:
    from pathlib import Path

    from teamwright.jobs.source import parse
    from teamwright.jobs.validation import validate

    model, problems = validate(parse(textwrap.dedent(LARGE), {}, path=Path("team.yaml"), file="team.yaml"))
    assert problems == []
    assert isinstance(model, JobFile)
    assert model.agents[1].limits.cost_usd == 0.5


def test_the_json_schema_names_every_key() -> None:
    schema = json_schema()
    assert schema["additionalProperties"] is False
    assert {"job", "agents", "topology"} <= set(schema["properties"])
    assert "from" in keys_at(("topology", "connections", 0))
    assert keys_at(("agents", 0, "prompt")) == ["file"]
    assert "id" not in keys_at(("defaults",))


@pytest.mark.parametrize(
    ("schema", "fault"),
    [
        ("{type: array}", "must describe an object: type: object"),
        ("{type: object, properties: {n: {type: nope}}}", "is not a JSON Schema: 'nope' is not valid under any"),
    ],
)
def test_output_schemas_are_schemas(schema: str, fault: str, folder: Folder) -> None:
    (line,) = folder.lines(f"agents: [{{id: a, output_schema: {schema}}}]")
    assert line.startswith(f"team.yaml:1: agents[0].output_schema: agent 'a': {fault}")

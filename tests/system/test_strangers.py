"""Agents that no job of ours starts: of jobs, added, registered by themselves, of another engine's registry."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import httpx
import pytest

from tests.system.test_dynamic import CODE

if TYPE_CHECKING:
    from .conftest import Deploy

SERVER = Path(__file__).parent / "team" / "foreign.py"
PROBE = """
{more}
topology: {{type: dynamic}}
agents: [{{id: it, run: "others:probe", group: {group}}}]
"""
FOREIGN = """
topology: {{type: dynamic}}
execution: {{entry_point: cmd}}
deployment: {{health_check: {{interval: 1, retries: 1}}}}
agents:
  - {{id: cmd, command: [{python}, {server}]}}
  - {{id: net, url: "{url}"}}
  - {{id: shut, url: "{url}", auth: {{variable: PARTNER_TOKEN}}}}
"""


class World:
    """Two homes with an engine each, and a server that nobody of them has started."""

    def __init__(self, deploy: Deploy, url: str) -> None:
        self.url = url
        self.here = deploy
        folder = deploy.home.parent
        self.folder = folder
        deploy.environment |= {"TEAMWRIGHT_LEASE": "10", "PARTNER_TOKEN": "secret-4711"}
        home = folder / "elsewhere"
        self.there = replace(deploy, environment={**deploy.environment, "TEAMWRIGHT_HOME": str(home)}, home=home)
        (folder / "others.py").write_text(CODE)

    def start(self, deploy: Deploy, name: str, text: str, **environment: str) -> None:
        file = self.folder / f"{name}.yaml"
        file.write_text(text)
        deploy("start", file, environment=environment).ok()

    def ask(self, job: str, text: str) -> dict[str, Any]:
        found: dict[str, Any] = self.here("query", job, text, "--json").ok().json
        return found

    def found(self, job: str = "probe") -> dict[str, bool]:
        return {agent["id"]: agent["healthy"] for agent in json.loads(self.ask(job, "find")["answer"])}

    def listed(self) -> set[str]:
        return {entry["id"] for entry in self.here("registry", "list", "--json").ok().json["agents"]}

    def engine(self, deploy: Deploy) -> str:
        return str(deploy("engine", "status", "--json").ok().json["url"])


@pytest.fixture(scope="module")
def world(shared_deploy: Deploy) -> Iterator[World]:
    with subprocess.Popen([sys.executable, SERVER, "0"], stdout=subprocess.PIPE, text=True) as server:
        try:
            assert server.stdout
            made = World(shared_deploy, f"http://127.0.0.1:{server.stdout.readline().split()[-1]}")
            made.start(made.here, "probe", PROBE.format(more="", group="testers"))
            yield made
            made.there("stop", "--all").ok()
            made.here("stop", "--all").ok()
        finally:
            server.kill()


def until(condition: Callable[[], object], seconds: float = 60.0) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.05)


def test_foreign_agents_of_a_job_are_listed_and_called(world: World) -> None:
    world.start(world.here, "mixed", FOREIGN.format(python=sys.executable, server=SERVER, url=world.url))
    wanted = {"mixed.cmd", "mixed.net", "mixed.shut"}
    until(lambda: wanted <= world.listed())
    entries = world.here("registry", "list", "--json", "--job", "mixed").ok().json["agents"]
    assert {entry["id"]: entry["foreign"] for entry in entries} == dict.fromkeys(wanted, True)
    for target in ("mixed/cmd", "mixed/net"):
        asked = world.ask("probe", f"ask {target} hello there")
        assert "hello there" in asked["answer"], asked
    last = httpx.get(f"{world.url}/seen", trust_env=False, timeout=60).json()[-1]
    headers = {name.lower() for name in last["headers"]}
    assert "authorization" not in headers and "traceparent" in headers and "baggage" not in headers
    refused = world.ask("probe", "ask mixed/shut hello")["answer"]
    assert refused.startswith("forbidden: mixed/shut may not be called: mixed.shut wants a credential"), refused
    world.here("stop", "mixed").ok()
    until(lambda: not wanted & world.listed())


def test_an_operator_adds_and_removes(world: World) -> None:
    added = world.here("registry", "add", world.url, "--id", "partner", "--json").ok().json
    assert (added["id"], added["foreign"], added["url"]) == ("outside.partner", True, world.url)
    assert world.found()["outside/partner"] is True
    assert "hi there" in world.ask("probe", "ask outside/partner hi there")["answer"]
    time_of = world.here("registry", "list", "--json", "--job", "outside").ok().json["agents"][0]["last_seen"]
    world.here("engine", "restart").ok()
    until(lambda: "outside.partner" in world.listed())  # an operator's word is kept
    assert world.here("registry", "list", "--json", "--job", "outside").ok().json["agents"][0]["last_seen"] > time_of
    assert world.here("registry", "remove", "outside.partner").ok().out == "removed outside.partner\n"
    gone = world.here("registry", "remove", "outside.partner")
    assert (gone.code, gone.err.splitlines()[0]) == (2, "error: no agent outside.partner is listed")
    engine = world.engine(world.here)
    for url, why in (
        ("http://169.254.169.254/latest", "is no address of an agent"),
        ("http://0.0.0.0:80", "is no address of an agent"),
        ("http://2852039166/latest", "2852039166 leads to no address of an agent"),
        ("http://0xa9fea9fe/latest", "0xa9fea9fe leads to no address of an agent"),
        ("http://[::ffff:169.254.169.254]/latest", "is no address of an agent"),
        ("file:///etc/passwd", "is not an http address"),
        ("http://ann:pass@127.0.0.1:1", "is not an http address"),
        (engine, "is this engine itself"),
        ("http://127.0.0.1:1", "is no agent that can be called"),
    ):
        done = world.here("registry", "add", url)
        assert done.code in (1, 2) and why in done.err, done
    taken = world.here("registry", "add", world.url, "--id", "Not A Name")
    assert taken.code == 2 and "'Not A Name' may only hold" in taken.err
    done = world.here("start", world.folder / "probe.yaml", "--name", "outside")
    assert done.code == 2 and "'outside' stands for agents that no job has" in done.err


def test_an_agent_registers_itself_under_its_own_name_only(world: World) -> None:
    token = world.here("token", "create", "--registration", "guest", "--ttl", "10m").ok().out.strip()
    other = world.here("token", "create", "--registration", "other", "--group", "friends", "--json").ok().json
    assert (other["role"], other["subject"]) == ("guest", "outside/other")
    engine = world.engine(world.here)

    def call(method: str, path: str, token: str, **more: Any) -> httpx.Response:
        headers = {"authorization": f"Bearer {token}"}
        return httpx.request(method, engine + path, headers=headers, timeout=60, trust_env=False, **more)

    listed = call("POST", "/agents/register", token, json={"url": world.url, "id": "probe.it", "agent": "it"})
    assert listed.status_code == 201 and listed.json()["id"] == "outside.guest", listed.text
    assert "hi" in world.ask("probe", "ask outside/guest hi")["answer"]
    assert call("POST", "/agents/outside.guest/heartbeat", token, json={}).status_code == 200
    for method, path in (
        ("DELETE", "/agents/outside.guest"),
        ("POST", "/agents/outside.guest/heartbeat"),
        ("DELETE", "/agents/probe.it"),
    ):
        assert call(method, path, other["token"]).status_code == 401
    for url in ("http://10.0.0.1:80", "http://example.com", "http://169.254.169.254", f"{engine}/", 7, None):
        refused = call("POST", "/agents/register", token, json={"url": url})
        assert refused.status_code in (400, 403), (url, refused.text)
    for method, path in (("GET", "/jobs"), ("POST", "/tokens"), ("POST", "/v1/traces"), ("POST", "/a2a/probe")):
        assert call(method, path, token, json={}).status_code in (401, 403), path
    with ThreadPoolExecutor(10) as crowd:
        flood = list(crowd.map(lambda _: call("POST", "/agents/register", other["token"], json={}), range(60)))
    assert {answer.status_code for answer in flood} == {400, 429}
    assert all(int(answer.headers["retry-after"]) >= 1 for answer in flood if answer.status_code == 429)
    assert call("DELETE", "/agents/outside.guest", token).json() == {"removed": True}
    assert "outside.guest" not in world.listed()
    assert call("POST", "/agents/register", token, json={"url": world.url}).status_code == 201
    met = call("POST", "/agents/probe.it/introduction", token).json()
    message = {"role": "ROLE_USER", "messageId": "m", "parts": [{"text": "find"}]}
    body = {"jsonrpc": "2.0", "id": 1, "method": "SendMessage", "params": {"message": message}}

    def visit(token: str) -> int:
        headers = {"authorization": f"Bearer {token}", "A2A-Version": "1.0"}
        return httpx.post(met["agent"]["url"], json=body, headers=headers, timeout=20, trust_env=False).status_code

    assert visit(met["token"]) == 200
    revoked = world.here("token", "revoke", token).ok()
    assert revoked.out.endswith(" of outside/guest\n"), revoked
    assert "outside.guest" not in world.listed()
    assert visit(met["token"]) == 401
    refused = call("POST", "/agents/register", token, json={"url": world.url})
    assert (refused.status_code, refused.json()["error"]["message"]) == (401, "the token was revoked")
    here = {row["subject"]: row["status"] for row in world.here("token", "list", "--all", "--json").ok().json["tokens"]}
    assert here == {"outside/guest": "revoked", "outside/other": "good"}
    assert "outside/guest" not in world.here("token", "list").ok().out


def test_the_registry_of_another_engine(world: World) -> None:
    world.start(world.there, "weather", PROBE.format(more="", group="sky"))
    world.start(world.there, "private", PROBE.format(more="discover: {groups: [family]}", group="home"))
    token = world.there("token", "create", "--registration", "visitor", "--ttl", "10m").ok().out.strip()
    remote = PROBE.format(more=f"registry_url: {world.engine(world.there)}", group="testers")
    (world.folder / "wide.yaml").write_text(remote)
    missing = world.here("start", world.folder / "wide.yaml")
    assert missing.code == 2 and "the variable TEAMWRIGHT_REGISTRY_TOKEN is not set" in missing.err
    world.start(world.here, "wide", remote, TEAMWRIGHT_REGISTRY_TOKEN=token)
    found = world.found("wide")
    assert found == {"probe/it": True, "weather/it@remote": True}
    asked = world.ask("wide", "ask weather/it@remote find")
    assert json.loads(asked["answer"]) == []
    spans = world.here("trace", "show", asked["trace_id"], "--json").ok().json["spans"]
    assert [span["status"] for span in spans if span["name"] == "invoke_agent weather/it@remote"] == ["ok"]
    assert world.ask("wide", "ask private/it@remote x")["answer"].startswith("forbidden: private/it@remote may not")
    assert world.ask("wide", "ask weather/it x")["answer"].startswith("unknown_peer: there is no agent weather/it now")
    shown = world.here("plan", world.folder / "wide.yaml", environment={"TEAMWRIGHT_REGISTRY_TOKEN": token}).ok().out
    assert token not in shown and "TEAMWRIGHT_REGISTRY_TOKEN" in shown
    world.there("stop", "--all").ok()
    until(lambda: world.found("wide") == {"probe/it": True})  # the other engine is gone: the own one is enough
    world.here("stop", "wide").ok()

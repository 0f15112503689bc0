"""The contract of every backend: `find_agents`, and the agent that was found is asked by its id."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING, Any

import httpx

from teamwright.registry.policy import DiscoveryPolicy
from tests.agents.conftest import JOB
from tests.backends.contract.conftest import echo
from tests.standins.script import Reply, Seen

if TYPE_CHECKING:
    from tests.backends.contract.conftest import World

QUESTION = "Find an agent that can write poems, and ask it about rain"


@contextmanager
def engine(world: World) -> Iterator[str]:
    """The registry of an engine that knows one agent, the poet."""
    agent: dict[str, Any] = {
        "id": f"{JOB}.verse",
        "job": JOB,
        "agent": "verse",
        "url": world.team.url("verse"),
        "group": None,
    }
    agent |= {"name": "Poet", "description": "Writes poems.", "skills": [{"id": "poems", "tags": ["verse"]}]}

    class Registry(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            self.reply({"agents": [agent | {"status": "healthy"}], "total": 1} if "search" in self.path else {})

        def do_POST(self) -> None:
            self.rfile.read(int(self.headers.get("content-length") or 0))
            token = world.team.token("verse", "seeker")
            known = {"agent": agent, "token": token, "expires_in": 900}
            self.reply(known if self.path == f"/agents/{JOB}.verse/introduction" else {"error": {"message": "no"}})

        def reply(self, value: object) -> None:
            body = json.dumps(value).encode()
            self.send_response(404 if "error" in json.dumps(value) else 200)
            self.send_header("content-type", "application/json")
            self.send_header("content-length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *args: Any) -> None:
            """Quiet."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Registry) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}"
        finally:
            server.shutdown()
            thread.join()


def test_an_agent_is_found_and_asked(world: World) -> None:
    offered: list[Seen] = []

    def search(seen: Seen) -> Reply:
        offered.append(seen)
        return Reply(calls=[world.call("find_agents", {"text": "write poems"})])

    adapter, team = world.adapter, world.team
    given = dict(adapter.spec(world.model)) if adapter.standin is not None else {}
    with engine(world) as url:
        seeker = {"engine_url": url, "spans_url": "http://127.0.0.1:9", "discover": DiscoveryPolicy(), **given}
        seeker |= {"tokens": {"engine": "known-to-the-registry"}}
        team.launch("verse", module="contract_team", type="Poet", callers=(), discover=DiscoveryPolicy())
        team.launch("seeker", backend=adapter.name, **adapter.where, **seeker)
        for agent in ("verse", "seeker"):
            assert httpx.get(f"{team.url(agent)}/readyz", timeout=180).status_code == 200, team.log(agent)
        asking = Reply(calls=[world.call("query_agent", {"agent": f"{JOB}/verse", "message": "rain"})])
        world.script(search, asking, echo())
        said = world.ask(QUESTION, "seeker")
    assert "a poem about" in said.text and "rain" in said.text, said.words
    assert world.tree(said.trace_id) == [
        "invoke_agent seeker",
        "chat",
        "execute_tool find_agents",
        "chat",
        ["execute_tool query_agent", [f"invoke_agent {JOB}/verse", "invoke_agent verse"]],
        "chat",
    ]
    found, _ = world.tools(said.trace_id)
    assert found.attributes["teamwright.agents.found"] == 1
    assert json.loads(found.attributes["gen_ai.tool.call.arguments"]) == {"text": "write poems"}
    assert '"id"' in found.attributes["gen_ai.tool.call.result"] and url not in str(found.attributes)
    for seen in offered:
        assert {adapter.tool_name("find_agents"), adapter.tool_name("query_agent")} <= set(seen.tools)
        assert adapter.tool_name("list_peers") not in seen.tools  # nobody is wired to it
        assert "what the agent should be able to do, in words" in json.dumps(seen.body)

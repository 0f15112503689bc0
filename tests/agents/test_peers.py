"""Several agent processes that call each other: one trace, limits, faults."""

from __future__ import annotations

import json
import os
import signal
import socket
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

import httpx
import pytest

from teamwright.agents.spec import PeerSpec
from teamwright.backends.api import Limits
from teamwright.tracing.propagation import RUN_EXT, USAGE_EXT
from tests.agents.conftest import tries, wait_for

if TYPE_CHECKING:
    from .conftest import Span, Team

CODE = """
    import asyncio, os
    from teamwright import Agent

    class Relay(Agent):
        "Passes on what it gets to its first peer."

        async def run(self, turn):
            word, _, rest = turn.text.partition(" ")
            if word == "hang":
                open(rest, "w").close()
                await asyncio.sleep(100)
            if word == "until":
                while not os.path.exists(rest):
                    await asyncio.sleep(0.02)
            peers = await turn.peers()
            if not peers:
                return f"end of {turn.text} at depth {turn.run.depth} for {turn.user}"
            if word == "all":
                answers = await asyncio.gather(*(turn.ask_peer(p.id, rest) for p in peers), return_exceptions=True)
                return " ".join(getattr(a, "text", None) or f"{a.__class__.__name__}:{a}" for a in answers)
            to = word if word in [p.id for p in peers] or word == "nobody" else peers[0].id
            return (await turn.ask_peer(to, turn.text)).text
"""


def relays(team: Team, edges: dict[str, tuple[str, ...]], **options: Any) -> None:
    """Start Relay agents with these calls; `front-door` may call all of them."""
    team.write("relay.py", CODE)
    for agent, calls in edges.items():
        callers = ["front-door", *(f"team/{other}" for other, called in edges.items() if agent in called)]
        team.launch(agent, module="relay", type="Relay", calls=calls, callers=callers, **options)
    for agent in edges:
        httpx.get(f"{team.url(agent)}/readyz", timeout=180).raise_for_status()


def ask(team: Team, agent: str, text: str) -> tuple[str, dict[str, Any]]:
    task = team.ask(agent, text)["task"]
    parts = [part for artifact in task.get("artifacts", []) for part in artifact["parts"]]
    words = parts or task["status"].get("message", {}).get("parts", [])
    return "".join(part.get("text", "") for part in words), task


def tree(spans: list[Span]) -> list[str]:
    """The spans as `agent name`, indented by depth."""
    children: dict[str | None, list[Span]] = {}
    ids = {span["span_id"] for span in spans}
    for span in spans:
        children.setdefault(span["parent_id"] if span["parent_id"] in ids else None, []).append(span)

    def walk(parent: str | None, depth: int) -> list[str]:
        lines = []
        for span in children.get(parent, []):
            lines += [f"{'  ' * depth}{span['agent']}: {span['name']}", *walk(span["span_id"], depth + 1)]
        return lines

    return walk(None, 0)


def test_a_chain_is_one_trace_with_usage_summed(team: Team) -> None:
    team.launch("facts", callers=("team/lead",), description="Knows facts about whales")
    team.launch("maps", callers=("team/lead",), description="Draws maps")
    team.start("lead", calls=("facts", "maps"), description="Coordinates")
    text, task = ask(team, "lead", "Draw maps with facts about whales")
    assert text.splitlines() == [
        "[offline, no model] lead asked 2 and heard:",
        "- facts: facts got: Draw maps with facts about whales",
        "- maps: maps got: Draw maps with facts about whales",
    ]
    spans = team.spans()
    assert len({span["trace_id"] for span in spans}) == 1
    assert tree(spans) == [
        "lead: invoke_agent lead",
        "  lead: chat offline",
        "  lead: execute_tool query_agent",
        "    lead: invoke_agent facts",
        "      facts: invoke_agent facts",
        "        facts: chat offline",
        "  lead: execute_tool query_agent",
        "    lead: invoke_agent maps",
        "      maps: invoke_agent maps",
        "        maps: chat offline",
        "  lead: chat offline",
    ]
    assert all(span["end_ns"] > span["start_ns"] for span in spans)
    assert not [key for span in spans for key, value in span.attributes.items() if value in (None, "null", "")]
    client = next(span for span in spans if span["name"] == "invoke_agent facts" and span["kind"] == 3)
    server = next(span for span in spans if span["name"] == "invoke_agent facts" and span["kind"] == 2)
    assert client.attributes["teamwright.call"] == "lead->facts"
    assert client["start_ns"] <= server["start_ns"] <= server["end_ns"] <= client["end_ns"]
    root = next(span for span in spans if span["name"] == "invoke_agent lead")
    assert server.attributes["teamwright.run.parent_id"] == root.attributes["teamwright.run.id"]
    assert server.attributes["teamwright.run.root_id"] == root.attributes["teamwright.run.id"]
    usage = task["metadata"][USAGE_EXT]
    assert (usage["model_calls"], usage["tool_calls"], usage["peer_calls"]) == (4, 2, 2)
    assert usage["input_tokens"] == sum(
        span.attributes["gen_ai.usage.input_tokens"] for span in spans if span["name"] == "chat offline"
    )


def test_a_ring_with_one_slot_each_does_not_deadlock(team: Team) -> None:
    limits = Limits(depth=5, peer_calls=50)
    relays(team, {"a": ("b",), "b": ("c",), "c": ("a",)}, max_concurrent=1, limits=limits)
    text, task = ask(team, "a", "go")
    assert task["status"]["state"] == "TASK_STATE_FAILED"
    assert task["metadata"][RUN_EXT]["reason"] == "depth"
    assert "limit depth: 5" in text
    with ThreadPoolExecutor(6) as pool:
        reasons = list(pool.map(lambda agent: ask(team, agent, "go")[1]["metadata"][RUN_EXT]["reason"], "abcabc"))
    assert reasons == ["depth"] * 6


def test_peer_calls_are_counted_over_the_whole_tree(team: Team) -> None:
    limits = Limits(depth=9, peer_calls=3)
    relays(team, {"a": ("b",), "b": ("c",), "c": ("a",)}, limits=limits)
    _, task = ask(team, "a", "go")
    assert task["metadata"][RUN_EXT]["reason"] == "peer_calls"
    assert len([span for span in team.spans() if span["kind"] == 2]) <= 4


def test_sessions_and_users_travel_along(team: Team) -> None:
    relays(team, {"a": ("b",), "b": ()})
    text, task = ask(team, "a", "hello")
    assert text == "end of hello at depth 1 for ann"
    team.ask("a", "again", contextId=task["contextId"])
    team.ask("a", "elsewhere")
    contexts = [span.attributes["gen_ai.conversation.id"] for span in team.spans("b")]
    assert contexts[0] == contexts[1] != contexts[2]


def test_faults_of_a_peer_are_errors_within_the_deadline(team: Team) -> None:
    black_hole = socket.create_server(("127.0.0.1", 0))
    rude = socket.create_server(("127.0.0.1", 0))
    wrong = socket.create_server(("127.0.0.1", 0))

    def serve(server: socket.socket, reply: bytes) -> None:
        while True:
            try:
                connection, _ = server.accept()
            except OSError:
                return
            with connection:
                connection.recv(65536)
                if reply:
                    connection.sendall(reply)

    nonsense = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\nconnection: close\r\n\r\n{}"
    for server, reply in ((rude, b""), (wrong, nonsense)):
        threading.Thread(target=serve, args=(server, reply), daemon=True).start()
    closed = socket.socket()
    closed.bind(("127.0.0.1", 0))
    peers = tuple(
        PeerSpec(id=name, job="team", agent=name, url=f"http://127.0.0.1:{server.getsockname()[1]}/")
        for name, server in (("hole", black_hole), ("rude", rude), ("wrong", wrong), ("closed", closed))
    )
    team.write("relay.py", CODE)
    team.start("a", module="relay", type="Relay", peers=peers, limits=Limits(duration=5.0))
    try:
        for name, reason in (
            ("rude", "broken_connection"),
            ("wrong", "bad_answer"),
            ("closed", "unreachable"),
            ("nobody", "unknown_peer"),
            ("hole", "timeout"),
        ):
            text, task = ask(team, "a", f"{name} hello")
            # Only the one that never answers takes until the deadline.
            ends = (reason, "duration") if name == "hole" else (reason,)
            assert task["metadata"][RUN_EXT]["reason"] in ends, (name, text)
            if name in ("nobody", "hole"):
                continue
            span = [span for span in team.spans("a") if span["name"] == f"invoke_agent {name}"][-1]
            assert (span["status"], span.attributes["error.type"]) == (2, reason)
            assert span["message"]
    finally:
        for server in (black_hole, rude, wrong, closed):
            server.close()


def test_a_killed_peer_is_an_error_at_once_and_its_return_is_noticed(team: Team) -> None:
    relays(team, {"a": ("b",), "b": ()})
    assert ask(team, "a", "one")[0].startswith("end of one")
    results: list[Any] = []
    hangs = team.folder / "hangs"
    waiting = threading.Thread(target=lambda: results.append(ask(team, "a", f"all hang {hangs}")))
    waiting.start()
    wait_for(hangs.exists)
    spec = team.specs["b"]
    team.stop("b", signal.SIGKILL)
    waiting.join()
    assert "PeerError:the connection to b broke" in results[0][0]
    # The listener is still open, as the host keeps it: a new process takes over what waits in its backlog.
    team.launch("b", spec)
    assert ask(team, "a", "two")[0].startswith("end of two")


def test_a_stopped_peer_does_not_outlast_the_query(team: Team) -> None:
    relays(team, {"a": ("b",), "b": ()}, limits=Limits(duration=4.0))
    assert ask(team, "a", "one")[0].startswith("end of one")
    os.kill(team.processes["b"].pid, signal.SIGSTOP)
    try:
        text, task = ask(team, "a", "two")
        assert task["status"]["state"] == "TASK_STATE_FAILED"
        assert task["metadata"][RUN_EXT]["reason"] in ("timeout", "duration"), text
    finally:
        os.kill(team.processes["b"].pid, signal.SIGCONT)


def test_a_full_queue_says_so_and_a_short_one_waits(team: Team) -> None:
    relays(team, {"a": ("b",), "b": ()}, max_concurrent=1, queue=1)
    url, token, over = team.url("b"), team.token("b", "a"), team.folder / "over"

    def one(_: int) -> httpx.Response:
        params = {"message": {"messageId": "m", "role": "ROLE_USER", "parts": [{"text": f"until {over}"}]}}
        return team.rpc("b", "SendMessage", params, token=token)

    with ThreadPoolExecutor(5) as pool:
        asked = [pool.submit(one, number) for number in range(5)]
        wait_for(lambda: sum(each.done() for each in asked) == 3)  # one is at work, one waits, and three are refused
        ending = time.time_ns()
        over.touch()
        responses = [each.result() for each in asked]
    good = [response for response in responses if "result" in response.json()]
    full = [response for response in responses if "error" in response.json()]
    assert len(good) == 2, url
    assert {response.headers["retry-after"] for response in full} == {"1"}
    assert "busy" in full[0].json()["error"]["message"]
    queued = [span for span in team.spans("b") if span["name"] == "queued"]
    assert len(queued) == 1
    assert queued[0]["start_ns"] < ending < queued[0]["end_ns"]


@pytest.mark.parametrize("agents", [12])
def test_twelve_peers_at_once(team: Team, agents: int) -> None:
    names = [f"n{number}" for number in range(2)]
    team.write("relay.py", CODE)
    for name in names:
        team.launch(name, module="relay", type="Relay", callers=("team/a",))
    peers = tuple(
        PeerSpec(id=f"p{number}", job="team", agent=names[number % 2], url=f"{team.url(names[number % 2])}/")
        for number in range(agents)
    )
    tokens = {f"team/{name}": team.token(name, "a") for name in names}
    team.start("a", module="relay", type="Relay", peers=peers, tokens=tokens)
    text, task = ask(team, "a", "all hello")
    assert text.count("end of hello") == agents
    assert json.dumps(task["metadata"][USAGE_EXT]["peer_calls"]) == f"{agents}.0"


def test_cancelling_reaches_the_peers_at_work(team: Team) -> None:
    relays(team, {"a": ("b",), "b": ("c",), "c": ()})
    assert ask(team, "a", "warm up")[0].startswith("end of")
    for one in tries(0.4):
        hangs = team.folder / f"hangs-{one.number}"
        params = {
            "message": {"messageId": "m", "role": "ROLE_USER", "parts": [{"text": f"all all hang {hangs}"}]},
            "configuration": {"returnImmediately": True},
        }
        task = team.rpc("a", "SendMessage", params).json()["result"]["task"]
        wait_for(hangs.exists)
        began = time.time_ns()
        answer = team.rpc("a", "CancelTask", {"id": task["id"]}).json()["result"]
        assert answer["status"]["state"] == "TASK_STATE_CANCELED"

        def ended(began: int = began) -> list[Span]:
            return [span for span in team.spans() if span["end_ns"] > began]

        wait_for(lambda ended=ended: len(ended()) >= 5)  # nobody sleeps on
        spans = sorted(ended(), key=lambda span: span["start_ns"])
        assert [span["agent"] for span in spans] == ["a", "a", "b", "b", "c"]
        assert {span.attributes["error.type"] for span in spans} <= {"canceled", "cancelled"}
        one.seconds = max(span["end_ns"] - began for span in spans) / 1e9

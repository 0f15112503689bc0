"""`run:` in our own interpreter: every form of function, through a real agent process."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from typing import TYPE_CHECKING, Any

import httpx
import pytest

if TYPE_CHECKING:
    from .conftest import Team

CODE = '''
    import asyncio, os, threading, time
    from teamwright import Answer

    def plain(text):
        """Says it louder.

        And more that nobody reads."""
        return text.upper()

    def with_turn(text, turn):
        return f"{text} {turn.session} {turn.user} {turn.traceparent[:3]} {len(turn.run_id)}"

    def optional(text, times=2):
        return text * times

    def mapping(text):
        return {"length": len(text)}

    def nothing(text):
        pass

    def answer(text):
        return Answer("see", data={"n": 1})

    async def waiting(text, turn):
        await asyncio.sleep(0.01)
        return f"{text} {turn.session}"

    def pieces(text):
        for word in text.split():
            yield word + " "

    async def async_pieces(text):
        for word in text.split():
            yield word + " "

    def broken(text):
        raise ValueError("no such thing\\nand a second line")

    def leaves(text):
        raise SystemExit(3)

    def slow(text):
        while not os.path.exists(text):
            time.sleep(0.02)
        return "slept"

    eight = threading.Barrier(8)

    def meets(text):
        eight.wait(60)
        return "met"

    async def asks(text, turn):
        return await turn.ask_peer("plain", text)

    def asks_and_blocks(text, turn):
        turn.stream("they say: ")
        return "they say: " + turn.ask_peer("plain", text).text

    def alone():
        return "nobody asked"

    class Bot:
        def __call__(self, text):
            return f"called with {text}"

    bot = Bot()
'''
FORMS = {
    "plain": "HELLO",
    "optional": "hellohello",
    "nothing": "",
    "answer": "see",
    "pieces": "hello ",
    "async_pieces": "hello ",
    "bot": "called with hello",
}


@pytest.fixture(scope="module")
def team(tmp_path_factory: pytest.TempPathFactory, new_team: Any) -> Iterator[Team]:
    with closing(new_team(tmp_path_factory.mktemp("functions"))) as team:
        team.write("bots.py", CODE)
        yield team


def start(team: Team, name: str, **more: Any) -> None:
    if name not in team.processes:
        team.start(name, kind="run", run=f"bots:{name}", **more)


@pytest.mark.parametrize(("name", "answer"), FORMS.items())
def test_every_form(team: Team, name: str, answer: str) -> None:
    start(team, name, callers=("front-door", "team/asks", "team/asks_and_blocks"))
    task = team.ask(name, "hello")["task"]
    assert task["status"]["state"] == "TASK_STATE_COMPLETED"
    assert said(task) == answer


def said(task: dict[str, Any]) -> str:
    return "".join(part.get("text", "") for artifact in task["artifacts"] for part in artifact["parts"])


def test_turns_and_data(team: Team) -> None:
    for name in ("with_turn", "waiting", "mapping"):
        start(team, name)
    assert said(team.ask("with_turn", "hi", contextId="c-1")["task"]) == "hi c-1 ann 00- 36"
    assert said(team.ask("waiting", "hi", contextId="c-2")["task"]) == "hi c-2"
    parts = team.ask("mapping", "four")["task"]["artifacts"][0]["parts"]
    assert parts[0]["data"] == {"length": 4}


def test_the_docstring_is_the_description(team: Team) -> None:
    start(team, "plain", callers=("front-door", "team/asks", "team/asks_and_blocks"))
    card = httpx.get(f"{team.url('plain')}/.well-known/agent-card.json", timeout=60).json()
    assert card["description"] == "Says it louder."


@pytest.mark.parametrize(
    ("name", "line"), [("broken", "ValueError: no such thing ("), ("leaves", "it called sys.exit(3) (")]
)
def test_an_exception_is_a_failed_task_with_one_line(team: Team, name: str, line: str) -> None:
    start(team, name)
    task = team.ask(name, "hi")["task"]
    assert task["status"]["state"] == "TASK_STATE_FAILED"
    text = task["status"]["message"]["parts"][0]["text"]
    assert text.startswith(line) and "bots.py:" in text and "\n" not in text
    assert "Traceback" in team.log(name)
    assert team.ask(name, "again")["task"]["status"]["state"] == "TASK_STATE_FAILED"


def test_peers_from_async_and_blocking_code_in_one_trace(team: Team) -> None:
    start(team, "plain", callers=("front-door", "team/asks", "team/asks_and_blocks"))
    for name in ("asks", "asks_and_blocks"):
        start(team, name, calls=("plain",))
    assert said(team.ask("asks", "hello")["task"]) == "HELLO"
    assert said(team.ask("asks_and_blocks", "hello")["task"]) == "they say: HELLO"
    for name in ("asks", "asks_and_blocks"):
        server, client = (next(s for s in team.spans(name) if s["kind"] == kind) for kind in (2, 3))
        assert client["parent_id"] == server["span_id"]
        assert [span for span in team.spans("plain") if span["parent_id"] == client["span_id"]]


def test_cancelling_a_blocking_function_answers_at_once(team: Team) -> None:
    start(team, "slow")
    over = team.folder / "over"
    sent: dict[str, Any] = {"message": {"messageId": "m", "role": "ROLE_USER", "parts": [{"text": str(over)}]}}
    sent["configuration"] = {"returnImmediately": True}
    task = team.rpc("slow", "SendMessage", sent).json()["result"]["task"]
    ended = team.rpc("slow", "CancelTask", {"id": task["id"]}).json()["result"]
    assert ended["status"]["state"] == "TASK_STATE_CANCELED"
    over.touch()  # and not when it has slept
    start(team, "meets")
    with ThreadPoolExecutor(8) as pool:  # threads do not stand in each other's way
        assert {said(one["task"]) for one in pool.map(lambda _: team.ask("meets", "hello"), range(8))} == {"met"}


@pytest.mark.parametrize(
    ("reference", "line"),
    [
        ("nowhere:f", "no module 'nowhere'"),
        ("bots:plane", "bots has no 'plane' (did you mean 'plain'?)"),
        ("bots:CONSTANT", "bots has no 'CONSTANT'"),
        ("bots:os", "bots:os is not a function"),
        ("bad:f", "importing bad failed: ZeroDivisionError"),
        ("bots:alone", "bots:alone can't be called with (text) or (text, turn)"),
    ],
)
def test_what_cannot_be_loaded_is_one_line(team: Team, reference: str, line: str) -> None:
    team.write("bad.py", "1 / 0")
    agent = f"x{abs(hash(reference))}"
    team.launch(agent, kind="run", run=reference)
    assert team.processes.pop(agent).wait(timeout=120) == 2
    assert f"can't start: {line}" in team.log(agent)

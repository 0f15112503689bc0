"""`python:` and `script:`: the user's code in processes of its own, through a real agent process."""

from __future__ import annotations

import json
import os
import signal
import sys
import time
from base64 import b64decode, b64encode
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from teamwright.agents.own_code import worker
from teamwright.tracing import logs
from tests.agents.conftest import tries, wait_for

if TYPE_CHECKING:
    from .conftest import Team

#: The oldest Python that is here, by preference; ours, kept from our packages, where there is none.
OTHERS = sorted(Path.home().glob(".pyenv/versions/3.8*/bin/python3")) or [Path(sys.executable)]

CODE = """
    import asyncio, json, logging, os, subprocess, sys, threading, time

    print("imported by", sys.version_info[:2])
    logging.warning("while importing")
    here = sys.version_info[:2]

    def answer(text, turn):
        word, _, rest = text.partition(" ")
        if word == "python":
            try:
                import teamwright
                return "teamwright is here"
            except ImportError:
                return "no teamwright in %d.%d" % here
        if word == "turn":
            return json.dumps([turn.text, turn.session, turn.user, turn.traceparent, turn.run_id])
        if word == "log":
            logging.getLogger("some.library").info("looked at %s", rest)
            thread = threading.Thread(target=logging.getLogger("other").warning, args=("from a thread",))
            thread.start()
            thread.join()
            return json.dumps([turn.run_id, turn.traceparent.split("-")[1]])
        if word == "print":
            print("x" * 200000)
            os.write(1, b"raw on one\\n")
            sys.stderr.write("on stderr\\n")
            return "printed"
        if word == "sleep":
            time.sleep(float(rest))
            return "slept"
        if word == "children":
            for detached in (False, True):
                subprocess.Popen(["sleep", "1000"], start_new_session=detached)
            subprocess.Popen("(setsid sleep 1000 &) ; sleep 1000", shell=True)
            open(rest, "w").write("started")
            time.sleep(100)
        if word == "deaf":
            open(rest, "w").write("started")
            while True:
                try:
                    time.sleep(100)
                except BaseException:
                    pass
        if word == "tidy":
            try:
                open(rest, "w").write("started")
                time.sleep(100)
            finally:
                open(rest, "a").write(" and tidied")
        if word == "fail":
            raise KeyError("it broke")
        if word == "die":
            os.kill(os.getpid(), 9)
        if word == "exit":
            sys.exit(4)
        if word == "data":
            return {"n": 1, 2: object}
        if word == "ask":
            return "they say " + turn.ask_peer("friend", rest)
        if word == "ask-nobody":
            try:
                turn.ask_peer("nobody", rest)
            except Exception as error:
                return "%s: %s" % (error.reason, error)
        if word == "find":
            try:
                turn.find_agents(rest)
            except Exception as error:
                return "%s: %s" % (error.reason, error)
        if word == "stream":
            for piece in rest.split():
                turn.stream(piece)
            return rest.replace(" ", "")
        if word == "files":
            for file in turn.files:
                turn.attach("copy of " + file.name, file.data or file.uri)
            return json.dumps([[file.name, file.media_type, len(file.data or ""), file.uri] for file in turn.files])
        if word == "pass-on":
            reply = turn.ask_peer("keeper", "files", files=turn.files)
            return "%s, %s" % (reply, [(file.name, file.data) for file in reply.files])
        if word == "too-much":
            turn.attach("big.bin", b"x" * 20_000_001)
        return "%s from %d" % (text, os.getpid())

    async def slowly(text, turn):
        word, _, rest = text.partition(" ")
        if word == "attach":
            turn.attach("note.txt", "written")
            return {"n": 1}
        if word == "wait":
            try:
                open(rest, "w").write("started")
                await asyncio.sleep(100)
            finally:
                open(rest, "a").write(" and tidied")
        answers = await asyncio.gather(*(turn.ask_peer("friend", one) for one in text.split()))
        return ", ".join(answers)

    async def pieces(text):
        for word in text.split():
            yield word
            await asyncio.sleep(0.01)

    def lines(text):
        for word in text.split():
            yield word
"""
KEEPER = """
    def keep(text, turn):
        "The same in our own interpreter."
        for file in turn.files:
            turn.attach("kept " + file.name, file.data or file.uri, "text/x-kept")
        return f"kept {len(turn.files)}"
"""
SCRIPT = """
import os, subprocess, sys, time
text = sys.stdin.read() or " ".join(sys.argv[1:])
word, _, rest = text.partition(" ")
if word == "environment":
    print(*(os.environ[name] for name in ("TEAMWRIGHT_SESSION", "TEAMWRIGHT_RUN_ID", "TEAMWRIGHT_USER", "TRACEPARENT")))
elif word == "fail":
    print("half an answer")
    print("first\\nlast words", file=sys.stderr)
    sys.exit(3)
elif word == "children":
    subprocess.Popen(["setsid", "sleep", "1000"])
    subprocess.Popen(["sleep", "1000"])
    open(rest, "w").write("started")
    time.sleep(100)
elif word == "leave":
    subprocess.Popen(["sleep", "1000"])
    print("left")
elif word == "much":
    for _ in range(20):
        print("x" * 1_000_000)
elif word == "files":
    came, goes = os.environ["TEAMWRIGHT_FILES"], os.environ["TEAMWRIGHT_ANSWER_FILES"]
    for name in sorted(os.listdir(came)):
        with open(os.path.join(came, name), "rb") as file:
            print(name, file.read()[:20])
    if rest:
        with open(os.path.join(goes, "sum.csv"), "w") as file:
            file.write("a,b")
        os.symlink("/etc/passwd", os.path.join(goes, "link"))
    print(os.path.dirname(came))
elif word == "fill":
    for number in range(101):
        open(os.path.join(os.environ["TEAMWRIGHT_ANSWER_FILES"], str(number)), "w").close()
elif word == "umlauts":
    sys.stdout.buffer.write("\\u00e4\\u00f6\\u00fc\\u20ac".encode() * 50_000)
else:
    print(text.upper(), "by", sys.version_info[1])
    print()
"""


@pytest.fixture(scope="module")
def team(tmp_path_factory: pytest.TempPathFactory, new_team: Any) -> Iterator[Team]:
    with closing(new_team(tmp_path_factory.mktemp("interpreters"))) as team:
        team.write("bot.py", CODE)
        (team.folder / "script.py").write_text(SCRIPT)
        own: dict[str, Any] = {"kind": "run", "python": str(OTHERS[0]), "calls": ("friend", "keeper")}
        team.launch("bot", run="bot:answer", max_concurrent=3, **own)
        team.launch("slowly", run="bot:slowly", **own)
        team.launch("friend", callers=("team/bot", "team/slowly"))
        team.write("keeper.py", KEEPER)
        team.launch("keeper", kind="run", run="keeper:keep", callers=("front-door", "team/bot"))
        team.launch("script", kind="script", script=("python", "script.py"))
        team.launch("brief", kind="script", script=("python", "script.py"), limits={"duration": 2.0})
        team.launch("placed", kind="script", script=("script.py", "{text}"), python=str(OTHERS[0]))
        for agent in team.processes:
            ready(team, agent)
        yield team


def ready(team: Team, agent: str) -> None:
    import httpx

    httpx.get(f"{team.url(agent)}/readyz", timeout=180).raise_for_status()


def said(result: dict[str, Any]) -> str:
    task = result["task"]
    assert task["status"]["state"] == "TASK_STATE_COMPLETED", task
    return "".join(part.get("text", "") for artifact in task["artifacts"] for part in artifact["parts"])


def failure(result: dict[str, Any]) -> str:
    task = result["task"]
    assert task["status"]["state"] == "TASK_STATE_FAILED", task
    return str(task["status"]["message"]["parts"][0]["text"])


def begin(team: Team, agent: str, text: str, started: Path) -> str:
    """Send a message, wait until its work has written `started`, and give the task's id."""
    message = {"messageId": text, "role": "ROLE_USER", "parts": [{"text": f"{text} {started}"}]}
    params = {"message": message, "configuration": {"returnImmediately": True}}
    task: str = team.rpc(agent, "SendMessage", params).json()["result"]["task"]["id"]
    wait_for(lambda: started.exists() and started.read_text())
    return task


def cancel(team: Team, agent: str, task: str) -> float:
    """Cancel a task; the seconds it took."""
    began = time.monotonic()
    ended = team.rpc(agent, "CancelTask", {"id": task}).json()["result"]
    assert ended["status"]["state"] == "TASK_STATE_CANCELED"
    return time.monotonic() - began


def below(team: Team, *, among: str = "sleep") -> list[int]:
    """Living processes called `among` that work in the team's folder."""
    found = []
    for entry in Path("/proc").glob("[0-9]*"):
        try:
            if (entry / "comm").read_text().strip() == among and (entry / "cwd").readlink() == team.folder:
                found.append(int(entry.name))
        except OSError:
            continue
    return found


def test_another_interpreter(team: Team) -> None:
    version = said(team.ask("bot", "python"))
    if "3.8" in str(OTHERS[0]):
        assert version == "no teamwright in 3.8"
    session, user = "c-1", "ann"
    text, *rest = __import__("json").loads(said(team.ask("bot", "turn", contextId=session)))
    assert (text, *rest[:2]) == ("turn", session, user)
    server = team.spans("bot")[-1]
    assert rest[2] == f"00-{server['trace_id']}-{server['span_id']}-01"
    assert len(rest[3]) == 36


def test_what_it_prints_is_in_the_log_and_nowhere_else(team: Team) -> None:
    assert said(team.ask("bot", "print")) == "printed"
    assert "raw on one" in team.log("bot") and "on stderr" in team.log("bot")


def test_log_lines_say_their_run_and_trace(team: Team) -> None:
    assert worker.LOG_FORMAT == logs.FORMAT
    run, trace = json.loads(said(team.ask("bot", "log whales")))
    log = team.log("bot")
    assert f"INFO [run={run} trace={trace}] some.library: looked at whales" in log
    assert f"WARNING [run={run} trace={trace}] other: from a thread" in log
    assert "WARNING [run=- trace=-] root: while importing" in log


def test_answers_and_failures(team: Team) -> None:
    assert said(team.ask("bot", "stream a b c")) == "abc"
    parts = team.ask("bot", "data")["task"]["artifacts"][0]["parts"]
    assert parts[0]["data"] == {"n": 1, "2": "<class 'object'>"}
    assert failure(team.ask("bot", "fail")).startswith("KeyError: 'it broke' (")
    assert failure(team.ask("bot", "exit")).startswith("it called sys.exit(4)")
    assert said(team.ask("bot", "hello")).startswith("hello from")


def test_a_killed_worker_fails_its_message_and_is_replaced(team: Team) -> None:
    assert failure(team.ask("bot", "die")) == "its process ended with signal 9 in the middle of a message"
    assert said(team.ask("bot", "hello")).startswith("hello from")


def test_several_at_once_and_one_after_the_other(team: Team) -> None:
    with ThreadPoolExecutor(3) as pool:
        assert [said(one) for one in pool.map(lambda _: team.ask("bot", "sleep 0.3"), range(3))] == ["slept"] * 3
    assert said(team.ask("bot", "a")).partition("from")[2] == said(team.ask("bot", "b")).partition("from")[2]


def test_peers(team: Team) -> None:
    assert "friend got: hello" in said(team.ask("bot", "ask hello"))
    assert said(team.ask("bot", "ask-nobody x")).startswith("unknown_peer: there is no agent 'nobody'")
    assert said(team.ask("bot", "find weather")).startswith("forbidden: this agent finds nobody")
    assert said(team.ask("slowly", "one two")).count("friend got") == 2
    client = next(span for span in team.spans("bot") if span["kind"] == 3)
    assert [span for span in team.spans("friend") if span["parent_id"] == client["span_id"]]


@pytest.mark.parametrize(("agent", "word"), [("bot", "children"), ("bot", "deaf"), ("script", "children")])
def test_cancelling_ends_the_whole_tree(team: Team, agent: str, word: str, tmp_path: Path) -> None:
    for one in tries(0.3):
        task = begin(team, agent, word, tmp_path / f"started-{one.number}")
        one.seconds = cancel(team, agent, task)
        wait_for(lambda: not below(team))
    said(team.ask(agent, "and now?"))


@pytest.mark.parametrize(("agent", "word"), [("bot", "tidy"), ("slowly", "wait")])
def test_a_cancelled_function_may_tidy_up(team: Team, agent: str, word: str, tmp_path: Path) -> None:
    for one in tries(0.3):
        file = tmp_path / f"started-{one.number}"
        one.seconds = cancel(team, agent, begin(team, agent, word, file))
        wait_for(lambda file=file: file.read_text() == "started and tidied")


def test_scripts(team: Team) -> None:
    assert said(team.ask("script", "hello")) == f"HELLO by {sys.version_info[1]}"
    words = said(team.ask("script", "environment", contextId="c-9")).split()
    server = team.spans("script")[-1]
    assert (words[0], words[2]) == ("c-9", "ann")
    assert words[3] == f"00-{server['trace_id']}-{server['span_id']}-01"
    assert failure(team.ask("script", "fail")) == "script.py ended with exit code 3: first\nlast words"
    assert "stderr: last words" in team.log("script")
    assert len(said(team.ask("script", "umlauts"))) == 200_000
    assert failure(team.ask("script", "much")) == "it wrote more than 16 MB"
    assert said(team.ask("script", "leave")) == "left"
    assert not below(team)
    if "3.8" in str(OTHERS[0]):
        assert said(team.ask("placed", "hi ho")) == "HI HO by 8"


FILES = [
    {"raw": b64encode(b"one").decode(), "filename": "a.txt", "mediaType": "text/plain"},
    {"raw": b64encode(b"two").decode(), "filename": "../../a.txt", "mediaType": "text/plain"},
    {"url": "https://example.com/b.pdf", "filename": "b.pdf", "mediaType": "application/pdf"},
]


def with_files(team: Team, agent: str, text: str) -> dict[str, Any]:
    """The answer to a text and three files."""
    result = team.ask(agent, text, parts=[{"text": text}, *FILES])
    parts = [part for artifact in result["task"].get("artifacts", ()) for part in artifact["parts"]]
    return {
        "text": "".join(part.get("text", "") for part in parts),
        "files": [(part["filename"], part["mediaType"], b64decode(part["raw"])) for part in parts if "raw" in part],
        "data": next((part["data"] for part in parts if "data" in part), None),
    }


def test_files_of_a_message_reach_a_function_and_go_back(team: Team) -> None:
    got = with_files(team, "bot", "files")
    assert json.loads(got["text"]) == [
        ["a.txt", "text/plain", 3, None],
        ["../../a.txt", "text/plain", 3, None],
        ["b.pdf", "application/pdf", 0, "https://example.com/b.pdf"],
    ]
    assert got["files"] == [
        ("copy of a.txt", "text/plain", b"one"),
        ("copy of ../../a.txt", "text/plain", b"two"),
        ("copy of b.pdf", "application/pdf", b"https://example.com/b.pdf"),
    ]
    here = with_files(team, "keeper", "files")
    assert here["text"] == "kept 3"
    assert here["files"][0] == ("kept a.txt", "text/x-kept", b"one")
    passed = with_files(team, "bot", "pass-on")["text"]
    assert passed.startswith("kept 3, [('kept a.txt', b'one')")
    asked = with_files(team, "slowly", "attach")
    assert (asked["data"], asked["files"]) == ({"n": 1}, [("note.txt", "text/plain", b"written")])
    assert "files of one answer are larger than 20 MB" in failure(team.ask("bot", "too-much"))


def test_files_of_a_message_lie_in_a_folder_of_the_script(team: Team) -> None:
    got = with_files(team, "script", "files back")
    *lines, folder = got["text"].splitlines()
    assert lines == ["a-2.txt b'two'", "a.txt b'one'", "b.pdf.url b'https://example.com/'"]
    assert got["files"] == [("sum.csv", "text/csv", b"a,b")]
    assert not Path(folder).exists()
    assert "link does not go out" in team.log("script")
    assert said(team.ask("script", "files")).startswith("/")  # an empty folder where none came
    assert failure(team.ask("script", "fill")) == "it left more than 100 files for the answer"


def test_the_deadline_reaches_a_script(team: Team, tmp_path: Path) -> None:
    assert "limit duration" in failure(team.ask("brief", f"children {tmp_path / 'started'}"))  # it would sleep on
    wait_for(lambda: not below(team))


def test_the_agents_end_is_the_end_of_its_workers(team: Team, tmp_path: Path) -> None:
    for number in (signal.SIGTERM, signal.SIGKILL):
        name = f"mortal{number}"
        team.start(name, kind="run", run="bot:answer", python=str(OTHERS[0]))
        pid = int(said(team.ask(name, "hello")).rpartition(" ")[2])
        os.kill(pid, 0)
        team.stop(name, number)
        wait_for(lambda pid=pid: not Path(f"/proc/{pid}").exists())


@pytest.mark.parametrize(
    ("more", "line"),
    [
        ({"run": "bot:answer", "python": "/nowhere/python"}, "python: /nowhere/python can't be run"),
        ({"run": "bot:answer", "python": "/bin/false"}, "python: /bin/false ended with exit code 1 before"),
        ({"run": "nowhere:answer", "python": str(OTHERS[0])}, "no module 'nowhere' for "),
        ({"run": "bot:nothing", "python": str(OTHERS[0])}, "bot has no 'nothing'"),
        ({"kind": "script", "script": ("nowhere",)}, "script: nowhere is not there"),
        ({"kind": "script", "script": ("python", "no.py")}, "script: no file "),
        ({"kind": "script", "script": ("script.py",)}, "script: script.py is not there, or can't be run (write"),
    ],
)
def test_what_cannot_be_started_is_one_line(team: Team, more: dict[str, Any], line: str) -> None:
    agent = f"x{abs(hash(str(more)))}"
    team.launch(agent, **{"kind": "run", **more})
    assert team.processes.pop(agent).wait(timeout=120) == 2
    assert f"can't start: {line}" in team.log(agent)

"""The Python client: a team started and asked from a program, which leaves nothing behind however it ends."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

import teamwright
from teamwright import File, Job, JobFileError, QueryFailed, QueryTimeout, StartFailed, UserError
from tests.standins.mixed_team import DRAFT, QUESTION

if TYPE_CHECKING:
    from tests.system.conftest import Deploy

TEAM = """
job: {name: helpers}
agents:
  - {id: echo, run: "mine:echo"}
  - {id: slow, run: "mine:slow"}
  - {id: ask, run: "mine:ask"}
  - {id: files, run: "mine:files"}
  - {id: bad, run: "mine:bad"}
  - {id: words, run: "mine:words"}
execution: {entry_point: echo}
topology: {type: hub-spoke, hub: echo, spokes: [slow, ask, files, bad, words]}
"""
SMALL = """
job: {name: helpers}
agents: [{id: echo, run: "mine:echo", calls: [slow]}, {id: slow, run: "mine:slow"}]
"""
CODE = """
import asyncio
from pathlib import Path
from teamwright import Answer, File

async def echo(text, turn):
    return f"{len(turn.history) // 2}:{turn.user or '-'}:{text}"

async def slow(text, turn):
    Path("began").write_text(text)
    try:
        await asyncio.sleep(600)
    except asyncio.CancelledError:
        Path("cancelled").write_text(text)
        raise

async def ask(text, turn):
    return f"hello {await turn.ask_user('Who are you?')}"

async def files(text, turn):
    return Answer("here", files=[File("copy.txt", "text/plain", turn.files[0].data.upper())])

async def bad(text, turn):
    raise RuntimeError("no luck today")

async def words(text, turn):
    for word in ("one ", "two ", "three"):
        yield word
"""


@pytest.fixture(scope="module")
def team(shared_deploy: Deploy) -> Path:
    folder = Path(shared_deploy.environment["HOME"])
    (folder / "mine.py").write_text(CODE)
    (folder / "team.yaml").write_text(TEAM)
    return folder / "team.yaml"


@pytest.fixture(scope="module")
def job(shared_deploy: Deploy, team: Path) -> Iterator[Job]:
    with teamwright.start(team, home=shared_deploy.home, environ=shared_deploy.environment, port=0) as job:
        yield job
        assert shared_deploy("ps", "helpers", "--json").ok().json["status"] == "running"
    assert shared_deploy.processes() == []
    assert shared_deploy("ps", "helpers", "--json").ok().json["status"] == "stopped"


def test_a_query_and_its_trace(job: Job) -> None:
    reply = job.query("Good morning", user="ann", labels={"branch": "main"})
    assert (reply.ok, reply.answer, reply.agent, reply.state) == (True, "0:ann:Good morning", "echo", "completed")
    assert reply.usage.tokens == 0 and reply.usage.cost_usd == 0 and not reply.usage.partial
    trace = reply.trace
    assert trace.complete and trace.status == "ok" and trace.agents == ("echo",) and trace.errors == ()
    assert [span.name for span in trace.named("invoke_workflow")] == ["invoke_workflow helpers"]
    assert trace.spans[0].duration_ms and trace.shown["summary"]["labels"] == {"branch": "main"}
    assert "Q: Good morning" in str(trace) and trace is reply.trace
    assert job.trace(trace.trace_id[:12]) == trace
    assert job.view()["status"] == "running" and job.replies[-1] is reply


def test_pieces(job: Job) -> None:
    stream = job.stream("go", agent="words")
    with pytest.raises(teamwright.UserError, match="not whole yet"):
        _ = stream.reply
    pieces = list(stream)
    assert "".join(pieces) == stream.reply.answer == "one two three" and len(pieces) >= 2


def test_sessions(job: Job) -> None:
    chat = job.session(user="bob")
    assert chat.query("a").answer == "0:bob:a"
    assert "".join(chat.stream("b")) == "1:bob:b"
    assert job.query("c", session=chat.id, user="bob").answer == "2:bob:c"
    assert chat.id in [each.session for each in job.sessions()]
    chat.delete()
    assert chat.id not in [each.session for each in job.sessions()]


def test_a_question_back(job: Job) -> None:
    chat = job.session(agent="ask")
    asked = chat.query("hi")
    assert asked.asks and asked.answer == "Who are you?"
    assert chat.query("Ada").answer == "hello Ada"
    again = job.query("hi", agent="ask")
    assert job.query("Bob", agent="ask", reply_to=again).answer == "hello Bob"


def test_files(job: Job, tmp_path: Path) -> None:
    (tmp_path / "note.txt").write_text("words")
    reply = job.query("take", agent="files", files=[tmp_path / "note.txt"])
    assert [(file.name, file.data) for file in reply.files] == [("copy.txt", b"WORDS")]
    assert [path.read_text() for path in reply.save(tmp_path / "out")] == ["WORDS"]
    assert job.query("take", agent="files", files=[File("a", "text/plain", b"b")]).files[0].data == b"B"
    with pytest.raises(teamwright.UserError, match=r"nothing\.txt: no such file"):
        job.query("take", agent="files", files=[tmp_path / "nothing.txt"])


def test_errors_are_typed(job: Job, team: Path, shared_deploy: Deploy) -> None:
    with pytest.raises(QueryFailed, match="no luck today") as failed:
        job.query("x", agent="bad")
    assert failed.value.hint == f"deploy trace show {failed.value.reply.trace_id[:8]}"
    assert failed.value.reply.trace.errors and failed.value.reason == "code_failed"
    assert job.query("x", agent="bad", check=False).ok is False
    with pytest.raises(teamwright.UnknownJob, match="no agent 'ehco'"):
        job.query("x", agent="ehco")
    with pytest.raises(teamwright.UserError, match="empty"):
        job.query(" ")
    home, environ = shared_deploy.home, shared_deploy.environment
    with pytest.raises(teamwright.UnknownJob, match="helprs"), teamwright.connect("helprs", home=home, environ=environ):
        pass
    with (
        pytest.raises(JobFileError, match="no slwo in mine"),
        teamwright.start(team, set={"agents.slow.run": "mine:slwo"}, name="other", home=home, environ=environ),
    ):
        pass
    (team.parent / "mute.py").write_text("import sys; print('no licence'); sys.exit(3)")
    mute = {"agents.slow": {"id": "slow", "command": [sys.executable, "mute.py"]}}
    with (
        pytest.raises(StartFailed, match="slow") as refused,
        teamwright.start(team, set=mute, name="other", home=home, environ=environ),
    ):
        pass
    assert any("no licence" in line for line in refused.value.tail)


def test_a_deadline_cancels_the_work(job: Job, team: Path) -> None:
    with pytest.raises(QueryTimeout, match=r"within 3 s"):
        job.query("late", agent="slow", timeout=3)
    runs = [job.trace()]
    assert runs[0].shown["summary"]["query"] == "late"
    _wait_for(team.parent / "cancelled")


def _wait_for(file: Path) -> None:
    _until(file.exists)


def _until(true: Callable[[], bool]) -> None:
    until = time.monotonic() + 60
    while not true():
        assert time.monotonic() < until
        time.sleep(0.02)


async def test_asyncio(job: Job, shared_deploy: Deploy, team: Path) -> None:
    home, environ = shared_deploy.home, shared_deploy.environment
    async with teamwright.connect("helpers", home=home, environ=environ) as mine:
        replies = await asyncio.gather(*(mine.query(f"q{number}") for number in range(5)))
        assert [reply.answer for reply in replies] == [f"0:operator:q{number}" for number in range(5)]
        stream = mine.stream("go", agent="words")
        assert "".join([piece async for piece in stream]) == stream.reply.answer
        chat = mine.session()
        await chat.query("a")
        assert (await chat.query("b")).answer == "1:operator:b"
        await chat.delete()
        (team.parent / "began").unlink(missing_ok=True)
        (team.parent / "cancelled").unlink(missing_ok=True)
        waiting = asyncio.create_task(mine.query("never", agent="slow"))
        await asyncio.to_thread(_wait_for, team.parent / "began")
        waiting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await waiting
        assert "lead" not in await mine.logs("echo") and (await mine.view())["status"] == "running"
    await asyncio.to_thread(_wait_for, team.parent / "cancelled")
    assert job.view()["status"] == "running"  # connect() lets it run on


async def test_a_cancelled_start(shared_deploy: Deploy, job: Job, team: Path) -> None:
    (team.parent / "mute.py").write_text("import time; time.sleep(600)")
    never = {"id": "slow", "command": [sys.executable, "mute.py"]}

    async def begin() -> None:
        async with teamwright.start(
            team, set={"agents.slow": never}, name="third", home=shared_deploy.home, environ=shared_deploy.environment
        ):
            raise AssertionError("it can't be up")

    task = asyncio.create_task(begin())
    await asyncio.to_thread(_until, lambda: _statuses(job).get("third") == "starting")
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    await asyncio.to_thread(_until, lambda: _statuses(job)["third"] in ("stopped", "failed"))


def _statuses(job: Job) -> dict[str, str]:
    return {view["job"]: view["status"] for view in job._held.client.jobs()}


PROGRAM = """
import os, sys, teamwright
with teamwright.start("team.yaml", port=0) as job:
    print("up", flush=True)
    match sys.argv[1]:
        case "raise": raise RuntimeError("mine")
        case "query": job.query("x", agent="slow")
        case "wait": sys.stdin.read()
        case "open":
            other = teamwright.start("team.yaml", name="second").open()
            print(other.query("still here").answer, flush=True)
            os._exit(0)
"""


@pytest.mark.parametrize(
    ("how", "sign", "code"),
    [("raise", None, 1), ("query", signal.SIGINT, -signal.SIGINT), ("query", signal.SIGKILL, -9), ("open", None, 0)],
    ids=["exception", "ctrl-c", "kill -9", "exit without closing"],
)
def test_nothing_stays_behind(deploy: Deploy, how: str, sign: int | None, code: int) -> None:
    folder = deploy.home.parent / "work"
    folder.mkdir()
    (folder / "mine.py").write_text(CODE)
    (folder / "team.yaml").write_text(SMALL)
    with subprocess.Popen(
        [sys.executable, "-W", "error", "-c", PROGRAM, how],
        cwd=folder,
        env=deploy.environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as program:
        assert program.stdout is not None
        assert program.stdout.readline() == "up\n", program.communicate()
        if sign is not None:
            _wait_for(folder / "began")
            os.kill(program.pid, sign)
        out, err = program.communicate(timeout=60)
    assert program.returncode == code, err
    if how == "raise":
        assert err.count("Traceback") == 1 and "RuntimeError: mine" in err
    if how == "open":
        assert "still here" in out
    deploy.nothing_left(patience=60)


def test_an_owner_outlives_an_engine(deploy: Deploy) -> None:
    """The engine is killed and comes back: it still knows whose job it is."""
    folder = deploy.home.parent / "work"
    folder.mkdir()
    (folder / "mine.py").write_text(CODE)
    (folder / "team.yaml").write_text(SMALL)
    deploy("engine", "start", "--port", "0").ok()
    with subprocess.Popen(
        [sys.executable, "-c", PROGRAM, "query"],
        cwd=folder, env=deploy.environment, stdout=subprocess.PIPE, text=True,
    ) as program:  # fmt: skip
        assert program.stdout is not None and program.stdout.readline() == "up\n"
        _wait_for(folder / "began")
        engine = deploy("engine", "status", "--json").ok().json["processes"]["engine"]
        os.kill(engine, signal.SIGKILL)
        _until(lambda: deploy("engine", "status", "--json").json.get("processes", {}).get("engine", engine) != engine)
        program.kill()
    _until(lambda: deploy("ps", "helpers", "--json").ok().json["status"] == "stopped")
    deploy("engine", "stop").ok()


def test_an_owner_outlives_a_restart(deploy: Deploy) -> None:
    """Somebody restarts the job at the command line: it still ends with its program."""
    folder = deploy.home.parent / "work"
    folder.mkdir()
    (folder / "mine.py").write_text(CODE)
    (folder / "team.yaml").write_text(SMALL)
    deploy("engine", "start", "--port", "0").ok()
    with subprocess.Popen(
        [sys.executable, "-c", PROGRAM, "wait"],
        cwd=folder, env=deploy.environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
    ) as program:  # fmt: skip
        assert program.stdout is not None and program.stdout.readline() == "up\n"
        deploy("restart", "helpers").ok()
        assert deploy("ps", "helpers", "--json").ok().json["status"] == "running"
        program.kill()
    _until(lambda: deploy("ps", "helpers", "--json").ok().json["status"] == "stopped")
    deploy("engine", "stop").ok()


def test_a_recording_answers_without_keys(deploy: Deploy) -> None:
    """`replay=` as --replay: four vendors' models in a test of one's own; another question is one line."""
    mixed, recording = "examples/jobs/mixed-providers.yaml", "examples/recordings/mixed-providers-stand-in"
    with teamwright.start(mixed, home=deploy.home, environ=deploy.environment, port=0, replay=recording) as job:
        reply = job.query(QUESTION)
        assert (reply.answer, reply.usage.cost_usd, reply.usage.tool_calls) == (DRAFT, 0, 5)
        chats = [span for span in reply.trace.spans if span.name.startswith("chat ")]
        assert len(chats) == 9 and all("teamwright.replay" in span.attributes for span in chats)
        with pytest.raises(
            QueryFailed, match="replay drifted: agent coordinator, exchange 1, text: recorded"
        ) as failed:
            job.query("Something else?")
        assert failed.value.reason == "replay_drifted"
    with (
        pytest.raises(UserError, match="--replay: there is no folder"),
        teamwright.start(mixed, home=deploy.home, environ=deploy.environment, port=0, replay="nowhere"),
    ):
        pass
    deploy.nothing_left(patience=60)

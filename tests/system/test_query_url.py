"""`query URL`: agents that are not ours, of both versions of A2A and over both bindings, and our own front door."""

from __future__ import annotations

import json
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from tests.system.conftest import Deploy

SERVER = Path(__file__).parent / "team" / "plain.py"
TOKEN = ("--token", "open-sesame")
WAYS = [(version, binding) for version in ("1.0", "0.3") for binding in ("JSONRPC", "HTTP+JSON")]


@contextmanager
def serving(version: str) -> Iterator[str]:
    with subprocess.Popen([sys.executable, SERVER, version], stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            yield process.stdout.readline().strip()
        finally:
            process.kill()


@pytest.fixture(scope="module")
def plain() -> Iterator[str]:
    """A server of both versions."""
    with serving("both") as address:
        yield address


@pytest.mark.parametrize(("version", "binding"), WAYS)
def test_all_four_ways(plain: str, shared_deploy: Deploy, version: str, binding: str, tmp_path: Path) -> None:
    chosen = ("--a2a", version, "--binding", binding)
    done = shared_deploy("query", plain, "hello", *chosen, *TOKEN, "--json").ok()
    found = done.json
    assert (found["answer"], found["status"], found["state"]) == ("you said hello", "ok", "completed")
    assert found["negotiated"] == {
        "agent": "Plain [31magent", "url": plain, "binding": binding, "version": version, "streaming": True,
    }  # fmt: skip
    assert found["job"] is None and found["usage"]["input_tokens"] is None and found["session"]
    (tmp_path / "note.txt").write_text("words")
    sent = shared_deploy(
        "query", plain, "file", "--file", tmp_path / "note.txt", "--out", tmp_path / "out", *chosen, *TOKEN
    ).ok()
    assert sent.out == "here\n" and (tmp_path / "out" / "note.txt").read_text() == "words"
    asked = shared_deploy("query", plain, "ask", *chosen, *TOKEN, "--json").ok().json
    assert (asked["state"], asked["answer"]) == ("input_required", "Which one?")
    back = shared_deploy(
        "query", plain, "that", "--task", asked["task_id"], "--session", asked["session"], *chosen, *TOKEN
    ).ok()
    assert back.out == "you said that\n"


def test_the_newest_version_is_taken(plain: str, shared_deploy: Deploy) -> None:
    done = shared_deploy("query", plain + "/", "hello", *TOKEN, "--user", "ann").ok()
    assert done.out == "you said hello\n"
    assert f"-- Plain [31magent at {plain}: A2A 1.0 over JSONRPC, streaming" in done.err and "\x1b" not in done.err
    assert "takes no labels and users" in done.err


def test_a_server_of_version_0_3(shared_deploy: Deploy) -> None:
    with serving("0.3") as address:
        done = shared_deploy("query", address, "hello", *TOKEN).ok()
        assert done.out == "you said hello\n" and "A2A 0.3 over JSONRPC" in done.err
        wrong = shared_deploy("query", address, "hello", "--a2a", "1.0")
        assert wrong.code == 1
        assert "offers A2A 0.3 over JSONRPC, 0.3 over HTTP+JSON; this command speaks 1.0 over" in wrong.err


@pytest.mark.parametrize(
    ("address", "options", "code", "words"),
    [
        ("{plain}", (), 1, "refuses the caller (HTTP 401)"),
        ("{plain}/nothing", (), 1, "there is no card at {plain}/nothing/.well-known/agent-card.json (HTTP 404)"),
        ("{plain}/huge", (), 1, "is larger than 1 MB"),
        ("{plain}/future", (), 1, "offers A2A 2.0 over JSONRPC; this command speaks 1.0 and 0.3"),
        ("{plain}/away", (), 1, "sends callers to http://169.254.169.254/, which is not where it came from"),
        ("{plain}", ("--timeout", "3", *TOKEN), 1, "did not answer in time"),
        ("http://127.0.0.1:{free}", (), 1, "can't be reached"),
        ("ftp://127.0.0.1", (), 2, "is not the address of an agent"),
        ("http://127.0.0.1:99999", (), 2, "is not the address of an agent"),
        ("{plain}", ("--keep",), 2, "--keep is for jobs"),
        ("{plain}", ("--token", "a b"), 2, "not a bearer token"),
        ("hello", ("--token", "x"), 2, "--token is for an agent at a URL"),
    ],
)
def test_one_clear_line(
    plain: str, shared_deploy: Deploy, address: str, options: tuple[str, ...], code: int, words: str
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        free = taken.getsockname()[1]
    done = shared_deploy("query", address.format(plain=plain, free=free), "slow", *options)
    assert done.code == code, done
    errors = [line for line in done.err.splitlines() if line.startswith("error: ")]
    assert len(errors) == 1 and words.format(plain=plain) in errors[0], done
    assert "Traceback" not in done.err and done.out == ""
    if not words.startswith(("refuses", "--keep")):
        return
    told = shared_deploy("query", address.format(plain=plain, free=free), "slow", "--json", *options)
    assert told.code == code and told.json["error"]["message"] == errors[0].removeprefix("error: ")


def test_a_server_that_hangs_or_talks_nonsense(shared_deploy: Deploy) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        address = f"http://127.0.0.1:{server.getsockname()[1]}"

        def answer() -> None:
            line, _ = server.accept()
            with line:
                line.recv(4096)
                line.sendall(b"SSH-2.0-OpenSSH_9.6\r\n")

        thread = threading.Thread(target=answer)
        thread.start()
        done = shared_deploy("query", address, "hello")
        thread.join()
    assert done.code == 1 and "can't be reached" in done.err and "Traceback" not in done.err


def test_ctrl_c_cancels(plain: str, shared_deploy: Deploy) -> None:
    running = shared_deploy.begin("query", plain, "slow", *TOKEN)
    assert running.stderr is not None
    assert b"A2A 1.0" in running.stderr.readline()
    running.send_signal(signal.SIGINT)
    out, err = running.communicate(timeout=60)
    assert (running.returncode, out) == (130, b"") and b"Traceback" not in err


def test_our_own_front_door(shared_deploy: Deploy) -> None:
    started = shared_deploy("start", "examples/jobs/hello.yaml", "--json").ok().json
    door = started["url"]
    try:
        refused = shared_deploy("query", door, "Greet Ada")
        assert refused.code == 1 and "HTTP 401" in refused.err and "deploy token create" in refused.err
        token = shared_deploy("token", "create", "--job", "hello", "--json").ok().json["token"]
        secret = Path(shared_deploy.environment["HOME"], "token")
        secret.write_text(token + "\n")
        for version, binding in WAYS:
            asked = shared_deploy(
                "query", door, f"Greet {version} {binding}", "--token", f"@{secret}", "--label", "from=outside",
                "--a2a", version, "--binding", binding, "--json",
            ).ok().json  # fmt: skip
            assert (asked["negotiated"]["version"], asked["negotiated"]["binding"]) == (version, binding)
            shown = shared_deploy("trace", "show", asked["trace_id"], "--json").ok().json
            assert shown["complete"] and shown["summary"]["labels"] == {"from": "outside"}
            assert asked["usage"]["input_tokens"] == shown["summary"]["input_tokens"]
            assert len(json.dumps(asked)) < 5000
    finally:
        shared_deploy("stop", "--all").ok()

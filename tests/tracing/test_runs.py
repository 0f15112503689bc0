from __future__ import annotations

import asyncio
import copy
import json
import os
import pickle
import random
from collections.abc import AsyncGenerator

import pytest

from teamwright.errors import UserError
from teamwright.tracing.propagation import run_from_metadata, run_to_metadata
from teamwright.tracing.runs import RunContext, RunId, current_run, use_run


def test_ids_are_valid_unique_and_short() -> None:
    ids = {RunId.generate() for _ in range(1000)}
    assert len(ids) == 1000
    one = ids.pop()
    assert RunId.from_string(one.upper()) == one
    assert one.short() == one[:8]


_UUID = "2f6b0d6e-6d0b-4c8e-9c6f-0e4f5a1b2c3d"


@pytest.mark.parametrize(
    "text",
    ["", "x", "2f6b0d6e", _UUID[:-1], f"{{{_UUID}}}", f"urn:uuid:{_UUID}", _UUID + "\n", "٢" + _UUID[1:], None, 7],
)
def test_what_is_no_uuid_is_refused(text: str) -> None:
    with pytest.raises(UserError, match="is not a run id"):
        RunId.from_string(text)


def test_an_id_knows_its_parent_and_travels_as_text() -> None:
    root = RunId.generate()
    child = RunId.generate(parent=RunId.generate(parent=root))
    assert child.parent is not None and child.parent.parent is root and child.root is root and root.parent is None
    assert json.loads(json.dumps(child)) == child and hash(child) == hash(str(child))
    again = pickle.loads(pickle.dumps(child))
    assert again == child and again.root == root and type(again) is RunId
    assert copy.deepcopy(child).parent == child.parent


def test_ids_differ_after_a_fork() -> None:
    random.seed(1)  # a generator of Python's own would go on alike in every child
    RunId.generate()
    seen = []
    for _ in range(3):
        read, write = os.pipe()
        pid = os.fork()
        if pid == 0:
            os.write(write, "".join(RunId.generate() for _ in range(20)).encode())
            os._exit(0)
        os.waitpid(pid, 0)
        found = os.read(read, 4096).decode()
        os.close(read)
        os.close(write)
        seen += [found[at : at + 36] for at in range(0, len(found), 36)]
    seen += [RunId.generate() for _ in range(20)]
    assert len(seen) == len(set(seen)) == 80
    assert all(RunId.from_string(one) for one in seen)


def test_children_inherit_user_labels_and_root() -> None:
    run = RunContext(RunId.generate(), "job", "lead", session="s", user="ada", labels={"a": "1"}, peer_calls_left=3)
    child = run.child(agent="writer")
    grandchild = child.child(agent="third")
    assert child.parent_run_id == run.run_id and child.root == run.run_id == grandchild.root
    assert (child.depth, grandchild.depth) == (1, 2)
    assert child.user == "ada" and child.labels == {"a": "1"} and child.session is None
    assert child.peer_calls_left == 3


async def test_the_current_run_follows_tasks_and_threads() -> None:
    run = RunContext(RunId.generate(), "job", "lead")
    other = RunContext(RunId.generate(), "job", "lead")
    assert current_run() is None

    async def seen() -> RunContext | None:
        await asyncio.sleep(0)
        return current_run()

    with use_run(run):
        first = asyncio.create_task(seen())
        with use_run(other):
            second = asyncio.create_task(seen())
            assert await asyncio.to_thread(current_run) is other
        assert current_run() is run
    assert await first is run and await second is other
    assert current_run() is None


async def test_a_generator_closed_from_another_task_does_not_raise() -> None:
    run = RunContext(RunId.generate(), "job", "lead")

    async def words() -> AsyncGenerator[int, None]:
        with use_run(run):
            yield 1
            yield 2

    stream = words()
    await asyncio.create_task(stream.__anext__())
    await asyncio.create_task(stream.aclose())


def test_a_run_survives_the_wire() -> None:
    run = RunContext(
        RunId.generate(), "job", "lead", parent_run_id=RunId.generate(), root_run_id=RunId.generate(), session="s",
        user="ada", labels={"k": "v"}, depth=2, peer_calls_left=7, deadline_ns=1_795_000_000_123_456_789,
    )  # fmt: skip
    assert run_from_metadata(run_to_metadata(run)) == run


def test_malformed_runs_are_no_runs() -> None:
    good = run_to_metadata(RunContext(RunId.generate(), "job", "lead"))
    (key,) = good
    inner = good[key]
    wrong = ({**inner, "depth": "many"}, {**inner, "deadline_ns": float("inf")}, {**inner, "parent_run_id": "x"})
    for bad in (None, {}, *({key: value} for value in (None, "x", {"run_id": "nope"}, *wrong))):
        assert run_from_metadata(bad) is None

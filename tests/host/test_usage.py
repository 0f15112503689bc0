"""CPU and memory of process trees, look after look."""

from __future__ import annotations

import os
import time

from teamwright.host.proc import Process, read
from teamwright.host.usage import Sample


def own() -> Process:
    found = read(os.getpid())
    assert found is not None
    return found


def test_cpu_needs_two_looks() -> None:
    sample = Sample()
    first = sample.look({"hello/lead": [own()]})["hello/lead"]
    assert first["cpu"] is None and first["pid"] == os.getpid() and first["memory"] > 1 << 20
    before = time.process_time()
    while time.process_time() - before < 0.2:
        pass
    assert sample.look({"hello/lead": [own()]})["hello/lead"]["cpu"] > 0


def test_a_look_asks_for_the_memory_of_some_only() -> None:
    now = iter(range(1000))
    sample = Sample(budget=2.5, clock=lambda: float(next(now)))
    trees = {f"hello/a{number}": [own()] for number in range(3)}
    some = sample.look(trees)
    assert [found["memory"] is None for found in some.values()].count(True) == 2
    for _ in range(2):
        every = sample.look(trees)
    assert all(found["memory"] for found in every.values()), "the others had their turn"


def test_who_is_gone_is_forgotten() -> None:
    sample = Sample()
    sample.look({"hello/lead": [own()]})
    assert sample.look({}) == {}
    assert sample.look({"hello/lead": [own()]})["hello/lead"]["cpu"] is None

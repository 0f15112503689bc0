from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest

from teamwright.errors import SpoolFull
from teamwright.tracing.reading.filters import Filter
from teamwright.tracing.reading.reader import SpanReader
from teamwright.tracing.reading.tables import columns, rows
from teamwright.tracing.shipping.spool import Spool, dropped_spans
from teamwright.tracing.storing.room import RESERVE, Room
from teamwright.tracing.storing.store import SpanStore, StoreFull
from teamwright.tracing.testing import Spans
from teamwright.tracing.tracer import Tracer


@dataclass
class Disk:
    """A file system of so many bytes, and a clock."""

    f_blocks: int
    f_bavail: int
    f_frsize: int = 1
    now: float = 0.0
    looks: int = 0

    def look(self, path: Path) -> Disk:
        self.looks += 1
        return self

    def room(self) -> Room:
        return Room(Path("/"), look=self.look, clock=lambda: self.now)


def test_the_reserve_is_an_eighth_and_at_most_64_mib() -> None:
    for size, reserve in ((800, 100), (1 << 40, RESERVE)):
        room = Disk(size, reserve).room()
        assert not room.scarce() and room.reserve == reserve
        assert Disk(size, reserve - 1).room().scarce()


def test_it_looks_again_after_a_while_or_much_writing() -> None:
    disk = Disk(1 << 30, 1 << 29)
    room = disk.room()
    assert not room.scarce() and not room.scarce(1000) and disk.looks == 1
    disk.f_bavail = 0
    assert not room.scarce(1000)
    assert room.scarce(1 << 20) and disk.looks == 2
    disk.f_bavail = 1 << 29
    assert room.scarce()
    disk.now += 1
    assert not room.scarce() and disk.looks == 3


def test_a_disk_that_can_not_be_looked_at_is_left_to_whoever_writes(tmp_path: Path) -> None:
    assert not Room(tmp_path / "nowhere").scarce()


def test_a_spool_that_nobody_takes_in_ends_at_its_limit(tmp_path: Path) -> None:
    spool = Spool(tmp_path / "a.b@c.spool", limit=4096)
    for _ in range(3):
        spool.append(b"x" * 1000)
    with pytest.raises(SpoolFull, match="nobody has taken in"):
        spool.append(b"x" * 2000)
    spool.ack(spool.size)
    assert spool.reset()
    spool.append(b"x" * 2000)
    spool.close()


def test_without_room_the_store_takes_nothing(tmp_path: Path, spans: Spans, tracer: Tracer) -> None:
    disk = Disk(1 << 30, 0)
    with tracer.query("team", text="x"):
        pass
    store = SpanStore(tmp_path / "spans.db", room=disk.room())
    with pytest.raises(StoreFull, match=r"no room for spans: only 0\.0 MiB are left"):
        store.ingest(spans.body)
    disk.f_bavail, disk.now = 1 << 29, 1.0
    assert store.ingest(spans.body).result().spans == 1
    store.close()


def test_a_span_whose_start_is_known_gets_its_end(tmp_path: Path, store: SpanStore) -> None:
    """It would seem to run for ever; what nobody has heard of is dropped and counted."""
    disk = Disk(1 << 30, 1 << 29)
    spool = Spool(tmp_path / "spool" / "team.lead@i1.spool", room=disk.room())
    tracer = Tracer("lead", "team", "i1", spool)
    with tracer.query("team", text="x") as root:
        with tracer.tool_call(name="before"):
            pass  # announces the root
        disk.f_bavail, disk.now = 0, 1.0
        with tracer.tool_call(name="during"):
            pass
    waiting = tracer.processor.unannounced
    assert waiting and tracer.processor.dropped == spool.dropped == dropped_spans(spool.path.parent) == 1
    disk.f_bavail, disk.now = 1 << 29, 2.0
    tracer.processor.write_notes()
    assert waiting != tracer.processor.unannounced and spool.dropped == 1
    store.drain(tmp_path / "spool")
    with SpanReader(store.path) as reader:
        found = reader.show(root.trace_id)
    assert found.summary["dropped"] == 1 and found.summary["open"] == 0 and found.summary["spans"] == 2
    spool.close()


def test_a_trace_of_which_only_losses_are_known_is_lost(make_tracer: Callable[..., tuple[Tracer, Spool]]) -> None:
    tracer, spool = make_tracer()
    tracer.processor._count_lost(5)
    tracer.processor.write_notes()
    with SpanReader(spool.path.parent / "none.db", spool.path.parent) as reader:
        (summary,) = reader.list_traces(Filter(job="team", status="lost"))
        (row,) = rows(reader, "queries", job="team", since_ns=None)
        told = dict(zip(columns(reader, "queries"), row, strict=True))
    assert summary["dropped"] == 1 and summary["start"] > 10**18
    assert (told["status"], told["job"], told["duration_ms"]) == ("lost", "team", None)

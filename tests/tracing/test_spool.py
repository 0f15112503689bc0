from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import closing, suppress
from pathlib import Path

import pytest

from teamwright.errors import SpoolFull
from teamwright.tracing.shipping.spool import Record, Spool, SpoolName, pending, read_ack, spools
from teamwright.tracing.storing.rows import decode
from teamwright.tracing.testing import Spans, attributes
from teamwright.tracing.tracer import Tracer


def rest(path: Path) -> list[Record]:
    return [record for part in pending(path) for record in part]


def make(folder: Path) -> Spool:
    return Spool.create(folder, "team", "lead", "i1")


def test_names_tell_whose_a_spool_is(tmp_path: Path) -> None:
    for name in (SpoolName("team", "lead", "i1"), SpoolName("", "engine", "7"), SpoolName("a.b", "c@d/e", "x y.z")):
        assert SpoolName.parse(name.file_name) == name and "/" not in name.file_name
    assert SpoolName.parse("team.lead@i1.spool.ack") is None and SpoolName.parse("x.spool") is None
    make(tmp_path).close()
    (tmp_path / "notes.txt").touch()
    assert spools(tmp_path) == [(tmp_path / "team.lead@i1.spool", SpoolName("team", "lead", "i1"))]
    assert spools(tmp_path / "nowhere") == []


def test_append_read_ack(tmp_path: Path) -> None:
    spool = make(tmp_path)
    spool.append(b"one")
    spool.append(b"two", "started")
    records = spool.read_part(0, 1 << 20)
    assert [(record.kind, record.payload) for record in records] == [("ended", b"one"), ("started", b"two")]
    spool.ack(records[0].end)
    assert [record.payload for record in rest(spool.path)] == [b"two"]
    assert not spool.reset()
    spool.ack(records[1].end)
    assert rest(spool.path) == []
    spool.close()
    again = make(tmp_path)
    assert again.acked == again.size == records[1].end
    again.append(b"three")
    assert [record.payload for record in rest(again.path)] == [b"three"]
    again.ack(again.size)
    assert again.reset() and again.size == 0 and again.path.stat().st_size == 0 and not again.reset()
    again.append(b"four")
    assert [record.payload for record in rest(again.path)] == [b"four"]
    again.close(remove=True)
    assert again.path.exists()  # not all of it is stored
    last = make(tmp_path)
    last.ack(last.size)
    last.close(remove=True)
    assert list(tmp_path.iterdir()) == []


def test_a_torn_tail_is_recognised_at_every_byte(tmp_path: Path) -> None:
    spool = make(tmp_path)
    spool.append(b"whole")
    whole = spool.size
    spool.append(b"TW torn TW")
    spool.close()
    data = spool.path.read_bytes()
    for cut in range(whole, len(data)):
        spool.path.write_bytes(data[:cut])
        assert [record.payload for record in rest(spool.path)] == [b"whole"]


def test_a_broken_stretch_is_skipped(tmp_path: Path) -> None:
    spool = make(tmp_path)
    for number in range(5):
        spool.append(b"record %d" % number)
    spool.close()
    data = bytearray(spool.path.read_bytes())
    at = data.index(b"record 2")
    data[at : at + 3] = b"???"
    spool.path.write_bytes(data)
    assert [record.payload[-1:] for record in rest(spool.path)] == [b"0", b"1", b"3", b"4"]


def test_long_spools_are_read_in_parts(tmp_path: Path) -> None:
    spool = make(tmp_path)
    payloads = [bytes([number]) * (1 + number * 97) for number in range(100)] + [b"x" * 300_000, b"end"]
    for payload in payloads:
        spool.append(payload)
    parts = list(pending(spool.path, part=10_000))
    assert len(parts) > 10
    assert [record.payload for part in parts for record in part] == payloads
    offset, seen = 0, []
    while found := spool.read_part(offset, 5_000):
        seen += [record.payload for record in found]
        offset = found[-1].end
    assert seen == payloads
    spool.close()


def test_marks_that_make_no_sense_mean_from_the_beginning(tmp_path: Path) -> None:
    spool = make(tmp_path)
    spool.append(b"one")
    spool.ack(spool.size)
    spool.close()
    marks = spool.path.with_name(spool.path.name + ".ack")
    for broken in (b"", b"x" * 20, b"x" * 5):
        marks.write_bytes(broken)
        assert read_ack(spool.path) == (0, 0)
    marks.unlink()
    assert len(rest(spool.path)) == 1


CHILD = """
import sys
from pathlib import Path
from teamwright.tracing.shipping.spool import Spool
from teamwright.tracing.tracer import Tracer
tracer = Tracer("lead", "team", "i1", Spool.create(Path(sys.argv[1]), "team", "lead", "i1"), strict=True)
print("go", flush=True)
number = 0
while True:
    with tracer.tool_call(name="t", attributes={"number": number}):
        pass
    number += 1
    if number == 200:
        print("enough", flush=True)
"""


def test_kill_9_loses_no_ended_span(tmp_path: Path) -> None:
    child = subprocess.Popen([sys.executable, "-c", CHILD, str(tmp_path)], stdout=subprocess.PIPE, text=True)
    assert child.stdout is not None
    assert child.stdout.readline() == "go\n" and child.stdout.readline() == "enough\n"
    os.kill(child.pid, signal.SIGKILL)
    child.wait()
    child.stdout.close()
    spans = Spans()
    for record in rest(tmp_path / "team.lead@i1.spool"):
        spans(record.payload)
    numbers = [attributes(span)["number"] for span in spans.all()]
    assert len(numbers) >= 200 and numbers == list(range(len(numbers)))


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A folder on a file system of 256 KiB, or a skip where one can't be mounted."""
    folder = tmp_path / "small"
    folder.mkdir()
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=256k", "tmpfs", str(folder)], capture_output=True)
    if mounted.returncode:
        pytest.skip("can't mount a tmpfs")
    yield folder
    subprocess.run(["umount", str(folder)], check=True)


def test_a_full_disk_sheds_spans_counts_them_and_says_so_later(small_disk: Path) -> None:
    with closing(make(small_disk)) as spool:
        tracer = Tracer("lead", "team", "i1", spool)
        filler = small_disk / "filler"
        with tracer.query("team", text="x") as root:
            with tracer.tool_call(name="before"):
                pass
            with filler.open("wb", buffering=0) as file, suppress(OSError):
                while file.write(b"x" * 4096):
                    pass
            for _ in range(20):
                with tracer.tool_call(name="t", arguments="x" * 2000):
                    pass
            lost = tracer.processor.dropped
            assert lost >= 15 and spool.dropped == read_ack(spool.path)[1] == lost
            with pytest.raises(SpoolFull):
                spool.append(b"x" * 8192, "started")
            filler.unlink()
        records = rest(spool.path)
    assert [record.kind for record in records][-2:] == ["dropped", "ended"]
    found = decode(b"".join(record.payload for record in records if record.kind != "started"))
    assert {trace.hex() for trace, *_ in found.notes} == {root.trace_id}
    assert sum(count for _, _, count, _ in found.notes) == lost
    assert len(found.rows) == 2 + 20 - lost


def test_spans_are_announced_before_they_can_be_missed(make_tracer: Callable[..., tuple[Tracer, Spool]]) -> None:
    tracer, spool = make_tracer()
    with tracer.query("team", text="x"), tracer.agent(message="x"):
        assert spool.size == 0
        with tracer.tool_call(name="t"):
            pass
        kinds = [record.kind for record in spool.read_part(0, 1 << 20)]
        assert kinds == ["started", "started", "ended"]  # root and agent, then the tool
        with tracer.tool_call(name="u"):
            pass
        assert len(spool.read_part(0, 1 << 20)) == 4
    assert len(spool.read_part(0, 1 << 20)) == 6

"""Bad OTLP at a real engine and a real collector: a clear answer, little memory, and nobody else notices."""

from __future__ import annotations

import gzip
import sys
from collections.abc import Iterator
from pathlib import Path

import httpx
import psutil
import pytest

from teamwright.client import launch
from teamwright.client.client import Client
from teamwright.home import Home
from teamwright.safety.tokens import Issuer
from teamwright.tracing.testing import Spans
from teamwright.tracing.tracer import Tracer

from .conftest import begin, end, make_plan

PROTOBUF = {"content-type": "application/x-protobuf"}
#: MiB that a process may grow by at its highest, whatever comes.
GROWS = 200


@pytest.fixture
def apart(home: Home, environment: dict[str, str]) -> Iterator[Client]:
    """A client of a real engine with a collector of its own."""
    environment["TEAMWRIGHT_COLLECTOR"] = "process"
    with launch.connect(home, start=True, port=0, host=True, environ=environment) as client:
        yield client
    end(home, environment)


def peak(pid: int) -> int:
    """The most memory that a process has had so far, in MiB."""
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("VmHWM"):
            return int(line.split()[1]) >> 10
    raise AssertionError("no such process")


def test_bad_spans_disturb_nobody(apart: Client, home: Home) -> None:
    begin(apart, make_plan())
    processes = apart.status()["processes"]
    pids = {name: processes[name] for name in ("engine", "collector")}
    (port,) = {
        one.laddr.port
        for one in psutil.Process(pids["collector"]).net_connections("tcp")
        if one.status == psutil.CONN_LISTEN
    }
    before = {name: peak(pid) for name, pid in pids.items()}
    token = Issuer.load(home).mint("team/patient", "engine", job="team", agent="patient", role="agent")
    spans = Spans()
    with Tracer("patient", "team", "1", spans).query("team", text="x"):
        pass
    foreign = Spans()
    with Tracer("other", "team", "1", foreign).query("team", text="x"):
        pass
    bad: list[tuple[bytes, dict[str, str], int, str]] = [
        (b"x" * (100 << 20), {}, 413, "larger than 16 MiB"),
        (gzip.compress(b"\0" * (100 << 20)), {"content-encoding": "gzip"}, 413, "larger than 16 MiB"),
        (b"\x0a\x80\x80\x80\x08" + b"\x12\x00" * (7 << 20), {}, 400, ""),
        (spans.body[:-5], {}, 400, "not an OTLP trace request"),
        (b"{}", {"content-type": "application/json"}, 415, "application/json"),
        (foreign.body, {}, 400, "only its own"),
        (spans.body, {"authorization": "Bearer nobody"}, 401, "token"),
    ]
    with httpx.Client(headers=PROTOBUF | {"authorization": f"Bearer {token}"}, timeout=60) as client:
        for url in (f"http://127.0.0.1:{port}", apart.url):
            for body, headers, status, message in bad:
                answer = client.post(f"{url}/v1/traces", content=body, headers=headers)
                assert answer.status_code == status, (url, status, answer.text)
                assert message in answer.json()["error"]["message"]
                assert apart.query("team", "still there").answer == "echo: still there"
            assert client.post(f"{url}/v1/traces", content=spans.body).status_code == 200
    sys.stdout.write(f"    grown at their highest, MiB: {[peak(pid) - before[name] for name, pid in pids.items()]}\n")
    grown = {name: peak(pid) - before[name] for name, pid in pids.items()}
    assert max(grown.values()) < GROWS, grown
    assert apart.status()["processes"] == processes
    apart.trace(apart.traces()[0]["trace_id"])  # takes in what lies in the spools
    found = {(item["query"], item["status"]) for item in apart.traces(limit=100)}
    assert found == {("still there", "ok"), ("x", "ok")}

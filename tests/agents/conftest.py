"""A small team of real agent processes, without engine and host."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import textwrap
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from uuid import uuid4

import httpx
import pytest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from teamwright.agents.spec import AgentSpec, PeerSpec
from teamwright.home import Home
from teamwright.safety.tokens import Issuer, Role
from teamwright.tracing.shipping.spool import scan

JOB = "team"


class Span(dict[str, Any]):
    """A span read back: name, kind, ids, times, status, attributes."""

    @property
    def attributes(self) -> dict[str, Any]:
        found: dict[str, Any] = self["attributes"]
        return found


class Team:
    """Agents of one job, each a process of its own, and what is needed to talk to them."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.home = Home(folder / "logs").create()
        self.issuer = Issuer.load(self.home)
        self.processes: dict[str, subprocess.Popen[bytes]] = {}
        self.sockets: dict[str, socket.socket] = {}
        self.specs: dict[str, AgentSpec] = {}

    def write(self, name: str, code: str) -> None:
        """A module of the user's in the job's folder."""
        (self.folder / name).write_text(textwrap.dedent(code))

    def url(self, agent: str) -> str:
        if agent not in self.sockets:
            sock = socket.socket()
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            sock.bind(("127.0.0.1", 0))
            sock.listen(256)
            self.sockets[agent] = sock
        return f"http://127.0.0.1:{self.sockets[agent].getsockname()[1]}"

    def spec(
        self, agent: str, *, calls: Sequence[str] = (), callers: Sequence[str] = ("front-door",), **more: Any
    ) -> AgentSpec:
        values: dict[str, Any] = {
            "job": JOB,
            "agent": agent,
            "incarnation": uuid4().hex[:8],
            "home": str(self.home.path),
            "home_id": self.home.id,
            "job_folder": str(self.folder),
            "kind": "class" if "module" in more else "declared",
            "url": f"{self.url(agent)}/",
            "engine_url": "http://127.0.0.1:9",
            "public_key": self.issuer.public_key,
            "epoch_file": str(self.home.epoch_file),
            "spool_dir": str(self.home.spool_dir),
            "search_path": (str(self.folder),),
            "peers": tuple(PeerSpec(id=peer, job=JOB, agent=peer, url=f"{self.url(peer)}/") for peer in calls),
            "callers": tuple(callers),
            "tokens": {f"{JOB}/{peer}": self.token(peer, agent) for peer in calls},
            **more,
        }
        self.specs[agent] = AgentSpec(**values)
        return self.specs[agent]

    def token(self, to: str, sub: str | None = None, role: Role = "front-door", **more: Any) -> str:
        """A token to use at agent `to`: an agent's when `sub` is given, else the front door's for a person."""
        if sub is not None:
            return self.issuer.mint(f"{JOB}/{sub}", f"{JOB}/{to}", job=JOB, agent=sub, role="agent", **more)
        return self.issuer.mint("ann", f"{JOB}/{to}", job=JOB, role=role, **more)

    def start(self, agent: str, **options: Any) -> AgentSpec:
        """Start an agent and wait until it is ready."""
        spec = self.launch(agent, **options)
        httpx.get(f"{self.url(agent)}/readyz", timeout=180).raise_for_status()
        return spec

    def launch(self, agent: str, spec: AgentSpec | None = None, **options: Any) -> AgentSpec:
        spec = spec or self.spec(agent, **options)
        self.url(agent)
        read, write = os.pipe()
        log = (self.folder / f"{agent}.log").open("ab")
        sock = self.sockets[agent].fileno()
        self.processes[agent] = subprocess.Popen(
            [sys.executable, "-I", "-m", "teamwright.agents.main", str(sock), str(read)],
            pass_fds=(sock, read),
            stdout=log,
            stderr=log,
            env={"PATH": os.environ["PATH"]},
        )
        os.close(read)
        with os.fdopen(write, "w") as pipe:
            json.dump(spec.to_dict(), pipe)
        log.close()
        return spec

    def log(self, agent: str) -> str:
        return (self.folder / f"{agent}.log").read_text()

    def stop(self, agent: str, number: int = signal.SIGTERM) -> int:
        """End an agent and return its exit code."""
        process = self.processes.pop(agent)
        process.send_signal(number)
        return process.wait(timeout=120)

    def close(self) -> None:
        for process in self.processes.values():
            process.send_signal(signal.SIGTERM)
        for process in self.processes.values():
            try:
                process.wait(timeout=120)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
        for sock in self.sockets.values():
            sock.close()

    def rpc(
        self, agent: str, method: str, params: Mapping[str, Any], *, token: str | None = None, timeout: float = 60
    ) -> httpx.Response:
        headers = {"A2A-Version": "1.0", "authorization": f"Bearer {token or self.token(agent)}"}
        body = {"jsonrpc": "2.0", "id": 1, "method": method, "params": params}
        return httpx.post(f"{self.url(agent)}/", json=body, headers=headers, timeout=timeout)

    def ask(self, agent: str, text: str, *, token: str | None = None, **more: Any) -> dict[str, Any]:
        """SendMessage; the result as JSON."""
        answer = self.rpc(agent, "SendMessage", {"message": message(text, **more)}, token=token).json()
        assert "result" in answer, answer
        result: dict[str, Any] = answer["result"]
        return result

    def spans(self, agent: str | None = None) -> list[Span]:
        """Every ended span in the spools, oldest start first."""
        found = []
        for path in self.home.spool_dir.glob(f"{JOB}.{agent or '*'}@*.spool"):
            for record in scan(path.read_bytes()):
                if record.kind == "ended":
                    request = ExportTraceServiceRequest.FromString(record.payload)
                    for group in request.resource_spans:
                        for scope in group.scope_spans:
                            found += [_span(span, group.resource.attributes) for span in scope.spans]
        return sorted(found, key=lambda span: span["start_ns"])


def message(text: str, **more: Any) -> dict[str, Any]:
    return {"messageId": str(uuid4()), "role": "ROLE_USER", "parts": [{"text": text}], **more}


def answer_text(result: Mapping[str, Any]) -> str:
    """The words of a result, Message or Task."""
    if "message" in result:
        return "".join(part.get("text", "") for part in result["message"]["parts"])
    parts = [part for artifact in result["task"].get("artifacts", []) for part in artifact["parts"]]
    return "".join(part.get("text", "") for part in parts)


def _span(span: Any, resource: Any) -> Span:
    attributes = {item.key: _value(item.value) for item in span.attributes}
    return Span(
        name=span.name,
        kind=span.kind,
        trace_id=span.trace_id.hex(),
        span_id=span.span_id.hex(),
        parent_id=span.parent_span_id.hex() or None,
        start_ns=span.start_time_unix_nano,
        end_ns=span.end_time_unix_nano,
        status=span.status.code,
        message=span.status.message,
        attributes=attributes,
        events=[event.name for event in span.events],
        links=[(link.trace_id.hex(), link.span_id.hex()) for link in span.links],
        agent=next(_value(item.value) for item in resource if item.key == "service.name"),
    )


def _value(value: Any) -> Any:
    kind = value.WhichOneof("value")
    if kind == "array_value":
        return [_value(item) for item in value.array_value.values]
    return getattr(value, kind) if kind else None


@pytest.fixture(scope="session")
def new_team() -> type[Team]:
    return Team


@pytest.fixture
def team(tmp_path: Path) -> Iterator[Team]:
    with closing(Team(tmp_path)) as made:
        yield made


@dataclass
class Try:
    """One try of several; it says how many `seconds` it took."""

    number: int
    seconds: float = float("inf")


def tries(seconds: float, most: int = 20) -> Iterator[Try]:
    """Try after try, until one took less than that, on a machine that has time for us.

    A busy machine holds up any single one, which says nothing of us; one that is busy all the time, all of them.
    """
    took: list[tuple[float, float]] = []
    for number in range(most):
        yield (one := Try(number))
        took.append((one.seconds, held_up()))
        if one.seconds < seconds * took[-1][1]:
            return
    raise AssertionError(f"none of {most} tries took less than {seconds} s (and how busy the machine was): {took}")


def held_up() -> float:
    """How many times as long as alone on this machine everything takes now; 1 where it has nothing else to do."""
    began, used = time.perf_counter(), time.process_time()
    while time.process_time() - used < 0.02:
        pass
    return max(1.0, (time.perf_counter() - began) / 0.02, os.getloadavg()[0] / (os.cpu_count() or 1))


def wait_for(condition: Any, seconds: float = 30.0) -> Any:
    """The condition's first true value; fails after that many seconds."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if found := condition():
            return found
        time.sleep(0.02)
    raise AssertionError(f"not true after {seconds} s")

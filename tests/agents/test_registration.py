"""An agent and its engine: listed, tokens renewed, spans shipped; and none of it needed."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Iterator
from typing import TYPE_CHECKING

import httpx
import pytest
import uvicorn
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from teamwright.registry.routes import routes
from teamwright.registry.service import Registry
from teamwright.safety.epochs import EpochFile
from teamwright.safety.tokens import Claims, Verifier, unverified
from tests.agents.conftest import wait_for

if TYPE_CHECKING:
    from .conftest import Team


class Engine:
    """The registry as it is, and a collector that counts."""

    def __init__(self, team: Team) -> None:
        self.team = team
        self.registry = Registry(lease=0.6)
        self.spans: list[str] = []
        self.beats: list[float] = []  # when the tokens of the heartbeats end
        self.verifier = Verifier(team.issuer.public_key, team.home.id, EpochFile.open(team.home.epoch_file))

        async def traces(request: Request) -> Response:
            self.authorize(request)
            body = ExportTraceServiceRequest.FromString(await request.body())
            self.spans += [s.name for g in body.resource_spans for scope in g.scope_spans for s in scope.spans]
            return Response()

        app = Starlette(
            routes=[
                *routes(self.registry, self.authorize, self.renew),
                Route("/v1/traces", traces, methods=["POST"]),
                Route("/v1/started", traces, methods=["POST"]),
            ]
        )
        self.socket = socket.create_server(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self.socket.getsockname()[1]}"
        self.server = uvicorn.Server(uvicorn.Config(app, log_config=None, lifespan="off"))
        self.thread = threading.Thread(target=lambda: self.server.run(sockets=[self.socket]))

    def authorize(self, request: Request) -> Claims:
        claims = self.verifier.check(request.headers.get("authorization", "").removeprefix("Bearer "), "engine")
        if request.url.path.endswith("/heartbeat"):
            self.beats.append(claims.exp)
        return claims

    def renew(self, claims: Claims) -> dict[str, str]:
        return {
            "engine": self.team.issuer.mint(claims.sub, "engine", job="team", agent=claims.agent, role="agent"),
            "team/facts": self.team.token("facts", claims.agent),
        }


@pytest.fixture
def engine(team: Team) -> Iterator[Engine]:
    made = Engine(team)
    made.thread.start()
    yield made
    made.server.should_exit = True
    made.thread.join()


def test_listed_renewed_shipped_and_taken_off(team: Team, engine: Engine) -> None:
    old = team.issuer.mint(
        "team/lead", "engine", job="team", agent="lead", role="agent", ttl=130, now=time.time() - 100
    )
    expired = team.token("facts", "lead", ttl=-10_000)
    team.launch("facts", callers=("team/lead",))
    team.start(
        "lead", calls=("facts",), engine_url=engine.url, tokens={"engine": old, "team/facts": expired},
        description="Leads", name="The Lead",
    )  # fmt: skip
    (entry,) = wait_for(engine.registry.list)
    assert (entry.id, entry.name, entry.description, entry.url) == (
        "team.lead", "The Lead", "Leads", team.specs["lead"].url,
    )  # fmt: skip
    wait_for(lambda: sum(end > unverified(old).exp for end in engine.beats) > 6)  # with a token that it was given
    wait_for(engine.registry.list)  # longer than two leases: three beats each
    assert "facts got: hello" in str(team.ask("lead", "hello"))
    wanted = {"invoke_agent lead", "chat offline", "execute_tool query_agent", "invoke_agent facts"}
    wait_for(lambda: wanted <= set(engine.spans))
    assert team.stop("lead") == 0
    assert not engine.registry.list()


def test_while_the_engine_answers_expired_tokens_have_no_grace(team: Team, engine: Engine) -> None:
    token = team.issuer.mint("team/lead", "engine", job="team", agent="lead", role="agent")
    team.start("lead", engine_url=engine.url, tokens={"engine": token}, callers=("team/friend",))
    wait_for(engine.registry.list)
    late = team.token("lead", "friend", ttl=-10)
    params = {"message": {"messageId": "m", "role": "ROLE_USER", "parts": [{"text": "hi"}]}}
    assert team.rpc("lead", "SendMessage", params, token=late).status_code == 401
    engine.server.should_exit = True
    engine.thread.join()
    wait_for(lambda: team.rpc("lead", "SendMessage", params, token=late).status_code == 200)
    assert httpx.get(f"{team.url('lead')}/readyz", timeout=60).status_code == 200

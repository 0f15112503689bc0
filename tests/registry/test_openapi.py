"""The OpenAPI document of the registry: what it says is what the routes do."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator
from typing import Any

import httpx
import pytest
from jsonschema import Draft202012Validator  # type: ignore[import-untyped]
from starlette.applications import Starlette
from starlette.requests import Request

from teamwright.engine.routes.answers import on_error
from teamwright.errors import TeamwrightError, TokenRefused
from teamwright.registry import openapi
from teamwright.registry.records import AgentEntry
from teamwright.registry.routes import routes
from teamwright.registry.service import Registry
from teamwright.safety.tokens import Claims

AGENT = Claims("home", "team/lead", "engine", "agent", 0, 0.0, 900.0, "j", "team", "lead")
ENTRY = {
    "url": "http://127.0.0.1:8600",
    "name": "Lead",
    "description": "Leads the team",
    "skills": [{"id": "lead", "name": "Leading", "tags": ["boss"]}],
    "load": {"working": 1, "waiting": 0},
}


class Everybody:
    def sees(self, claims: Claims, entry: AgentEntry) -> bool:
        return True

    def introduce(self, claims: Claims, entry: AgentEntry) -> dict[str, Any]:
        return {"agent": entry.to_dict(), "token": "t", "expires_in": 900}


def authorize(request: Request) -> Claims:
    if "authorization" not in request.headers:
        raise TokenRefused("no token")
    return AGENT


ROUTES = routes(Registry(), authorize, lambda claims: {}, Everybody())


@pytest.fixture
async def http() -> AsyncIterator[httpx.AsyncClient]:
    app = Starlette(routes=[*ROUTES, *openapi.routes()], exception_handlers={TeamwrightError: on_error})
    transport = httpx.ASGITransport(app)
    async with httpx.AsyncClient(transport=transport, base_url="http://engine", verify=False) as client:
        yield client


def test_every_route_is_in_it_and_nothing_else() -> None:
    said = {(path, method.upper()) for path, methods in openapi.document()["paths"].items() for method in methods}
    assert said == {(route.path, method) for route in ROUTES for method in (route.methods or set()) - {"HEAD"}}


def test_an_agent_has_the_keys_of_an_entry() -> None:
    said = openapi.document()["components"]["schemas"]["Agent"]["properties"]
    assert set(said) == set(AgentEntry("team.lead", "team", "lead", "http://127.0.0.1:1").to_dict())


async def test_answers_are_what_it_says(http: httpx.AsyncClient) -> None:
    about = (await http.get("/openapi.json")).json()
    assert about["openapi"] == "3.1.0"
    known = {"authorization": "Bearer t"}
    for method, path, asked, headers, status in (
        ("POST", "/agents/register", ENTRY, known, 201),
        ("POST", "/agents/register", {"url": 5}, known, 400),
        ("POST", "/agents/{id}/heartbeat", {"load": {"working": 2}}, known, 200),
        ("GET", "/agents/search", None, known, 200),
        ("GET", "/agents", None, known, 200),
        ("GET", "/agents", None, {}, 401),
        ("GET", "/agents/{id}", None, known, 200),
        ("POST", "/agents/{id}/introduction", None, known, 200),
        ("DELETE", "/agents/{id}", None, known, 200),
        ("GET", "/agents/{id}", None, known, 404),
    ):
        answer = await http.request(method, path.replace("{id}", "team.lead"), json=asked, headers=headers)
        assert answer.status_code == status, (method, path, answer.text)
        said = about["paths"][path][method.lower()]["responses"][str(status)]["content"]["application/json"]["schema"]
        Draft202012Validator({**said, "components": about["components"]}).validate(answer.json())


async def test_the_page_has_all_of_it_and_loads_nothing(http: httpx.AsyncClient) -> None:
    answer = await http.get("/docs")
    assert answer.headers["content-type"].startswith("text/html")
    for path, methods in openapi.document()["paths"].items():
        for method, operation in methods.items():
            assert f"{method.upper()} {path}" in answer.text
            assert all(one["name"] in answer.text for one in operation["parameters"])
    assert re.findall(r"(?:href|src|url)\s*[=(]\s*['\"]?([^'\")>]+)", answer.text) == ["openapi.json"]
    assert "<script" not in answer.text and "@import" not in answer.text

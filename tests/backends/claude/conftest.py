from __future__ import annotations

import asyncio
import os
import socket
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from teamwright.backends.api import BackendConfig, Tool, Turn
from tests.standins.messages import Messages

MODEL = "claude-sonnet-4-5"
Opened = Callable[..., AbstractAsyncContextManager[Any]]


@pytest.fixture(scope="package")
def server() -> Iterator[Messages]:
    with Messages() as made:
        yield made


@pytest.fixture
def api(server: Messages) -> Iterator[Messages]:
    """The stand-in; whatever a test leaves unsaid or gets unexpectedly is wrong."""
    server.say()
    yield server
    assert (server.unexpected, server.unsaid) == ([], 0)


@pytest.fixture
def outside() -> Iterator[str]:
    """A proxy that all traffic but the model's would go through: nobody may even try."""
    with socket.create_server(("127.0.0.1", 0)) as door:
        yield f"http://127.0.0.1:{door.getsockname()[1]}"
        door.setblocking(False)
        with pytest.raises(BlockingIOError):
            door.accept()


@pytest.fixture
def environment(outside: str, api: Messages, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> dict[str, str]:
    """The environment of an agent: nothing of whoever runs the tests."""
    values = {
        "PATH": os.environ["PATH"],
        "HOME": str(tmp_path / "person"),
        "TMPDIR": str(tmp_path),
        "ANTHROPIC_API_KEY": "dummy",
        "ANTHROPIC_BASE_URL": api.url,
        "HTTPS_PROXY": outside,
        "HTTP_PROXY": outside,
        "NO_PROXY": "127.0.0.1",
    }
    for name in list(os.environ):
        monkeypatch.delenv(name)
    for name, value in values.items():
        monkeypatch.setenv(name, value)
    (tmp_path / "person").mkdir()
    return values


@pytest.fixture
def opened(environment: dict[str, str], tmp_path: Path) -> Opened:
    """A function: an open backend; with it everything of the CLI ends."""
    from teamwright.backends import claude

    @asynccontextmanager
    async def open_backend(**more: Any) -> AsyncIterator[Any]:
        backend = claude.create()
        options = {"retries": 1, **more.pop("options", {})}
        values: dict[str, Any] = {
            "agent": "a", "prompt": "You add.", "model": MODEL, "model_options": {}, "options": options,
            "folder": str(tmp_path), "state": str(tmp_path / "state"),
        }  # fmt: skip
        await backend.open(BackendConfig(**{**values, **more}))
        try:
            yield backend
        finally:
            await backend.close()

    return open_backend


def add(at_once: int = 1) -> Tool:
    """Adds, when so many calls of it have come."""
    together = asyncio.Barrier(at_once)

    async def call(given: Mapping[str, Any], turn: Turn) -> Any:
        await together.wait()
        return given["a"] + given["b"]

    schema = {"type": "object", "properties": {name: {"type": "integer"} for name in "ab"}, "required": ["a", "b"]}
    return Tool("add", "Adds.", schema, call)


def by_name(spans: Any) -> dict[str, list[Any]]:
    found: dict[str, list[Any]] = {}
    for name, values, span in spans():
        found.setdefault(name, []).append((values, span))
    return found

"""The backends that the contract suite runs over, each with what it needs.

To add one: write its stand-in (a subclass of `tests.standins.server.StandIn`) if there is none for its wire format,
and an `Adapter` here. The suite asks nothing of the backend itself, only of the agent around it. What its SDK can't do
is named in `lacks`; the tests that check it are skipped, and the reason is shown.

That of a backend in a package of its own is named by the variable TEAMWRIGHT_CONTRACT ("module:NAME"); see
CONTRIBUTING.md.
"""

from __future__ import annotations

import importlib.util
import os
import pkgutil
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from typing import Any

from teamwright.backends.catalog import BackendInfo
from teamwright.backends.plugins import info_of
from tests.standins.chat_completions import ChatCompletions
from tests.standins.generate_content import GenerateContent
from tests.standins.messages import Messages
from tests.standins.server import StandIn


@dataclass(frozen=True)
class Adapter:
    """One backend under test.

    `standin` makes its model; None = it thinks by itself, so only checks that need no script run. `spec` gives the
    keys of the agent's AgentSpec (model, backend_options, environment, secrets …) for a running stand-in.
    `tool_name` is what the model calls one of the agent's tools. `lacks`: check → why it can't hold here; the checks
    are named in the tests' `needs` marks. `duration`: seconds that a query to the tight agent may take, `talks`: in how
    many conversations it gets twenty of them together; a backend that starts a process for each needs more and takes
    fewer.
    """

    name: str
    standin: Callable[[], StandIn] | None
    spec: Callable[[StandIn], Mapping[str, Any]]
    tool_name: Callable[[str], str] = str
    lacks: Mapping[str, str] = field(default_factory=dict)
    duration: float = 4.0
    talks: int = 20

    @property
    def info(self) -> BackendInfo:
        """The catalogue's entry. Raises UserError for a broken package's."""
        found = info_of(self.name)
        assert found is not None, f"no installed package brings a backend {self.name!r}"
        return found

    @property
    def where(self) -> Mapping[str, Any]:
        """The keys of an AgentSpec that say where a package's backend is."""
        origin = self.info.origin
        return {"backend_code": origin.reference, "backend_folder": origin.folder} if origin is not None else {}

    @property
    def installed(self) -> bool:
        probe = self.info.probe
        try:
            return probe is None or importlib.util.find_spec(probe) is not None
        except ModuleNotFoundError:
            return False

    def model(self) -> AbstractContextManager[StandIn | None]:
        return self.standin() if self.standin is not None else nullcontext()


def _openai(model: StandIn) -> Mapping[str, Any]:
    return {
        "model": "gpt-4o",
        "backend_options": {"base_url": model.url, "retries": 1},
        "secrets": {"OPENAI_API_KEY": "sk-contract"},
    }


def _crewai(model: StandIn) -> Mapping[str, Any]:
    return {
        "model": "gpt-4o",
        "backend_options": {"base_url": model.url, "retries": 1},
        "secrets": {"OPENAI_API_KEY": "sk-contract"},
        "environment": {"NO_PROXY": "127.0.0.1"},
    }


def _claude(model: StandIn) -> Mapping[str, Any]:
    return {
        "model": "claude-sonnet-4-5",
        "backend_options": {"retries": 1},
        "environment": {"ANTHROPIC_BASE_URL": model.url, "NO_PROXY": "127.0.0.1"},
        "secrets": {"ANTHROPIC_API_KEY": "sk-contract"},
    }


def _gemini(model: StandIn) -> Mapping[str, Any]:
    return {
        "model": "gemini-2.5-flash",
        "backend_options": {"base_url": model.url, "retries": 1},
        "secrets": {"GEMINI_API_KEY": "contract-key"},
    }


ADAPTERS: tuple[Adapter, ...] = (
    Adapter("offline", None, lambda model: {}),
    Adapter("openai", ChatCompletions, _openai),
    Adapter("gemini", GenerateContent, _gemini),
    Adapter(
        "claude",
        Messages,
        _claude,
        lacks={
            "error_words": "the CLI says what happened in words of its own",
            "silence": "the CLI asks a model that says nothing once more",
            "run_header": "the CLI's headers are the same for all calls of its process",
        },
        duration=12.0,
        talks=1,
    ),
    Adapter("crewai", ChatCompletions, _crewai, duration=8.0),
)
if _other := os.environ.get("TEAMWRIGHT_CONTRACT"):
    ADAPTERS += (pkgutil.resolve_name(_other),)

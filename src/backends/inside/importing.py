"""Waits for the user's code to import an SDK, and puts our eyes in when it has. Imports nothing by itself."""

from __future__ import annotations

import importlib.util
import os
import sys
import threading
from collections.abc import Callable, Sequence
from importlib.machinery import ModuleSpec
from types import ModuleType
from typing import Any

from . import claude, crewai, gemini, threads
from .scope import complain, safely

#: module: what is done with it as soon as it is there.
_PATCHES: dict[str, Callable[[Any], None]] = {
    "google.genai.models": gemini.models,
    "google.genai._extra_utils": gemini.functions,
    "claude_agent_sdk": claude.tools,
    "claude_agent_sdk._internal.query": claude.conversations,
    "claude_agent_sdk._internal.transport.subprocess_cli": claude.command_line,
    "crewai.events.event_bus": crewai.events,
}
#: SDK: those of its modules that have to be there, so that it is one that we know.
_NEEDED: dict[str, tuple[str, ...]] = {
    "google.genai": ("google.genai.models", "google.genai._extra_utils"),
    "claude_agent_sdk": ("claude_agent_sdk._internal.query", "claude_agent_sdk._internal.transport.subprocess_cli"),
    "crewai": ("crewai.events.event_bus",),
}


def install() -> None:
    """From now on. Safe to call twice."""
    if any(isinstance(finder, Finder) for finder in sys.meta_path):
        return
    for name in (*_PATCHES, *_NEEDED):
        module = sys.modules.get(name)
        if module is not None:
            _there(name, module)
    sys.meta_path.insert(0, Finder())
    threads.carry()


class Finder:
    """First in `sys.meta_path`: lets the others find a module of an SDK, and sees to it once it has run."""

    def __init__(self) -> None:
        self._looking = threading.local()

    def find_spec(
        self, name: str, path: Sequence[str] | None = None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        """The spec that the others have, or None for what is not of interest."""
        if (name not in _PATCHES and name not in _NEEDED) or getattr(self._looking, "name", None) == name:
            return None
        self._looking.name = name
        try:
            spec = importlib.util.find_spec(name)
        except (ImportError, ValueError):
            return None
        finally:
            self._looking.name = None
        if spec is not None and spec.loader is not None:
            if name == "crewai":
                crewai.quiet(os.environ)
            with safely(name):
                _after(name, spec.loader)
        return spec


def _after(name: str, loader: Any) -> None:
    run = loader.exec_module

    def exec_module(module: ModuleType) -> None:
        del loader.exec_module
        run(module)
        _there(name, module)

    loader.exec_module = exec_module


def _there(name: str, module: ModuleType) -> None:
    patch = _PATCHES.get(name)
    if patch is not None:
        with safely(name):
            patch(module)
    for needed in _NEEDED.get(name, ()):
        with safely(needed):
            if needed not in sys.modules and importlib.util.find_spec(needed) is None:
                complain(name, f"it has no {needed}: another version than those that are known")

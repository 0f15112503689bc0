"""Backends by name: one of them never brings another's packages along."""

from __future__ import annotations

import json
import subprocess
import sys
from importlib.util import find_spec

import pytest

from teamwright.backends import loader
from teamwright.backends.api import Backend
from teamwright.backends.catalog import CATALOG
from teamwright.errors import MissingExtra, UserError

#: What the SDK of each is imported as.
SDKS = {"claude": "claude_agent_sdk", "gemini": "google.genai", "crewai": "crewai"}

_PROBE = """
import asyncio, json, sys
from teamwright.backends import loader
from teamwright.backends.api import BackendConfig
backend = loader.load(sys.argv[1])
options = {"base_url": "http://127.0.0.1:9"} if sys.argv[1] in ("openai", "gemini") else {}
async def main():
    await backend.open(BackendConfig("a", "", "m", {}, options, "."))
    await backend.close()
if sys.argv[1] in ("offline", "openai", "gemini"):
    asyncio.run(main())
print(json.dumps(sorted(sys.modules)))
"""


def _here(name: str) -> bool:
    probe = CATALOG[name].probe
    try:
        return probe is None or find_spec(probe) is not None
    except ModuleNotFoundError:
        return False


@pytest.mark.parametrize("name", loader.BUILT_IN)
def test_one_backend_imports_no_other_sdk(name: str, environment: dict[str, str]) -> None:
    if not _here(name):
        pytest.skip(f"the packages of {name} are not installed")
    words = [sys.executable, "-I", "-c", _PROBE, name]
    done = subprocess.run(words, env=environment, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    after = json.loads(done.stdout)
    assert {SDKS[other] for other in SDKS if other != name} & set(after) == set()


@pytest.mark.parametrize("name", loader.BUILT_IN)
def test_what_is_built_in_is_a_backend(name: str) -> None:
    assert name in CATALOG
    if _here(name):
        backend = loader.load(name)
        assert isinstance(backend, Backend) and backend.name == name


def test_what_is_not_there(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(UserError) as caught:
        loader.load("gemni")
    assert caught.value.hint == "did you mean 'gemini'?"
    monkeypatch.setattr(loader, "_installed", lambda module: False)
    with pytest.raises(MissingExtra) as missing:
        loader.load("gemini")
    assert missing.value.hint == "pip install 'teamwright[gemini]'"

"""The reference names every key that the schema knows."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from teamwright.jobs.schema import JobFile, json_schema
from teamwright.jobs.schema_agent import AgentEntry
from teamwright.jobs.topology import KEYS


def words(root: Path) -> set[str]:
    text = re.sub(r"```.*?```", "", (root / "docs" / "job-file.md").read_text(), flags=re.DOTALL)
    return {word for code in re.findall(r"`([^`]+)`", text) for word in re.findall(r"[\w-]+", code)}


@pytest.mark.parametrize("model", [JobFile, AgentEntry])
def test_every_key_is_in_the_reference(model: type[JobFile | AgentEntry], root: Path) -> None:
    assert set(model.model_fields) - words(root) == set()


def test_every_inner_key_is_in_the_reference(root: Path) -> None:
    inner = {key for part in json_schema()["$defs"].values() for key in part.get("properties", {})}
    assert inner - words(root) == {"concurrent", "rpm", "groups"}  # of keys that are not built yet


def test_every_topology_is_in_the_reference(root: Path) -> None:
    assert set(KEYS) <= words(root)

"""The reference names every key that the schema knows."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from jsonschema import Draft202012Validator  # type: ignore[import-untyped]

from teamwright.jobs.schema import JobFile, json_schema
from teamwright.jobs.schema_agent import AgentEntry
from teamwright.jobs.topology import KEYS


def words(root: Path) -> set[str]:
    page = (root / "docs" / "job-file.md").read_text()
    text = re.sub(r"```.*?```|<!-- begin: made.*?<!-- end -->", "", page, flags=re.DOTALL)
    return {word for code in re.findall(r"`([^`]+)`", text) for word in re.findall(r"[\w-]+", code)}


@pytest.mark.parametrize("model", [JobFile, AgentEntry])
def test_every_key_is_in_the_reference(model: type[JobFile | AgentEntry], root: Path) -> None:
    assert set(model.model_fields) - words(root) == set()


def test_every_inner_key_is_in_the_reference(root: Path) -> None:
    inner = {key for part in json_schema()["$defs"].values() for key in part.get("properties", {})}
    assert inner - words(root) == {"concurrent", "rpm", "groups"}  # of keys that are not built yet


def test_every_topology_is_in_the_reference(root: Path) -> None:
    assert set(KEYS) <= words(root)


def test_the_table_and_the_schema_are_what_the_models_say(root: Path) -> None:
    done = subprocess.run([sys.executable, "scripts/reference.py", "--check"], cwd=root, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_editors_accept_the_examples(root: Path) -> None:
    check = Draft202012Validator(json.loads((root / "docs" / "job.schema.json").read_text()))
    files = sorted((root / "examples" / "jobs").glob("*.yaml"))
    assert len(files) >= 7
    for file in files:
        assert [error.message for error in check.iter_errors(yaml.safe_load(file.read_text()))] == [], file
    assert [error.message for error in check.iter_errors({"agents": [{"id": "a", "models": "x"}]})]

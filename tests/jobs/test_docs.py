"""The reference and the schema of editors explain every key."""

from __future__ import annotations

import json
import string
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from jsonschema import Draft202012Validator  # type: ignore[import-untyped]
from pydantic import BaseModel

from teamwright.jobs import schema, schema_agent
from teamwright.jobs.topology import KEYS


def models() -> list[type[BaseModel]]:
    """Every model of the job file."""
    found = [*vars(schema).values(), *vars(schema_agent).values()]
    kinds = dict.fromkeys(each for each in found if isinstance(each, type) and issubclass(each, BaseModel))
    return [kind for kind in kinds if kind.model_fields]


@pytest.mark.parametrize("model", models())
def test_every_field_says_what_it_is(model: type[BaseModel]) -> None:
    """One sentence or more; the page and the schema of editors are made from it."""
    for name, field in model.model_fields.items():
        text = field.description or ""
        assert len(text) > 10 and text[0] in f"{string.ascii_uppercase}`" and text.endswith("."), (name, text)


def test_the_page_and_the_schema_explain_every_key(root: Path) -> None:
    made = json.loads((root / "docs" / "job.schema.json").read_text())
    page = (root / "docs" / "job-file.md").read_text()
    assert len(models()) >= 20
    for part in (made, *made["$defs"].values()):
        for name, key in part.get("properties", {}).items():
            text = key.get("description") or made["$defs"][key["$ref"].rpartition("/")[2]]["description"]
            assert f"{text} " in page, name


def test_every_topology_is_in_the_reference(root: Path) -> None:
    page = (root / "docs" / "job-file.md").read_text()
    assert [kind for kind in KEYS if f"| `{kind}` | " not in page] == []


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

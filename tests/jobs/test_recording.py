from __future__ import annotations

import re
from pathlib import Path

import pytest

from teamwright.errors import TeamwrightError
from teamwright.jobs.plan import Plan
from teamwright.jobs.planner import load

AGENTS = "agents:\n  - {id: lead, backend: offline, prompt: Hi.}\n"


def plan(tmp_path: Path, tracing: str = "", **environ: str) -> Plan:
    file = tmp_path / "team.yaml"
    file.write_text((f"tracing: {tracing}\n" if tracing else "") + AGENTS)
    return load(file, environ=environ, cwd=tmp_path).plan


@pytest.mark.parametrize(
    ("tracing", "environ", "wanted"),
    [
        ("", {}, (True, "full")),
        ("", {"TEAMWRIGHT_TRACING": "off"}, (False, "full")),
        ("{enabled: false}", {"TEAMWRIGHT_TRACING": "on"}, (False, "full")),
        ("{content: redacted}", {"TEAMWRIGHT_TRACING_CONTENT": "full"}, (True, "redacted")),
        ("{content: redacted}", {"TEAMWRIGHT_TRACING_CONTENT": "off"}, (True, "off")),
        ("", {"TEAMWRIGHT_TRACING_CONTENT": "redacted"}, (True, "redacted")),
        ("{redact: [{name: a, pattern: b}]}", {}, (True, "redacted")),
        ("{content: 'off', redact: [{name: a, pattern: b}]}", {}, (True, "off")),
    ],
)
def test_the_stricter_counts(tmp_path: Path, tracing: str, environ: dict[str, str], wanted: tuple[bool, str]) -> None:
    found = plan(tmp_path, tracing, **environ)
    assert (found.tracing, found.content) == wanted
    assert Plan.from_dict(found.to_dict()).redact == found.redact


def test_rules_of_the_job_and_of_everybody(tmp_path: Path) -> None:
    (tmp_path / "rules.yaml").write_text("badge: 'B-\\d{4}'\n")
    found = plan(tmp_path, "{redact: [{name: customer, pattern: C-1}]}", TEAMWRIGHT_REDACT="rules.yaml")
    assert found.redact == (("customer", "C-1"), ("badge", r"B-\d{4}"))
    assert plan(tmp_path, TEAMWRIGHT_REDACT="rules.yaml").content == "redacted"


@pytest.mark.parametrize(
    ("tracing", "environ", "words"),
    [
        (
            "{redact: [{name: a, pattern: '(a+)+b'}]}",
            {},
            "team.yaml:1: tracing.redact[0].pattern: it could take",
        ),
        ("{redact: [{name: a, pattern: '('}]}", {}, "not a regular expression"),
        ("{redact: [{name: 'a/b', pattern: b}]}", {}, "tracing.redact[0].name"),
        ("{content: full, redact: [{name: a, pattern: b}]}", {}, "masks nothing with content: full"),
        ("", {"TEAMWRIGHT_TRACING": "perhaps"}, "neither on nor off"),
        ("", {"TEAMWRIGHT_TRACING_CONTENT": "some"}, "none of full, redacted, off"),
        ("", {"TEAMWRIGHT_REDACT": "none.yaml"}, "can't be read"),
        ("", {"TEAMWRIGHT_REDACT": "bad.yaml"}, "rule 'a': it could take for ever"),
    ],
)
def test_what_can_not_be(tmp_path: Path, tracing: str, environ: dict[str, str], words: str) -> None:
    (tmp_path / "bad.yaml").write_text("a: '(a+)+b'\n")
    with pytest.raises(TeamwrightError, match=re.escape(words)):
        plan(tmp_path, tracing, **environ)

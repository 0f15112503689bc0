"""What may stand where the command line says JOB or TARGET."""

from __future__ import annotations

from pathlib import Path

import pytest

from teamwright.cli.app import Call
from teamwright.cli.targets import Target, labels, parse, parse_job
from teamwright.errors import TeamwrightError, UserError


@pytest.fixture
def call(tmp_path: Path) -> Call:
    (tmp_path / "jobs").mkdir()
    (tmp_path / "jobs" / "team.yaml").write_text("agents: [{id: lead, unknown: key}]")
    (tmp_path / "jobs" / "named.yml").write_text("job: {name: other}\nagents: []")
    (tmp_path / "plain file").write_text("job:\n  name: ${NAME}\n")
    return Call(environ={"NAME": "from-shell"}, cwd=tmp_path)


@pytest.mark.parametrize(
    ("text", "job", "agent", "group", "file"),
    [
        ("hello", "hello", None, None, None),
        ("hello/lead", "hello", "lead", None, None),
        ("hello/my_agent-2", "hello", "my_agent-2", None, None),
        ("hello/@authors", "hello", None, "authors", None),
        ("jobs/team.yaml", "team", None, None, "jobs/team.yaml"),
        ("jobs/team.yaml/lead", "team", "lead", None, "jobs/team.yaml"),
        ("./jobs/../jobs/named.yml/@all", "other", None, "all", "jobs/../jobs/named.yml"),
        ("plain file", "from-shell", None, None, "plain file"),
    ],
)
def test_parse(call: Call, text: str, job: str, agent: str | None, group: str | None, file: str | None) -> None:
    path = call.cwd / file if file else None
    assert parse(call, text) == Target(job, agent, group, path)


@pytest.mark.parametrize("text", ["", "/", "a/b/c", "Hello", "a b", "hello/", "*", "../x", "a\0b"])
def test_nonsense(call: Call, text: str) -> None:
    with pytest.raises(UserError, match="neither a job nor a job file"):
        parse(call, text)


def test_a_file_that_is_not_there_suggests(call: Call) -> None:
    with pytest.raises(UserError, match=r"no file jobs/taem.yaml") as caught:
        parse(call, "jobs/taem.yaml")
    assert "team.yaml" in (caught.value.hint or "")


def test_a_part_where_a_job_is_wanted(call: Call) -> None:
    with pytest.raises(UserError, match="names a part of a job"):
        parse_job(call, "hello/lead")


def test_target_as_text() -> None:
    assert [str(Target("j")), str(Target("j", "a")), str(Target("j", None, "g"))] == ["j", "j/a", "j/@g"]


def test_labels() -> None:
    assert labels(["a=1", "b=x=y", "c="]) == {"a": "1", "b": "x=y", "c": ""}
    for wrong in ("a", "=1", ""):
        with pytest.raises(TeamwrightError):
            labels([wrong])

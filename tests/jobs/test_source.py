from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest

from teamwright.errors import JobFileError, UserError
from teamwright.jobs import source
from teamwright.jobs.source import Source, key_text, parse, read


def made(text: str, **variables: str) -> Source:
    return parse(text, variables, path=Path("team.yaml"), file="team.yaml")


def wrong(text: str | bytes, tmp_path: Path) -> str:
    file = tmp_path / "team.yaml"
    file.write_bytes(text if isinstance(text, bytes) else text.encode())
    with pytest.raises(JobFileError) as caught:
        read(file, {}, shown="team.yaml")
    (problem,) = caught.value.problems
    return str(problem)


def test_every_key_and_item_knows_its_line() -> None:
    found = made("job:\n  name: x\nagents:\n  - id: a\n    limits:\n      turns: 3\n  - {id: b}\n")
    assert found.mark(("job", "name")).line == 2
    assert found.mark(("agents", 0, "limits", "turns")).line == 6
    assert found.mark(("agents", 1, "id")).line == 7
    assert found.mark(("agents", 0, "limits", "depth")).line == 5  # the nearest key above
    assert found.agent_id(1) == "b"


@pytest.mark.parametrize(
    ("written", "value"),
    [
        ("9000", 9000),
        ("0x1F", 31),
        ("0o17", 15),
        ("1.5", 1.5),
        ("1e3", 1000.0),
        ("true", True),
        ("~", None),
        ("", None),
        ("yes", "yes"),
        ("no", "no"),
        ("2026-01-01", "2026-01-01"),
        ("12:30", "12:30"),
        ("1.0.0", "1.0.0"),
        (".inf", ".inf"),
        ("'9000'", "9000"),
        ("!!str 9000", "9000"),
        ("|\n  9000", "9000"),
        ("9" * 5000, "9" * 5000),
    ],
)
def test_scalars_mean_what_yaml_1_2_says(written: str, value: Any) -> None:
    assert made(f"x: {written}").data == {"x": value}


def test_keys_are_always_text() -> None:
    assert made("1: a\non: b\nnull: c").data == {"1": "a", "on": "b", "null": "c"}


def test_variables_are_put_in_value_by_value() -> None:
    found = made(
        'port: ${PORT:-9000}\nquoted: "${PORT:-9000}"\nescaped: $${HOME}\nurl: http://${HOST}:${PORT:-1}/\nold: $HOME',
        HOST="h",
    )
    assert found.data == {
        "port": 9000,
        "quoted": "9000",
        "escaped": "${HOME}",
        "url": "http://h:1/",
        "old": "$HOME",
    }
    assert found.variables[("url",)] == ("HOST", "PORT")


def test_a_variable_cannot_add_keys() -> None:
    assert made("x: ${EVIL}", EVIL="a: 1\nb: 2").data == {"x": "a: 1\nb: 2"}
    assert made("x: ${EVIL}", EVIL="[1, 2]").data == {"x": "[1, 2]"}


def test_an_empty_variable_is_empty_text_and_takes_a_default() -> None:
    assert made("x: ${A}\ny: ${A:-7}", A="").data == {"x": "", "y": 7}


def test_a_missing_variable_names_line_key_and_cure() -> None:
    found = made("agents:\n  - id: a\n    prompt: Hi ${WHO}\n")
    ((_, problem),) = found.problems
    assert str(problem).startswith(
        "team.yaml:3: agents[0].prompt: agent 'a': the variable WHO is not set (export WHO=…"
    )


@pytest.mark.parametrize("text", ["${}", "${1A}", "${A-b}", "${A", "${A b}"])
def test_a_malformed_reference_is_named(text: str) -> None:
    ((_, problem),) = made(f'x: "{text}"').problems
    assert "can't make out" in problem.message
    assert "$${" in str(problem.hint)


def test_a_key_written_twice() -> None:
    ((_, problem),) = made("job: {name: a}\nagents: []\njob: {name: b}").problems
    assert str(problem) == "team.yaml:3: job: written twice (first at line 1: keep one of them)"


def test_merge_keys_and_aliases_keep_their_lines() -> None:
    found = made("base: &base\n  turns: 3\n  depth: 1\na:\n  <<: *base\n  depth: 2\nb: *base\n")
    assert found.data["a"] == {"depth": 2, "turns": 3}
    assert found.data["b"] == {"turns": 3, "depth": 1}
    assert found.mark(("a", "turns")).line == 2


@pytest.mark.parametrize(
    ("text", "says"),
    [
        (b"", "team.yaml: the file is empty (the smallest job: agents: [{id: lead"),
        (b"# only a comment\n", "the file is empty"),
        (b"---\n", "the file is empty"),
        (b"\x7fELF\x00\x01\x02", "team.yaml: a binary file, not YAML"),
        (b"job:\n  name: \xff\xfe\n", "team.yaml:2: not text in UTF-8"),
        (b"- id: a\n", "team.yaml:1: a job file is a mapping, this is a list (put the list under `agents:`)"),
        (b"hello\n", "team.yaml:1: a job file is a mapping, this is one value"),
        (b"a: [1, 2\nb: 3\n", "team.yaml:2: not valid YAML: while parsing a flow sequence"),
        (b"a: 1\n\tb: 2\n", "indent with spaces, not tabs"),
        (b"a: {port: ${PORT}}\n", "inside [ ] and { } a ${VAR} needs quotes, or a line of its own"),
        (b"a: b: c\n", "team.yaml:1: not valid YAML: mapping values are not allowed in this context"),
        (b"a: \x01\n", "team.yaml: not valid YAML"),
        (b"a: *nobody\n", "team.yaml:1: alias *nobody has no anchor &nobody above it"),
        (b"a: &a [*a]\n", "team.yaml:1: alias *a stands inside itself"),
        (b"a: !!python/object:os.system x\n", "team.yaml:1: the tag !!python/object:os.system is not allowed"),
        (b"a: !own x\n", "the tag !own is not allowed"),
        (b"? [a, b]\n: c\n", "team.yaml:1: a key must be one word"),
        (b"a: 1\n---\nb: 2\n", "team.yaml:2: a second document starts here"),
        (b"a: " + b"[" * 2000 + b"]" * 2000, "nested deeper than 50 levels"),
        (b"a: " + b"x" * 1_000_001, "team.yaml: larger than 1 MB: not a job file"),
    ],
)
def test_one_clear_line_for_what_is_not_a_job_file(text: bytes, says: str, tmp_path: Path) -> None:
    line = wrong(text, tmp_path)
    assert says in line
    assert "\n" not in line


def test_a_yaml_bomb_ends_at_the_limit(tmp_path: Path) -> None:
    bomb = "a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n" + "".join(
        f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 10)}]\n" for n in range(1, 10)
    )
    assert "team.yaml:1: its aliases expand to more than 50,000 values" in wrong(bomb, tmp_path)


def test_a_bomb_of_long_texts_ends_as_well(tmp_path: Path) -> None:
    bomb = f"a: &a {'x' * 900_000}\nb: [{', '.join(['*a'] * 1000)}]\n"
    assert "expand to more than" in wrong(bomb, tmp_path)


def test_a_byte_order_mark_is_fine(tmp_path: Path) -> None:
    file = tmp_path / "team.yaml"
    file.write_bytes(b"\xef\xbb\xbfjob: {name: a}\n")
    assert read(file, {}).data == {"job": {"name": "a"}}


def test_a_file_that_is_not_there_suggests_the_nearest(tmp_path: Path) -> None:
    (tmp_path / "hello.yaml").write_text("")
    with pytest.raises(UserError, match="no file") as caught:
        read(tmp_path / "helo.yaml", {})
    assert caught.value.hint == f"did you mean {tmp_path / 'hello.yaml'}?"


def test_a_folder_and_a_file_that_cannot_be_read(tmp_path: Path) -> None:
    (tmp_path / "one.yml").write_text("")
    with pytest.raises(UserError, match="is a folder") as caught:
        read(tmp_path, {})
    assert caught.value.hint == "in it: one.yml"
    (tmp_path / "loop.yaml").symlink_to("loop.yaml")
    with pytest.raises(UserError, match="can't read"):
        read(tmp_path / "loop.yaml", {})


def test_key_paths_as_text() -> None:
    assert key_text(("agents", 1, "restart", "max")) == "agents[1].restart.max"
    assert key_text(()) == ""


def test_reading_looks_at_no_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WHO", "me")
    assert os.environ["WHO"] == "me"
    assert made("x: ${WHO}").problems


def test_a_value_alone_keeps_its_references() -> None:
    assert source.value_of("a ${B}", "--set") == "a ${B}"
    assert source.value_of("", "--set") is None
    with pytest.raises(JobFileError):
        source.value_of("[a", "--set")

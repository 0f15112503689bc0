"""Every command explains itself, and takes the global options."""

from __future__ import annotations

import asyncio
import json
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import click
import pytest
from click.testing import CliRunner

from teamwright.cli.app import COMMANDS, app
from teamwright.cli.boundary import run
from teamwright.cli.completing import TYPES
from teamwright.engine.store.records import JobRecord
from teamwright.engine.store.state import EngineState
from teamwright.home import Home
from teamwright.jobs.plan import AgentPlan, Plan


def every(group: click.Group, path: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], click.Command]]:
    """All commands, with the words that call them."""
    context = click.Context(group)
    for name in group.list_commands(context):
        found = group.get_command(context, name)
        assert found is not None
        if isinstance(found, click.Group):
            yield from every(found, (*path, name))
        else:
            yield (*path, name), found


ALL = list(every(app))
#: Their stdout is a protocol's.
NO_JSON = {("mcp",)}


def test_all_commands_are_there() -> None:
    assert {words[0] for words, _ in ALL} == set(COMMANDS)


@pytest.mark.parametrize(("words", "found"), ALL, ids=[" ".join(words) for words, _ in ALL])
def test_help(words: tuple[str, ...], found: click.Command) -> None:
    done = CliRunner().invoke(app, [*words, "--help"])
    assert done.exit_code == 0
    examples = [line.strip() for line in done.output.splitlines() if line.strip().startswith("deploy ")]
    examples += re.findall(r"\$\((deploy [^)]*)\)", done.output)
    assert [line for line in examples if line.split()[1 : len(words) + 1] == list(words)], "an example, please"
    assert found.help
    options = {option for parameter in found.params for option in parameter.opts}
    assert options >= {"--home", "--debug"} and ("--json" in options) == (words not in NO_JSON)


GROUPS = [app, *(one for name in app.list_commands(click.Context(app))
                 if isinstance(one := app.get_command(click.Context(app), name), click.Group))]  # fmt: skip


@pytest.mark.parametrize("group", GROUPS, ids=[str(group.name) for group in GROUPS])
def test_help_of_a_group_is_not_cut(group: click.Group) -> None:
    words = [] if group is app else [str(group.name)]
    done = CliRunner().invoke(app, [*words, "--help"])
    assert done.exit_code == 0
    text = "".join(done.output.split())  # lines are broken at hyphens too
    for name, one in group.commands.items():
        assert name + "".join(one.get_short_help_str(10_000).split()) in text


@pytest.mark.parametrize(
    ("arguments", "about"),
    [
        (("events", "-n", "9" * 30), "0<=x<=1000000"),
        (("logs", "x", "-n", "9" * 30), "0<=x<=1000000"),
        (("trace", "list", "--limit", "9" * 30), "1<=x<=1000000"),
        (("runs", "list", "--limit", "9" * 30), "1<=x<=1000000"),
        (("registry", "list", "--limit", "9" * 30), "1<=x<=1000000"),
        (("apply", "x.yaml", "--drain", "nan"), "'nan' is not a number of seconds"),
        (("top", "--every", "nan"), "'nan' is not a number of seconds"),
        (("query", "http://x", "hi", "--timeout", "inf"), "0<x<=1000000"),
        (("events", "--since", "9" * 20 + "d"), "is not a time"),
        (("events", "--since", "-5m"), "is not a time"),
        (("query", "http://[::1", "hi"), "is not the address of an agent"),
    ],
)
def test_numbers_out_of_all_bounds(
    arguments: tuple[str, ...],
    about: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("TEAMWRIGHT_HOME", str(tmp_path / "logs"))
    assert run(arguments) == 2
    out, err = capsys.readouterr()
    assert out == "" and about in err and err.count("error: ") == 1


#: Arguments that name nothing which is there already: what to say, to look for, or to make.
FREE = {"text", "name", "reason", "url"}


@pytest.mark.parametrize(("words", "found"), ALL, ids=[" ".join(words) for words, _ in ALL])
def test_names_are_completed(words: tuple[str, ...], found: click.Command) -> None:
    """What names a job, an agent, a session or a trace has a type that knows them; files and choices have theirs."""
    plain = [
        parameter.opts[0]
        for parameter in found.params
        if parameter.type is click.STRING
        and (isinstance(parameter, click.Argument) or parameter.name in TYPES)
        and parameter.name not in FREE
    ]
    assert not plain, f"give them a type, or a name that cli/completing.py knows: {plain}"


@pytest.mark.parametrize(("words", "found"), ALL, ids=[" ".join(words) for words, _ in ALL])
def test_nonsense_is_one_line(
    words: tuple[str, ...],
    found: click.Command,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """In a folder where there is nothing: exit code 1 or 2, one line and perhaps a hint, and with --json one object."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("TEAMWRIGHT_HOME", str(tmp_path / "logs"))
    needed = [parameter for parameter in found.params if isinstance(parameter, click.Argument) and parameter.required]
    nonsense = "No Such" if words == ("init",) else "nothing-such"  # which is a fine name for a new job
    arguments = [*words, *([nonsense] * len(needed) or ["--nonsense"])]
    code = run(arguments)
    out, err = capsys.readouterr()
    assert code in (1, 2) and out == "" and "Traceback" not in err and "this is a bug" not in err, err
    assert sum(line.startswith("error: ") for line in err.splitlines()) == 1, err
    if words not in NO_JSON and "--nonsense" not in arguments:
        assert run([*arguments, "--json"]) == code
        told = json.loads(capsys.readouterr().out)["error"]
        assert told["message"] == next(line for line in err.splitlines() if line.startswith("error: "))[7:]
    assert not (tmp_path / "logs").exists()


def complete(environment: dict[str, str], folder: Path, *words: str) -> list[str]:
    """What bash is offered for the last of `words`."""
    asked = {"_DEPLOY_COMPLETE": "bash_complete", "COMP_WORDS": " ".join(["deploy", *words]),
             "COMP_CWORD": str(len(words))}  # fmt: skip
    program = Path(sys.executable).with_name("deploy")
    done = subprocess.run(
        [program], cwd=folder, env={**environment, **asked}, capture_output=True, text=True, timeout=60
    )
    assert done.returncode == 0 and done.stderr == "", done
    return [line.partition(",")[2] for line in done.stdout.splitlines() if line.startswith(("plain,", "file,"))]


def test_completion(tmp_path: Path, environment: dict[str, str]) -> None:
    """Names of a home, without an engine; nothing and no word where there is no home."""
    assert complete(environment, tmp_path, "ps", "no") == ["no"]  # a file, perhaps
    assert complete(environment, tmp_path, "sess") == ["sessions"]
    assert complete(environment, tmp_path, "trace", "show", "") == []
    agents = (AgentPlan("lead", "declared", 0, "offline", group="front"), AgentPlan("aide", "declared", 0, "offline"))
    plan = Plan("team", str(tmp_path / "team.yaml"), str(tmp_path), agents, (("lead", "aide"),), (), "lead", "dynamic",
                revision="r1")  # fmt: skip
    home = Home(tmp_path / "logs").create()
    state = EngineState(home.engine_db)
    asyncio.run(state.save_job(JobRecord(plan, "stopped", 1)))
    state.close()
    assert complete(environment, tmp_path, "ps", "tea") == ["team"]
    assert complete(environment, tmp_path, "logs", "team/") == ["team/lead", "team/aide", "team/@front"]
    assert complete(environment, tmp_path, "trace", "list", "--agent", "l") == ["lead"]
    assert complete(environment, tmp_path, "diff", "team@") == ["team@r1"]
    assert "team.yaml" not in complete(environment, tmp_path, "query", "")
    home.engine_db.write_bytes(b"not a database at all" * 100)
    assert complete(environment, tmp_path, "ps", "tea") == ["tea"]


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_the_scripts_of_shells(shell: str) -> None:
    done = CliRunner().invoke(app, ["completion", shell])
    assert done.exit_code == 0 and f"_DEPLOY_COMPLETE={shell}_complete" in done.output
    if found := shutil.which(shell):
        assert subprocess.run([found, "-n"], input=done.output, text=True, timeout=60).returncode == 0

"""Every command explains itself, and takes the global options."""

from __future__ import annotations

from collections.abc import Iterator

import click
import pytest
from click.testing import CliRunner

from teamwright.cli.app import COMMANDS, app


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


def test_all_commands_are_there() -> None:
    assert {words[0] for words, _ in ALL} == set(COMMANDS)


@pytest.mark.parametrize(("words", "found"), ALL, ids=[" ".join(words) for words, _ in ALL])
def test_help(words: tuple[str, ...], found: click.Command) -> None:
    done = CliRunner().invoke(app, [*words, "--help"])
    assert done.exit_code == 0
    assert found.help
    options = {option for parameter in found.params for option in parameter.opts}
    assert options >= {"--home", "--json", "--debug"}

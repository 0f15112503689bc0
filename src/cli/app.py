"""The `deploy` group: its global options, and commands that are imported on use.

COMMANDS names the files of `teamwright.cli.commands`; each registers itself with `app` when it is imported:

>>> @command("ps")
... @click.argument("job", required=False)
... @click.pass_obj
... def ps(call: Call, job: str | None) -> None: ...
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from importlib import import_module
from pathlib import Path
from typing import Any

import click

from teamwright import __version__, home
from teamwright.cli.completing import complete_names
from teamwright.home import Home
from teamwright.settings import HOME, PORT

#: In the order of `deploy --help`. A new command is one word here and one file of that name.
COMMANDS = (
    "doctor",
    "validate",
    "plan",
    "init",
    "start",
    "apply",
    "ps",
    "describe",
    "events",
    "top",
    "query",
    "chat",
    "sessions",
    "logs",
    "trace",
    "runs",
    "diff",
    "registry",
    "mcp",
    "restart",
    "stop",
    "engine",
    "token",
    "completion",
)


@dataclass
class Call:
    """One call of the command line: what the global options said and where it was typed."""

    home_flag: str | None = None
    json: bool = False
    debug: bool = False
    printed: bool = False
    environ: Mapping[str, str] = field(default_factory=lambda: dict(os.environ))
    cwd: Path = field(default_factory=Path.cwd)

    @cached_property
    def home(self) -> Home:
        """The home to work in; nothing is made."""
        return home.find(self.home_flag, self.environ, self.cwd)

    def shown(self, path: Path) -> str:
        """A path as a person here would type it."""
        return str(path.relative_to(self.cwd)) if path.is_relative_to(self.cwd) else str(path)

    @property
    def program(self) -> str:
        """What to type before a command: `uv run` puts nothing on a person's path."""
        return "uv run deploy" if "UV_RUN_RECURSION_DEPTH" in self.environ else "deploy"

    def next(self, words: str) -> str:
        """A command to type next: with --home where this one had it."""
        import shlex

        return f"{self.program} {words}" + (f" --home {shlex.quote(self.home_flag)}" if self.home_flag else "")

    def hint(self, text: str) -> str:
        """A hint whose commands can be typed as they stand."""
        import re

        return re.sub(r"(?<![\w./-])(?<!uv run )deploy (?=[a-z])", f"{self.program} ", text)

    def emit(self, data: Mapping[str, Any]) -> None:
        """Print one JSON object on a line of its own: what `--json` gives a script."""
        import json

        click.echo(json.dumps(data))
        self.printed = True


class Commands(click.Group):
    """A group whose help shows the whole first sentence of each command."""

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        found = ((name, self.get_command(ctx, name)) for name in self.list_commands(ctx))
        rows = [(name, one.get_short_help_str(limit=1000)) for name, one in found if one is not None and not one.hidden]
        if rows:
            with formatter.section("Commands"):
                formatter.write_dl(rows)


class LazyGroup(Commands):
    """A group whose commands are modules, imported when they are called or listed."""

    group_class = Commands

    def __init__(self, *args: Any, package: str = "", names: tuple[str, ...] = (), **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._package = package
        self._names = names

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(self._names)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name in self._names and cmd_name not in self.commands:
            import_module(f"{self._package}.{cmd_name}")
        return self.commands.get(cmd_name)

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        try:
            return super().resolve_command(ctx, args)
        except click.UsageError as error:
            from teamwright.jobs.names import nearest

            if args and (near := nearest(args[0], self.list_commands(ctx))):
                raise click.UsageError(f"no such command {args[0]!r}. Did you mean {near!r}?", ctx) from None
            raise click.UsageError(error.message[:1].lower() + error.message[1:], ctx) from None


def _remember(ctx: click.Context, param: click.Parameter, value: Any) -> Any:
    """Keep a global option in the Call, wherever on the line it stood."""
    if value is not None and value is not False and param.name is not None:
        setattr(ctx.ensure_object(Call), {"home": "home_flag"}.get(param.name, param.name), value)
    return value


_home = click.option("--home", metavar="FOLDER", callback=_remember, expose_value=False, is_eager=True, help=HOME.help)
_debug = click.option(
    "--debug", is_flag=True, callback=_remember, expose_value=False, is_eager=True, help="A traceback with errors."
)
_json = click.option(
    "--json",
    is_flag=True,
    callback=_remember,
    expose_value=False,
    is_eager=True,
    help="Print one JSON object and nothing else.",
)


class Seconds(click.FloatRange):
    """A number of seconds; `nan` is none."""

    name = "seconds"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> float:
        found: float = super().convert(value, param, ctx)
        if found != found:
            self.fail(f"{value!r} is not a number of seconds", param, ctx)
        return found


#: What `--limit` and the like go up to.
MOST = 1_000_000

port_option = click.option(
    "--port",
    type=click.IntRange(0, 65535),
    envvar=PORT.env,
    help=f"{PORT.help}; counts when an engine is started.",
)


@click.group(
    cls=LazyGroup,
    package="teamwright.cli.commands",
    names=COMMANDS,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110},
)
@_home
@_json
@_debug
@click.version_option(__version__, message="teamwright %(version)s")
@click.pass_context
def app(ctx: click.Context) -> None:
    """Start, ask, watch and stop teams of AI agents that are described in one YAML file."""
    ctx.ensure_object(Call)


def command(
    name: str, *, group: click.Group = app, prints_data: bool = True, **attributes: Any
) -> Callable[[Callable[..., Any]], click.Command]:
    """Register a command that knows the global options too (`--json` where it prints data)."""

    def register(function: Callable[..., Any]) -> click.Command:
        for option in (_debug, _json, _home) if prints_data else (_debug, _home):
            function = option(function)
        made = group.command(name, **attributes)(function)
        complete_names(made, group.name or "")
        return made

    return register

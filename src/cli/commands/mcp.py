"""`deploy mcp`: the running agents as an MCP server, for Claude Code, an IDE or any other MCP client."""

from __future__ import annotations

from collections.abc import Callable

import click

from teamwright.cli.app import Call, app, command

PORT = 8490


@command("mcp", group=app, prints_data=False)
@click.argument("jobs", metavar="[JOB]...", nargs=-1)
@click.option("--http", is_flag=True, help="Serve on 127.0.0.1, with a token, instead of stdin and stdout.")
@click.option("--port", type=click.IntRange(0, 65535), help=f"With --http: {PORT} if not given; 0 = any free one.")
@click.pass_obj
def mcp(call: Call, jobs: tuple[str, ...], http: bool, port: int | None) -> None:
    """Let MCP clients find and ask the running agents: all of them, or those of some jobs.

    \b
    claude mcp add team -- deploy mcp
    deploy mcp hello --http --port 8490
    """

    import asyncio

    from teamwright.cli.targets import parse_job
    from teamwright.errors import MissingExtra, UserError

    try:
        from teamwright.client.mcp import serving
        from teamwright.client.mcp.server import Team
    except ModuleNotFoundError as error:
        if error.name != "mcp":
            raise
        raise MissingExtra("MCP needs a package that is not installed", hint="pip install 'teamwright[mcp]'") from None
    if port is not None and not http:
        raise UserError("--port is for --http", hint="add --http, or leave --port out")
    team = Team(call.home, call.environ, [parse_job(call, job).job for job in jobs])
    if not http:
        asyncio.run(serving.over_pipes(team))
        return
    from teamwright.safety.epochs import EpochFile
    from teamwright.safety.tokens import Issuer, Verifier

    home = call.home.create()
    verifier = Verifier(Issuer.load(home).public_key, home.id, EpochFile.create(home.epoch_file))
    asyncio.run(serving.over_http(team, verifier, PORT if port is None else port, _listening(call)))


def _listening(call: Call) -> Callable[[str], None]:
    def say(url: str) -> None:
        click.echo(f"MCP at {url} until Ctrl-C; each request needs a token")
        click.echo("next: " + call.next("token create --user me"))

    return say

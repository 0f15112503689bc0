"""`deploy engine start|install|stop|restart|status`: the control process itself."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import click

from teamwright.cli.app import Call, app, command, port_option
from teamwright.cli.receivers import otlp_options, send_to, wanted


@app.group("engine")
def engine() -> None:
    """The control process of this home; other commands start it when they need it."""


@command("start", group=engine)
@click.option("--foreground", is_flag=True, help="Don't return: logs to stderr, SIGTERM and Ctrl-C stop everything.")
@otlp_options
@port_option
@click.pass_obj
def start(call: Call, foreground: bool, otlp: Sequence[str], otlp_content: bool, port: int | None) -> None:
    """Start the engine, to stay until `deploy engine stop`.

    In the foreground it tells systemd (READY, STOPPING, WATCHDOG), and ends with this command.

    \b
    deploy engine start
    deploy engine start --foreground --home /srv/agents
    """
    from teamwright.cli.connection import connected

    receivers = wanted(call.environ, otlp, otlp_content)
    if foreground:
        from teamwright.cli.service import foreground as front

        front.run(call, port, receivers)
        return
    with connected(call, start=True, port=port, stay=True) as client:
        send_to(client, receivers)
        _print(call, client.status())


@command("install", group=engine)
@click.option("--name", default="teamwright", show_default=True, metavar="NAME", help="The unit's name.")
@click.option("--print", "only_print", is_flag=True, help="Print the unit and write nothing; needs no systemd.")
@click.option("--force", is_flag=True, help="Write over a unit of that name that says something else.")
@port_option
@click.pass_obj
def install(call: Call, name: str, only_print: bool, force: bool, port: int | None) -> None:
    """Write a systemd user unit that runs the engine of this home. Nothing is enabled or started by this.

    \b
    deploy engine install --home ~/agents
    deploy engine install --print > teamwright.service
    """
    from teamwright.cli.service import unit as units
    from teamwright.errors import UserError

    text, path = units.unit(call.home, call.environ, call.cwd, port=port), units.unit_path(name, call.environ)
    next_commands = ["systemctl --user daemon-reload", f"systemctl --user enable --now {path.name}",
                     "loginctl enable-linger    # to run without a login"]  # fmt: skip
    if only_print:
        click.echo(text, nl=False) if not call.json else call.emit({"unit": text, "path": str(path), "written": False})
        return
    if (why := units.missing(call.environ)) is not None:
        raise UserError(why, hint="deploy engine install --print, or deploy engine start --foreground elsewhere")
    if path.exists() and path.read_text() != text and not force:
        raise UserError(f"{path} is there already, and says something else", hint="another --name, or --force")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    except OSError as error:
        raise UserError(f"{path} can't be written: {error.strerror}") from None
    if call.json:
        call.emit({"unit": text, "path": str(path), "written": True, "next": next_commands})
        return
    click.echo(f"wrote {path}")
    for line in next_commands:
        click.echo(f"next: {line}")


@command("stop", group=engine)
@click.option("--force", is_flag=True, help="Stop running jobs too.")
@click.pass_obj
def stop(call: Call, force: bool) -> None:
    """Stop the engine; refused while jobs run, unless --force.

    \b
    deploy engine stop --force
    """
    from teamwright.cli.connection import connected
    from teamwright.errors import EngineUnavailable

    try:
        with connected(call) as client:
            client.stop_engine(force=force)
    except EngineUnavailable:
        running = False
    else:
        running = True
    if call.json:
        call.emit({"stopped": running})
    else:
        click.echo("the engine has been stopped" if running else "no engine was running")


@command("restart", group=engine)
@otlp_options
@click.pass_obj
def restart(call: Call, otlp: Sequence[str], otlp_content: bool) -> None:
    """Replace the engine by one of the present code; jobs run on, and so does sending to receivers.

    \b
    deploy engine restart
    """
    from teamwright.cli.connection import connected

    receivers = wanted(call.environ, otlp, otlp_content)
    with connected(call) as client:
        client.restart_engine()
        send_to(client, receivers)
        _print(call, client.status())


@command("status", group=engine)
@click.pass_obj
def status(call: Call) -> None:
    """Say whether the engine runs, where, and since when.

    \b
    deploy engine status --json
    """
    from teamwright.cli.connection import connected

    with connected(call) as client:
        _print(call, client.status())


def _print(call: Call, found: dict[str, Any]) -> None:
    if call.json:
        call.emit(found)
        return
    click.echo(f"engine    {found['url']}  version {found['version']}, up {found['uptime_s']:.0f} s")
    click.echo(f"home      {found['home']}")
    for name, pid in found["processes"].items():
        click.echo(f"{name:<10}{pid or '-'}")
    for to in found.get("forwarding", ()):
        lost = to["dropped_spans"] + to["refused_spans"]
        click.echo(
            f"otlp      {to['url']}  {to['waiting_bytes'] / 1024:.0f} KiB wait"
            + (f", {lost} spans lost" if lost else "")
            + (f"\n          {to['trouble']}" if to["trouble"] else "")
        )
    from teamwright.tracing.storing.shedding import Shedding

    if (told := Shedding(**found["traces"]).text) is not None:
        click.echo(f"traces    {told}")

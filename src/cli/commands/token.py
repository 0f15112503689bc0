"""`deploy token create|list|revoke`: bearer tokens for those who ask from outside."""

from __future__ import annotations

import click

from teamwright.cli.app import Call, app, command


@app.group("token")
def token() -> None:
    """Tokens for people and programs that ask jobs from outside."""


@command("create", group=token)
@click.option("--job", metavar="JOB", help="Only for this job; else for all of this home.")
@click.option("--user", metavar="NAME", default="user", show_default=True, help="Whom it is for.")
@click.option("--ttl", metavar="TIME", default="1h", show_default=True, help="How long it lasts: 90 or 90s, 15m, 7d.")
@click.option("--registration", metavar="NAME", help="For an agent that others start: to list itself as outside.NAME.")
@click.option("--group", metavar="GROUP", help="With --registration: the group of that agent.")
@click.option("--rpm", metavar="N", type=click.IntRange(1), help="Calls a minute; else what TEAMWRIGHT_TOKEN_RPM says.")
@click.pass_obj
def create(
    call: Call, job: str | None, user: str, ttl: str, rpm: int | None, registration: str | None, group: str | None
) -> None:
    """Make a token and print it.

    \b
    deploy token create --job hello --user ada --ttl 8h --rpm 60
    """
    from teamwright.cli.connection import connected
    from teamwright.cli.targets import known, parse_job
    from teamwright.errors import UserError
    from teamwright.jobs.units import seconds

    try:
        lifetime = seconds(float(ttl) if ttl.isdigit() else ttl)
    except ValueError as error:
        raise UserError(f"--ttl {error}") from None
    if lifetime <= 0:
        raise UserError("--ttl must be more than 0")
    if registration and job:
        raise UserError("--registration is for no job", hint="leave --job out")
    if group and not registration:
        raise UserError("--group belongs to --registration")
    target = parse_job(call, job) if job else None
    if target is not None:
        known(call, target)
    with connected(call) as client:
        made = client.create_token(
            job=target.job if target else None,
            ttl=lifetime,
            subject=user,
            rpm=rpm,
            registration=registration,
            group=group,
        )
    if call.json:
        call.emit(made)
    else:
        click.echo(made["token"])


@command("list", group=token)
@click.option("--all", "everything", is_flag=True, help="Those too that have expired or were revoked.")
@click.pass_obj
def list_tokens(call: Call, everything: bool) -> None:
    """List the tokens that were made, the newest first. Needs no engine; the tokens themselves are not kept.

    \b
    deploy token list --all
    """
    from teamwright.engine.store.state import StateReader
    from teamwright.engine.views import token_view

    with StateReader(call.home) as reader:
        views = [token_view(row) for row in reader.tokens()]
    found = [view for view in views if everything or view["status"] == "good"]
    if call.json:
        call.emit({"tokens": found})
        return
    if not found:
        click.echo("no token is good any more: --all shows them" if views else "there are no tokens")
        click.echo("next: " + call.next("token create --job JOB"))
        return
    from datetime import datetime

    from teamwright.cli.output import console, table

    rows = []
    for view in found:
        made, ends = (f"{datetime.fromtimestamp(view[key]):%Y-%m-%d %H:%M}" for key in ("created_at", "expires_at"))
        rows.append((view["id"][:8], view["subject"], view["role"], view["job"] or "", made, ends, view["status"]))
    console(width=160).print(table(("ID", "FOR", "ROLE", "JOB", "MADE", "ENDS", "STATUS"), rows))


@command("revoke", group=token)
@click.argument("tokens", metavar="ID|TOKEN...", nargs=-1, required=True)
@click.pass_obj
def revoke(call: Call, tokens: tuple[str, ...]) -> None:
    """Make tokens worthless at once, everywhere: by their ids of `token list`, or themselves.

    \b
    deploy token revoke 5f2c81d0
    """
    from teamwright.cli.connection import connected

    with connected(call) as client:
        gone = client.revoke_tokens(tokens)
    if call.json:
        call.emit({"revoked": gone})
        return
    for view in gone:
        click.echo(f"revoked {view['id'][:8]} of {view['subject']}")

"""`deploy token create`: a bearer token for somebody who asks from outside."""

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

"""`deploy sessions list|show|delete|clear`: conversations, and what agents remember of them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from teamwright.cli.app import Call, app, command

if TYPE_CHECKING:
    from teamwright.agents.memory.conversations import Conversation

_job = click.option("--job", metavar="JOB|FILE", help="Only this job's.")
_user = click.option("--user", metavar="NAME", help="Only this user's.")


@app.group("sessions")
def sessions() -> None:
    """Look up conversations, and delete them."""


@command("list", group=sessions)
@click.argument("job", required=False, metavar="[JOB|FILE]")
@_user
@click.pass_obj
def list_sessions(call: Call, job: str | None, user: str | None) -> None:
    """List conversations, the newest first. Needs no engine.

    \b
    deploy sessions list research --user ann
    """
    from teamwright.agents.memory.conversations import conversations

    name = _job_name(call, job)
    found = [each for each in conversations(call.home, name) if user in (None, each.user, each.subject)]
    if call.json:
        call.emit({"sessions": [each.to_dict() for each in found]})
        return
    if not found:
        click.echo("there are no sessions")
        click.echo("next: " + call.next("query JOB 'your question' --session NAME"))
        return
    from teamwright.cli.conversations import sessions_table
    from teamwright.cli.output import console

    console(width=160).print(sessions_table(found))


@command("show", group=sessions)
@click.argument("session", metavar="ID")
@_job
@_user
@click.pass_obj
def show(call: Call, session: str, job: str | None, user: str | None) -> None:
    """Show what was said in a conversation. The first letters of its ID are enough. Needs no engine.

    \b
    deploy sessions show 5f2c
    """
    from teamwright.agents.memory.conversations import exchanges, find
    from teamwright.cli.conversations import moment
    from teamwright.cli.output import spoken

    found = find(call.home, session, _job_name(call, job), user)
    said = exchanges(call.home, found)
    if call.json:
        call.emit({**found.to_dict(), "exchanges": said})
        return
    turns = f"{found.turns} turn{'' if found.turns == 1 else 's'}"
    click.echo(f"session {found.session} of {found.job}, user {found.user or found.subject}, {turns}")
    for each in said:
        click.echo(spoken(f"\n{moment(each['at'])}  {found.user or found.subject}: {each['question']}"))
        click.echo(spoken(f"{each['agent']}: {each['answer']}"))
    click.echo("\nnext: " + call.next(f"query {found.job} 'go on' --session {found.session}"))


@command("delete", group=sessions)
@click.argument("session", metavar="ID")
@_job
@_user
@click.pass_obj
def delete(call: Call, session: str, job: str | None, user: str | None) -> None:
    """Delete a conversation at all agents of its job: the words, and what their backends keep. Not its traces.

    One that is in use stays, and that is an error.

    \b
    deploy sessions delete 5f2c --job research
    """
    from teamwright.agents.memory.conversations import find

    found = find(call.home, session, _job_name(call, job), user)
    gone = _forget(call, [found])[0]
    if call.json:
        call.emit({"deleted": [gone]})
    else:
        click.echo(f"deleted session {found.session} of {found.job}: {_count(gone['exchanges'])}")


@command("clear", group=sessions)
@click.argument("job", metavar="JOB|FILE")
@_user
@click.option("--yes", is_flag=True, help="Don't ask.")
@click.pass_obj
def clear(call: Call, job: str, user: str | None, yes: bool) -> None:
    """Delete all conversations of a job. Those in use stay, and that is an error.

    \b
    deploy sessions clear research --user ann --yes
    """
    import sys

    from teamwright.agents.memory.conversations import conversations
    from teamwright.errors import EngineError, UserError

    name = _job_name(call, job)
    found = [each for each in conversations(call.home, name) if user in (None, each.user, each.subject)]
    if found and not yes:
        if not sys.stdin.isatty():
            raise UserError(f"{len(found)} sessions of {name} would be deleted", hint="say --yes")
        click.confirm(f"delete {len(found)} session{'' if len(found) == 1 else 's'} of {name}?", abort=True, err=True)
    gone, kept = [], ""
    for each in found:
        try:
            gone += _forget(call, [each])
        except EngineError as error:
            kept = error.message
    if call.json:
        call.emit({"deleted": gone})
    else:
        click.echo(f"deleted {len(gone)} session{'' if len(gone) == 1 else 's'} of {name}")
    if kept:
        raise EngineError(f"{len(found) - len(gone)} of {name} stayed: {kept}", status=409)


def _forget(call: Call, conversations: list[Conversation]) -> list[dict[str, Any]]:
    """By the engine where there is one; without one no agent runs, and the files are ours."""
    from teamwright.agents.memory.conversations import held
    from teamwright.cli.connection import connected
    from teamwright.errors import EngineUnavailable

    try:
        with connected(call) as client:
            return [
                client.forget_session(each.job, each.session, subject=each.subject, user=each.user)
                for each in conversations
            ]
    except EngineUnavailable:
        from teamwright.engine.store.state import StateReader

        with StateReader(call.home) as reader:
            if reader.alive:
                raise  # it is just coming back, and its agents run
    from teamwright.agents.memory.forgetting import forget_files

    done = []
    for each in conversations:
        asked = held(call.home, each)
        gone = sum(forget_files(call.home, each.job, agent, keys) for agent, keys in asked.items())
        done.append({"job": each.job, "session": each.session, "agents": sorted(asked), "exchanges": gone})
    return done


def _job_name(call: Call, text: str | None) -> str | None:
    """The job meant. Raises UnknownJob for one that this home has never seen."""
    from teamwright.cli.targets import known, parse_job

    return known(call, parse_job(call, text)).name if text else None


def _count(exchanges: int) -> str:
    return f"{exchanges} exchange{'' if exchanges == 1 else 's'}"

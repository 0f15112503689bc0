"""`deploy chat JOB`: a conversation with a job, line by line."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

import click

from teamwright.cli.app import Call, command, port_option

if TYPE_CHECKING:
    from teamwright.cli.chat.talk import Talk


@command("chat")
@click.argument("job", metavar="JOB|FILE")
@click.option("--session", metavar="ID", help="Go on with a conversation.")
@click.option("--user", metavar="NAME", help="On whose behalf.")
@click.option("--keep", is_flag=True, help="Let a job that was started for this chat run on.")
@port_option
@click.pass_obj
def chat(call: Call, job: str, session: str | None, user: str | None, keep: bool, port: int | None) -> None:
    """Talk with a job (or JOB/AGENT). /help says what else can be typed; Ctrl-D leaves, and the session is kept.

    In a pipe each line is a message, and answers come plain. A file starts its job first, and stops it again
    unless --keep.

    \b
    deploy chat research
    """
    from teamwright.cli.chat.screen import Lines, Terminal
    from teamwright.cli.chat.talk import Talk
    from teamwright.cli.connection import connected
    from teamwright.cli.conversations import say_if_elsewhere
    from teamwright.cli.output import console
    from teamwright.cli.starting import ensure, stop_again
    from teamwright.cli.targets import known, parse, require_running
    from teamwright.errors import UserError

    target = parse(call, job)
    if target.group is not None:
        raise UserError("a group can't be asked, only a job or one agent", hint=f"deploy chat {target.job}")
    from_file = target.file is not None
    if not from_file:
        require_running(known(call, target))
    say_if_elsewhere(call, session, target.job)
    by_hand = sys.stdin.isatty() and sys.stdout.isatty() and not call.json
    with connected(call, start=from_file, port=port, host=from_file) as client:
        ours = from_file and ensure(call, client, target)
        try:
            screen = Terminal(console()) if by_hand else Lines(call.emit if call.json else None)
            talk = Talk(call, client, screen, target.job, agent=target.agent, session=session, user=user)
            if by_hand:
                _by_hand(call, talk)
            else:
                _in_a_pipe(talk)
        finally:
            if ours and not keep:
                stop_again(client, target.job)


def _by_hand(call: Call, talk: Talk) -> None:
    from teamwright.cli.chat.prompt import Prompt
    from teamwright.cli.chat.talk import COMMANDS
    from teamwright.cli.output import note
    from teamwright.errors import TeamwrightError

    prompt = Prompt(
        call.home.job_dir(talk.job) / "chat-history",
        {"agent": talk.agents, "session": talk.sessions, "trace": lambda: ["full"]},
        COMMANDS,
        lambda: f"session {talk.session[:8]}   /help   Ctrl-D leaves",
    )
    while not talk.over:
        try:
            text = prompt.ask(talk.label, at_once=talk.waiting is not None)
        except EOFError:
            break
        except KeyboardInterrupt:
            if talk.waiting is None:
                break
            text = ""
        try:
            if text:
                talk.line(text)
            elif talk.waiting is not None:
                talk.drop_question()
                note("cancelled")
        except TeamwrightError as error:
            _say(error)
    note(f"session {talk.session} is kept: " + call.next(f"chat {talk.job} --session {talk.session}"))


def _in_a_pipe(talk: Talk) -> None:
    """Each line of stdin. Raises QueryFailed in the end when one of them failed."""
    from teamwright.errors import QueryFailed, TeamwrightError

    failed = 0
    for line in sys.stdin:
        if talk.over:
            break
        try:
            talk.line(line.rstrip("\r\n"))
        except TeamwrightError as error:
            failed += 1
            _say(error)
    if failed:
        raise QueryFailed(f"{failed} line{'' if failed == 1 else 's'} failed")


def _say(error: Exception) -> None:
    from teamwright.cli.output import note

    note(f"error: {getattr(error, 'message', error)}")
    if hint := getattr(error, "hint", None):
        note(f"hint: {hint}")

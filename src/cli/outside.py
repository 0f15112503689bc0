"""`query URL`: asking an agent somewhere, and what a person sees of it."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from teamwright.cli.app import Call
from teamwright.errors import QueryFailed, UserError

if TYPE_CHECKING:
    from teamwright.backends.api import File
    from teamwright.client.outside.way import Way
    from teamwright.client.results import QueryResult


def ask_outside(
    call: Call,
    address: str,
    text: str,
    *,
    token: str | None,
    binding: str | None,
    version: str | None,
    timeout: float | None,
    session: str | None,
    task: str | None,
    user: str | None,
    labels: Mapping[str, str],
    files: Sequence[File],
    out: Path | None,
) -> None:
    """Ask and print the answer; on stderr what was negotiated. Raises UserError, PeerError, Refused, QueryFailed."""
    from teamwright.cli.asking import live
    from teamwright.cli.output import milliseconds, note
    from teamwright.client.files import save
    from teamwright.client.outside.asking import ask
    from teamwright.client.outside.way import find_way
    from teamwright.client.outside.words import Message
    from teamwright.tracing.propagation import RUN_EXT, USAGE_EXT

    headers = {"authorization": f"Bearer {_token(token)}"} if token else {}
    way = find_way(address, headers, binding=binding, version=version)
    about: dict[str, Any] = {**({"labels": dict(labels)} if labels else {}), **({"user": user} if user else {})}
    if about and RUN_EXT not in way.extensions:
        note(f"warning: {way.agent} takes no labels and users: they are not sent")
        about = {}
    ours = [each for each in (RUN_EXT, USAGE_EXT) if each in way.extensions]
    if ours:
        headers["a2a-extensions"] = ",".join(ours)
    message = Message(text, session, task, files, {RUN_EXT: about} if about else None)
    if not call.json:
        note(f"-- {way}")
    replies = ask(way, message, headers, timeout=timeout)
    if not call.json and sys.stdout.isatty():
        result = live(replies)
    else:
        try:
            while True:
                next(replies)
        except StopIteration as over:
            result = over.value
        finally:
            replies.close()
    _tell(call, way, result)
    if result.files and out is not None:
        for path in save(result.files, out, said="--out "):
            click.echo(f"saved {path}", err=True)
    if result.status != "ok":
        raise QueryFailed(f"{way.agent}: {result.answer or result.state}", run_id=result.run_id or None)
    if not call.json:
        parts = [f"trace {result.trace_id[:8]}"] if result.trace_id else []
        click.echo(f"-- {', '.join([*parts, milliseconds(result.duration_ms)])}", err=True)
        if result.state == "input_required" and result.task_id:
            again = f" --session {result.session}" if result.session else ""
            click.echo("next: " + call.next(f"query {address} 'your answer' --task {result.task_id}{again}"), err=True)


def _tell(call: Call, way: Way, result: QueryResult) -> None:
    if call.json:
        call.emit({**result.to_dict(), "job": None, "negotiated": way.to_dict()})
    elif result.status == "ok" and not sys.stdout.isatty():
        click.echo(result.answer)


def _token(given: str) -> str:
    """A token as it stands, or from a file when it begins with @. Raises UserError."""
    if not given.startswith("@"):
        found = given
    else:
        try:
            found = Path(given[1:]).expanduser().read_text().strip()
        except (OSError, UnicodeDecodeError) as error:
            raise UserError(f"--token {given}: {getattr(error, 'strerror', None) or error}") from None
    if not found.isascii() or not found.isprintable() or " " in found or not found:
        raise UserError("--token is not a bearer token: it has blanks or unprintable characters")
    return found

"""The one place that catches errors: what a person and a script see of them, and the exit code."""

from __future__ import annotations

import errno
import os
import sys
from collections.abc import Sequence

import click

from teamwright.cli.app import Call, app
from teamwright.cli.main import INTERRUPTED
from teamwright.cli.output import note
from teamwright.errors import StartFailed, TeamwrightError, UserError

#: What a disk says that takes no more of our output.
_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO)


def run(arguments: Sequence[str]) -> int:
    """Run one command line and return its exit code: 0 done, 1 it failed, 2 bad input, 130 interrupted."""
    try:
        call = Call()
    except FileNotFoundError:
        click.echo("error: the folder you are in is gone\nhint: cd somewhere else", err=True)
        return UserError.exit_code
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="backslashreplace")
    try:
        result = app.main(list(arguments), prog_name="deploy", standalone_mode=False, obj=call)
        sys.stdout.flush()
    except (KeyboardInterrupt, click.Abort):
        return _report(call, "interrupted", code=INTERRUPTED, kind="Interrupted")
    except click.exceptions.NoArgsIsHelpError as error:
        click.echo(error.format_message())
        return 2
    except click.ClickException as error:
        return _report(call, _usage(error), hint=_help_hint(error), code=UserError.exit_code, kind="UsageError")
    except TeamwrightError as error:
        if call.debug:
            _traceback()
        tail = error.tail if isinstance(error, StartFailed) else ()
        return _report(
            call,
            error.message,
            hint=error.hint,
            tail=tail,
            code=error.exit_code,
            kind=type(error).__name__,
            run_id=error.run_id,
        )
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)  # whoever read us has left: nothing more to say, and no noise
        return 1
    except OSError as error:
        if error.filename is not None or error.errno not in _FULL:
            return _bug(call, error)
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
        return _report(call, f"can't write: {(error.strerror or str(error)).lower()}", code=1, kind="OSError")
    except Exception as error:
        return _bug(call, error)
    return result if isinstance(result, int) else 0


def _bug(call: Call, error: Exception) -> int:
    if call.debug:
        _traceback()
    text = " ".join(str(error).split())
    return _report(
        call,
        f"this is a bug in Teamwright: {type(error).__name__}{': ' if text else ''}{text}",
        hint=None if call.debug else "run it again with --debug for the traceback",
        code=1,
        kind="Bug",
    )


def _report(
    call: Call,
    message: str,
    *,
    code: int,
    kind: str,
    hint: str | None = None,
    tail: Sequence[str] = (),
    run_id: str | None = None,
) -> int:
    """Tell a person on stderr, and a script that asked for --json on stdout as well."""
    hint = call.hint(hint) if hint else None
    try:
        for line in tail:
            note(f"  | {line}")
        for line in message.splitlines() or [""]:
            note(line if code == INTERRUPTED else f"error: {line}")
        if hint:
            note(f"hint: {hint}")
        if call.json and not call.printed:
            run = {"run_id": run_id} if run_id else {}
            call.emit({"error": {"message": message, "type": kind, "hint": hint, "tail": list(tail), **run}})
    except OSError:  # nobody reads, or it can't be written
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
    return code


def _usage(error: click.ClickException) -> str:
    text = " ".join(error.format_message().split())
    return text[:1].lower() + text[1:].rstrip(".")


def _help_hint(error: click.ClickException) -> str | None:
    context = getattr(error, "ctx", None)
    return f"try `{context.command_path} --help`" if isinstance(context, click.Context) else None


def _traceback() -> None:
    import traceback

    click.echo(traceback.format_exc(), err=True, nl=False)

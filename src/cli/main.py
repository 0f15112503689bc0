"""The process of `deploy`: signals first, so that Ctrl-C while modules load is no traceback; then the command."""

from __future__ import annotations

import os
import sys

INTERRUPTED = 130
try:
    import signal
    from types import FrameType
except KeyboardInterrupt:  # these take milliseconds, and someone may type that fast
    os._exit(INTERRUPTED)


def main() -> None:
    """The console script: run, flush, and leave at once.

    `os._exit` spares 20 ms of tearing down modules, in which a Ctrl-C would do nothing but print a traceback.
    """
    try:
        _open_what_is_closed()
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            if signal.getsignal(number) is not signal.SIG_IGN:  # nohup, or a shell's background job
                signal.signal(number, _interrupt)
        from teamwright.cli.boundary import run

        code = run(sys.argv[1:])
    except KeyboardInterrupt:
        code = INTERRUPTED
    try:
        sys.stdout.flush()
        sys.stderr.flush()
    except OSError:
        code = code or 1
    os._exit(code)


def _open_what_is_closed() -> None:
    """Have `>&-` and the like mean /dev/null, before a file or a socket gets the number of stdout."""
    for number in range(3):
        try:
            os.fstat(number)
        except OSError:
            os.open(os.devnull, os.O_RDWR)  # the lowest number that is free
    sys.stdin = sys.stdin or os.fdopen(0, closefd=False)
    sys.stdout = sys.stdout or os.fdopen(1, "w", closefd=False)
    sys.stderr = sys.stderr or os.fdopen(2, "w", closefd=False)


def _interrupt(number: int, frame: FrameType | None) -> None:
    """SIGTERM and SIGHUP take the same way out as Ctrl-C."""
    raise KeyboardInterrupt

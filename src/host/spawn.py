"""Starting processes: exec'ed, tied to their parent's life, with no descriptor but those they are meant to have.

Standard library only, and light: the guard imports this without site-packages.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import signal
from collections.abc import Iterable, Mapping, Sequence

_PR_SET_PDEATHSIG = 1
_PR_SET_NAME = 15
_PR_SET_CHILD_SUBREAPER = 36

_libc = ctypes.CDLL(None, use_errno=True)


def _prctl(option: int, argument: int | bytes) -> None:
    if _libc.prctl(option, argument, 0, 0, 0) != 0:
        number = ctypes.get_errno()
        raise OSError(number, f"prctl({option}): {os.strerror(number)}")


def become_subreaper() -> None:
    """Orphans among this process's descendants become its children, not those of pid 1."""
    _prctl(_PR_SET_CHILD_SUBREAPER, 1)


def die_with_parent(parent: int, number: int) -> None:
    """Get signal `number` when the thread of `parent` that forked us ends. Exits at once if it has ended already."""
    _prctl(_PR_SET_PDEATHSIG, number)
    if os.getppid() != parent:
        os._exit(1)


def set_name(name: str) -> None:
    """What `ps -o comm` shows; forked children inherit it, exec resets it. Cut to 15 bytes."""
    _prctl(_PR_SET_NAME, name.encode()[:15])


def close_all_but(keep: Iterable[int]) -> None:
    """Close every descriptor that is not in `keep`."""
    low = 0
    for fd in sorted(set(keep)):
        if low < fd:  # closerange(0, 0) closes everything: a fault of CPython 3.11
            os.closerange(low, fd)
        low = fd + 1
    os.closerange(low, max(os.sysconf("SC_OPEN_MAX"), 1024))


def default_signals() -> None:
    """Undo handlers, ignored signals and blocked ones, as a fresh process has them."""
    signal.set_wakeup_fd(-1)
    for number in signal.valid_signals():
        with contextlib.suppress(OSError, ValueError):
            if signal.getsignal(number) != signal.SIG_DFL:
                signal.signal(number, signal.SIG_DFL)
    signal.pthread_sigmask(signal.SIG_SETMASK, ())


def spawn(
    argv: Sequence[str],
    *,
    env: Mapping[str, str],
    output: int,
    keep: Sequence[int] = (),
    cwd: str = "/",
    death_signal: int = signal.SIGKILL,
    session: bool = False,
    nice: int = 0,
    umask: int | None = None,
) -> int:
    """Fork and exec; the new pid. Call it from the main thread only: the death signal follows the thread.

    `output` becomes its stdout and stderr, stdin is empty, `keep` are passed on under their numbers, everything else
    is closed. Raises OSError when the program can't be run.
    """
    parent = os.getpid()
    tell, told = os.pipe()
    blocked = signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals())
    try:
        pid = os.fork()
        if pid == 0:
            _become(argv, env, output, keep, cwd, death_signal, session, nice, umask, parent, told)
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, blocked)
        os.close(told)
    with open(tell, "rb") as pipe:
        problem = pipe.read()
    if problem:
        os.waitpid(pid, 0)
        number, _, what = problem.decode(errors="replace").partition(" ")
        raise OSError(int(number), os.strerror(int(number)), what)
    return pid


def _become(
    argv: Sequence[str],
    env: Mapping[str, str],
    output: int,
    keep: Sequence[int],
    cwd: str,
    death_signal: int,
    session: bool,
    nice: int,
    umask: int | None,
    parent: int,
    told: int,
) -> None:
    what = cwd
    try:
        if session:
            os.setsid()
        die_with_parent(parent, death_signal)
        take_standard_files(output)
        for fd in keep:
            os.set_inheritable(fd, True)
        close_all_but((0, 1, 2, told, *keep))
        os.chdir(cwd)
        if nice:
            os.nice(nice)
        if umask is not None:
            os.umask(umask)
        what = argv[0]
        default_signals()
        os.execve(argv[0], list(argv), dict(env))
    except OSError as error:
        os.write(told, f"{error.errno or 1} {what}".encode())
    finally:
        os._exit(127)


def take_standard_files(output: int) -> None:
    """Nothing to read on stdin; stdout and stderr go to `output`."""
    null = os.open("/dev/null", os.O_RDONLY | os.O_CLOEXEC)
    os.dup2(null, 0)
    os.dup2(output, 1)
    os.dup2(output, 2)
    if null > 2:
        os.close(null)

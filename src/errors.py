"""Every error that Teamwright raises on purpose.

TeamwrightError            exit 1: it failed
├── UserError              exit 2: bad input; names file, line, key and a hint where they are known
│   ├── JobFileError       a job file with one or more problems
│   ├── UnknownJob         no job, agent, group or trace of that name
│   ├── MissingExtra       a backend whose packages are not installed
│   └── MissingKey         a backend whose key is not set
├── EngineError            the engine answered with an error
│   ├── EngineUnavailable  no engine answers
│   ├── VersionMismatch    CLI and engine are of different versions and jobs are running
│   └── TooMany            a caller asks the engine too often
├── HomeError              the home can't be used (not writable, network file system, other owner)
├── HostError              the host refused an order, or can't be reached
├── StartFailed            a job did not get ready; everything of it was stopped again
├── JobNotRunning          the job is known, and does not run
├── QueryFailed            a job answered a query with an error
│   └── QueryTimeout       … or not within the time the caller gave it
├── Refused                a token, caller list, epoch or limit said no
│   └── TokenRefused       no token, wrong, expired, revoked, or of a halted epoch
├── LimitReached           depth, turns, peer calls, duration …; `limit` names which
├── PeerError              a call to another agent failed
├── BackendError           the model or its SDK failed
│   └── ReplayDrifted      a replay was asked something else than what was recorded
├── CodeError              the user's own function, script or process failed
├── ToolError              a tool was called wrongly or took too long
├── NothingWorked          every tool and peer that an agent without a model called has failed
├── SpoolFull              a span could not be spooled (disk full)
└── StoreTooNew            a database written by newer code
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any


class TeamwrightError(Exception):
    """Root of all our errors: one line for a person, an exit code and an optional hint.

    `run_id` is the run that it happened in, where it happened in one.
    """

    exit_code = 1
    run_id: str | None = None

    def __init__(self, message: str, *, hint: str | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint


class UserError(TeamwrightError):
    """The user's input is wrong; nothing was started or changed."""

    exit_code = 2


@dataclass(frozen=True, slots=True)
class Problem:
    """One thing wrong with a job file: where it stands, what it is, what to write instead."""

    message: str
    file: str | None = None
    line: int | None = None
    key: str | None = None
    hint: str | None = None

    def __str__(self) -> str:
        place = ":".join(str(part) for part in (self.file, self.line) if part is not None)
        head = f"{place}: " if place else ""
        key = f"{self.key}: " if self.key else ""
        hint = f" ({self.hint})" if self.hint else ""
        return f"{head}{key}{self.message}{hint}"


class JobFileError(UserError):
    """A job file that can't be used; `problems` holds everything found wrong, in file order."""

    def __init__(self, problems: list[Problem]) -> None:
        super().__init__("\n".join(str(problem) for problem in problems))
        self.problems = problems


class UnknownJob(UserError):
    """No job, agent, group or trace goes by that name."""


class MissingExtra(UserError):
    """A backend was asked for whose packages are not installed."""


class MissingKey(UserError):
    """Agents can't be started without the keys of their models; a line for each."""


class EngineError(TeamwrightError):
    """The engine answered with an error; `status` is the HTTP status."""

    def __init__(self, message: str, *, status: int = 500, hint: str | None = None) -> None:
        super().__init__(message, hint=hint)
        self.status = status


class EngineUnavailable(EngineError):
    """No engine of this home answers."""


class VersionMismatch(EngineError):
    """CLI and engine are of different versions and the engine has jobs."""


class TooMany(EngineError):
    """A caller asks too often (HTTP 429); `retry_after` is in seconds."""

    def __init__(self, message: str, *, retry_after: float) -> None:
        super().__init__(message, status=429, hint=f"again in {max(retry_after, 0.1):.1f} s")
        self.retry_after = retry_after


class HomeError(TeamwrightError):
    """The home can't be used."""


class HostError(TeamwrightError):
    """The host refused an order, or went away before it answered."""


class StartFailed(TeamwrightError):
    """A job did not get ready and was stopped again; `tail` holds the failed agent's last lines."""

    def __init__(
        self, message: str, *, agent: str | None = None, tail: tuple[str, ...] = (), hint: str | None = None
    ) -> None:
        super().__init__(message, hint=hint)
        self.agent = agent
        self.tail = tail


class JobNotRunning(TeamwrightError):
    """The job is known, and does not run."""


class QueryFailed(TeamwrightError):
    """A job answered a query with an error. `reason` is a short stable word: a limit's key, timeout, busy …

    `reply` is the Reply that the Python client has made of it.
    """

    def __init__(
        self,
        message: str,
        *,
        run_id: str | None = None,
        hint: str | None = None,
        reason: str = "",
        reply: Any = None,
    ) -> None:
        super().__init__(message, hint=hint)
        self.run_id = run_id
        self.reason = reason
        self.reply = reply


class QueryTimeout(QueryFailed):
    """A query took longer than the caller would wait; the work on it was cancelled."""


class Refused(TeamwrightError):
    """A caller may not do what it asked for."""


class TokenRefused(Refused):
    """The bearer token does not let this caller in."""


class LimitReached(TeamwrightError):
    """A limit of the query was reached; `limit` is its key in the job file, `reason` the word that a failure gets."""

    def __init__(self, limit: str, message: str) -> None:
        super().__init__(message)
        self.limit = limit

    @property
    def reason(self) -> str:
        return "budget_exhausted" if self.limit == "cost_usd" else self.limit


class PeerError(TeamwrightError):
    """A call to another agent failed; `reason` is a short stable word (timeout, refused, unknown_peer …)."""

    def __init__(self, message: str, *, reason: str = "failed", hint: str | None = None) -> None:
        super().__init__(message, hint=hint)
        self.reason = reason


class BackendError(TeamwrightError):
    """The model or its SDK failed; `reason` is a short stable word (bad_key, rate_limited, cut, blocked …)."""

    def __init__(self, message: str, *, reason: str = "", hint: str | None = None) -> None:
        super().__init__(message, hint=hint)
        self.reason = reason


class ReplayDrifted(BackendError):
    """A replay was asked something else than what was recorded: which agent, which exchange, and what is different."""

    #: What its message begins with, also where it has come a long way as text.
    MARK = "replay drifted: "

    def __init__(self, difference: str) -> None:
        super().__init__(self.MARK + difference, reason="replay_drifted", hint="record it anew with --record")


def words_of(error: BaseException) -> str:
    """What an exception says; nothing where its own words fail."""
    try:
        return str(error)
    except Exception:
        return ""


def in_words(error: BaseException) -> str:
    """What an exception is and says."""
    name, said = type(error).__name__, words_of(error)
    return f"{name}: {said}" if said else name


class CodeError(TeamwrightError):
    """The user's own function, script or process failed; `reason` is a short stable word."""

    def __init__(self, message: str, *, reason: str = "code_failed") -> None:
        super().__init__(message)
        self.reason = reason


class ToolError(TeamwrightError):
    """A tool was called with arguments it doesn't take, took too long, or is not there; the model gets to read it."""


class NothingWorked(TeamwrightError):
    """Every tool and peer that an agent without a model called has failed: there is nothing to answer with."""

    reason = "tools_failed"


class SpoolFull(TeamwrightError):
    """A span could not be appended to its spool."""


class StoreTooNew(TeamwrightError):
    """A database was written by newer code than this."""

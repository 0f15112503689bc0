"""Model calls of the loop backends: what may go wrong, when one is made again, and with which model.

options of every such backend      retries: 3, timeout: 300 (seconds of silence), fallback_models: []
"""

from __future__ import annotations

import asyncio
import ipaddress
import json
import random
import time
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Any, Self

import httpx

from teamwright.backends.api import Account, BackendConfig, Turn
from teamwright.backends.loop import Reply
from teamwright.backends.options import Options
from teamwright.errors import BackendError
from teamwright.tracing.outgoing import stamp
from teamwright.tracing.spans import ModelSpan

#: Seconds: to connect; the first pause before a call is made again, doubled each time; the longest one.
_CONNECT, _FIRST, LONGEST_PAUSE = 10.0, 0.5, 60.0
#: Characters of a server's own words in an error.
_SHOWN = 500
_PASSING = frozenset([408, 409, 425, 429, 500, 502, 503, 504, 520, 522, 524, 529])
#: What HTTP errors of model servers come to, whoever's they are.
REASONS = {
    400: "bad_request", 401: "bad_key", 402: "no_credit", 403: "forbidden", 404: "unknown_model", 413: "too_large",
    422: "bad_request", 429: "rate_limited",
}  # fmt: skip


class ModelError(BackendError):
    """A model call failed; `reason` says how.

    bad_key forbidden no_credit unknown_model bad_request too_large rate_limited server_error unreachable timeout cut
    blocked length bad_answer

    `passing`: it may go well when made again, after `retry_after` seconds where the server says so.
    """

    def __init__(
        self,
        message: str,
        *,
        reason: str,
        passing: bool = False,
        retry_after: float | None = None,
        hint: str | None = None,
    ) -> None:
        super().__init__(message, reason=reason, hint=hint)
        self.passing = passing
        self.retry_after = retry_after


@dataclass(frozen=True, slots=True)
class Calling:
    """How a backend calls its models: the first one, then the others where it fails for good. Seconds, counts."""

    models: tuple[str, ...]
    retries: int
    timeout: float

    @classmethod
    def of(cls, config: BackendConfig, options: Options) -> Self:
        """From the job file's `model` and `backend_options`. Raises UserError."""
        if not config.model:
            raise options.wrong("it needs a model", hint="write model: … in the job file")
        return cls(
            (config.model, *options.words("fallback_models")),
            options.count("retries", 3),
            options.seconds("timeout", 300.0),
        )

    async def make(
        self,
        turn: Turn,
        once: Callable[[str, int], Awaitable[Reply]],
        cost: Callable[[str], float | None],
        account: Account,
    ) -> Reply:
        """`once(model, attempt)`, attempts counted from 1, until one goes well. Raises the last ModelError.

        `cost` says what a call of that model takes at least, in dollars: raises LimitReached where that is too much.
        Each attempt waits for the limits that the account's users share; a rate limit makes all of them wait.
        """
        attempt = 0
        for model in self.models:
            for tried in range(self.retries + 1):
                attempt += 1
                turn.afford(cost(model))
                shared = False
                async with turn.admission(account) as admission:
                    try:
                        return await once(model, attempt)
                    except ModelError as error:
                        failed = error
                    pause = failed.retry_after
                    if pause is None:
                        pause = min(LONGEST_PAUSE, _FIRST * 2**tried) * random.uniform(0.75, 1.25)
                    if failed.reason == "rate_limited":
                        shared = await admission.back_off(pause)
                if not failed.passing or tried == self.retries or pause > LONGEST_PAUSE or _too_late(turn, pause):
                    break
                if not shared:  # else the next admission waits
                    await asyncio.sleep(pause)
            if not failed.passing and failed.reason != "unknown_model":
                break
        raise failed


def _too_late(turn: Turn, pause: float) -> bool:
    deadline = turn.run.deadline_ns
    return deadline is not None and time.time_ns() + int(pause * 1e9) >= deadline


def new_client(
    base_url: str, timeout: float, *, headers: Mapping[str, str], local: bool, tls: bool
) -> httpx.AsyncClient:
    """A client for a model server: silence of `timeout` seconds ends a call, each call says for which run it is.

    Proxies and certificates come from the usual variables, but nothing on this machine goes through a proxy.
    """
    return httpx.AsyncClient(
        base_url=base_url,
        headers=dict(headers),
        timeout=timeout,
        limits=httpx.Limits(max_connections=None, max_keepalive_connections=20, keepalive_expiry=30.0),
        # plain http needs no certificates, which cost 20 ms and 0.7 MB
        verify=tls,
        trust_env=not local,
        event_hooks={"request": [stamp, _connect_soon]},
    )


async def _connect_soon(request: httpx.Request) -> None:
    """Connecting has a shorter limit than an answer, and waiting for a free connection none of its own."""
    limits = request.extensions.get("timeout")
    if limits:
        limits["connect"], limits["pool"] = _CONNECT, None


def is_local(host: str) -> bool:
    """Whether a host name or address is this machine."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def broken(error: httpx.HTTPError, who: str, timeout: float) -> ModelError:
    """What httpx raised, in our words."""
    if isinstance(error, httpx.ConnectError | httpx.ConnectTimeout):
        return ModelError(f"{who} can't be reached: {error or 'no answer'}", reason="unreachable", passing=True)
    if isinstance(error, httpx.TimeoutException):
        return ModelError(f"{who} was silent for {timeout:g} s", reason="timeout", passing=True)
    return ModelError(f"the answer of {who} broke off: {_line(str(error)) or 'no reason'}", reason="cut", passing=True)


def refused(who: str, status: int, body: str, headers: Mapping[str, str], *, secret: str | None = None) -> ModelError:
    """An HTTP error of a model server. Its words are shown without `secret`."""
    said = _words(body)
    if secret:
        said = said.replace(secret, "…")
    reason = REASONS.get(status, "server_error" if status >= 500 else "bad_request")
    passing = status in _PASSING
    if status == 429 and "insufficient_quota" in body:
        reason, passing = "no_credit", False
    return ModelError(
        f"{who} refused: HTTP {status} {said}".rstrip(),
        reason=reason,
        passing=passing,
        retry_after=retry_after(headers) if passing else None,
    )


def retry_after(headers: Mapping[str, str]) -> float | None:
    """Seconds to wait, as a server's Retry-After (seconds or a date) or retry-after-ms has them."""
    for name, unit in (("retry-after-ms", 1000.0), ("retry-after", 1.0)):
        try:
            return max(0.0, float(headers[name]) / unit)
        except (KeyError, ValueError):
            continue
    try:
        date = parsedate_to_datetime(headers["retry-after"])
    except (KeyError, ValueError, TypeError):
        return None
    if date.tzinfo is None:
        date = date.replace(tzinfo=UTC)
    return max(0.0, (date - datetime.now(UTC)).total_seconds())


def note(span: ModelSpan, error: ModelError) -> None:
    """Put a server's rate limit on the call's span."""
    if error.reason == "rate_limited":
        span.rate_limited(retry_after=error.retry_after)


def guessed_tokens(text: str) -> int:
    """About how many tokens a text is, where nobody says: four characters each."""
    return (len(text) + 3) // 4


def _words(body: str) -> str:
    """What an error's body says: its `message`, wherever vendors put it."""
    try:
        found: Any = json.loads(body)
    except ValueError:
        return _line(body)
    if isinstance(found, list) and found:
        found = found[0]
    if isinstance(found, Mapping):
        inner = found.get("error", found)
        found = inner.get("message", inner) if isinstance(inner, Mapping) else inner
    return _line(found if isinstance(found, str) else json.dumps(found))


def _line(text: str) -> str:
    text = " ".join(text.split())
    return text if len(text) <= _SHOWN else f"{text[:_SHOWN]} …"

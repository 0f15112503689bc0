"""Waiting for a place at a model's provider, where jobs of this engine say how many calls it may get.

The engine gives out places (engine/providers/); one is held by keeping the connection open over which it came, so that
it is free in the moment that this process dies. Where no job limits a provider nothing is asked.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
import logging
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from teamwright.backends.api import Account, Admission
from teamwright.backends.calls import LONGEST_PAUSE, ModelError
from teamwright.loopback import LoopbackError, Pool, Response
from teamwright.tracing import vocabulary as v
from teamwright.tracing.spans import ActiveSpan
from teamwright.tracing.tracer import Tracer

log = logging.getLogger(__name__)

#: Seconds: how long an engine that is away is waited for until a call is made without a place, and between two tries.
ENGINE_AWAY, _AGAIN = 10.0, 0.2
_SALT_LIMIT = 64


class _Away(Exception):
    """The engine can't be asked now; `for_good` = asking again is no use."""

    def __init__(self, message: str, *, for_good: bool = False) -> None:
        super().__init__(message)
        self.for_good = for_good


class Admissions:
    """The places of one agent's process. `token` is the one for the engine; `file` is where the engine names limits."""

    def __init__(
        self, engine_url: str, home_id: str, file: Path, tracer: Tracer, token: Callable[[], str | None]
    ) -> None:
        address = urlsplit(engine_url)
        self._engine = (address.hostname or "127.0.0.1", address.port or 80)
        self._salt = home_id.encode()[:_SALT_LIMIT]
        self._file = file
        self._tracer = tracer
        self._token = token
        self._pool = Pool()
        self._read_at: tuple[int, int] | None = None
        self._limited: frozenset[str] = frozenset()
        #: Whether the last call was made without a place, so that the next ones don't wait for the engine as well.
        self._without = False

    def close(self) -> None:
        """Give all places back."""
        self._pool.close()

    def limited(self, provider: str) -> bool:
        """Whether any job of this engine limits it: looks at the file's time at every call."""
        try:
            about = self._file.stat()
            if (stamp := (about.st_mtime_ns, about.st_ino)) != self._read_at:
                self._limited = frozenset(json.loads(self._file.read_text()))
                self._read_at = stamp
        except (OSError, ValueError, TypeError):
            self._read_at, self._limited = None, frozenset()
        return provider in self._limited

    @asynccontextmanager
    async def enter(self, account: Account, parent: ActiveSpan | None = None) -> AsyncIterator[Admission]:
        """Around one model call: begins when the account has room for it. Waiting is a `queued` span.

        Raises ModelError (rate_limited) where the provider wants to be left alone for longer than is waited for.
        """
        if not self.limited(account.provider):
            yield Admission()
            return
        who = {"provider": account.provider, "key": self._digest(account)}
        place = _Place(self, who)
        await self._take(place, account, parent)

        async def back_off(seconds: float) -> bool:
            return await self._back_off(who, seconds)

        try:
            yield Admission(back_off)
        finally:
            place.close()

    def _digest(self, account: Account) -> str:
        text = f"{account.provider}\0{account.key}".encode()
        return hashlib.blake2b(text, key=self._salt, digest_size=12).hexdigest()

    async def _take(self, place: _Place, account: Account, parent: ActiveSpan | None) -> None:
        """Until there is room, or the engine was away for too long."""
        loop = asyncio.get_running_loop()
        patience = loop.time() + (0.0 if self._without else ENGINE_AWAY)
        async with AsyncExitStack() as stack:
            span: ActiveSpan | None = None
            while True:
                try:
                    async for line in place.ask(working=False):
                        self._without = False
                        if line.get("go"):
                            place.keep()
                            return
                        patience = loop.time() + ENGINE_AWAY
                        reason, seconds = str(line.get("reason")), float(line.get("seconds") or 0)
                        if span is None:
                            waiting = int(line.get("waiting") or 0)
                            told = {v.PROVIDER: account.provider, v.REASON: reason}
                            span = stack.enter_context(
                                self._tracer.queued(waiting=waiting, attributes=told, **_below(parent))
                            )
                        if seconds > LONGEST_PAUSE:
                            raise ModelError(
                                f"{account.provider} is not asked for {seconds:.0f} s more: it said that this key "
                                "calls too often",
                                reason="rate_limited",
                                retry_after=seconds,
                            )
                    patience = max(patience, loop.time() + ENGINE_AWAY)  # it ended while we waited
                except _Away as error:
                    if error.for_good or loop.time() >= patience:
                        self._without = True
                        log.warning("%s is called without its limit: %s", account.provider, error)
                        return
                except BaseException:
                    place.close()
                    raise
                await asyncio.sleep(_AGAIN)

    async def request(self, path: str, body: Mapping[str, Any]) -> Response:
        """Ask the engine. Raises _Away."""
        headers = {"content-type": "application/json", "authorization": f"Bearer {self._token() or ''}"}
        try:
            response = await self._pool.request("POST", self._engine, path, headers, json.dumps(body).encode())
        except LoopbackError as error:
            raise _Away(f"the engine can't be asked: {error}") from None
        if response.status != 200:
            response.close()
            raise _Away(f"the engine gives no place: HTTP {response.status}", for_good=response.status < 500)
        return response

    async def _back_off(self, who: Mapping[str, str], seconds: float) -> bool:
        try:
            async with await self.request("/providers/backoff", {**who, "seconds": seconds}) as response:
                await response.read()
        except (_Away, LoopbackError):
            return False
        return True


class _Place:
    """A place: the open response that it came with, and whoever gets it back when the engine was started again."""

    def __init__(self, admissions: Admissions, who: Mapping[str, str]) -> None:
        self._admissions = admissions
        self._who = who
        self._response: Response | None = None
        self._keeper: asyncio.Task[None] | None = None

    async def ask(self, *, working: bool) -> AsyncIterator[Mapping[str, Any]]:
        """The engine's lines; they end where the engine does. Raises _Away."""
        self._response = await self._admissions.request("/providers/calls", {**self._who, "working": working})
        rest = b""
        try:
            async for chunk in self._response.chunks():
                *lines, rest = (rest + chunk).split(b"\n")
                for line in lines:
                    yield json.loads(line)
        except LoopbackError:
            return

    def keep(self) -> None:
        """It is ours: see that it stays so."""
        self._keeper = asyncio.create_task(self._keep(), name="place at a provider")

    async def _keep(self) -> None:
        """An engine that is started again in the middle of a call is told of it, so that others wait for its end."""
        loop = asyncio.get_running_loop()
        response = self._response
        assert response is not None
        try:
            async for _ in response.chunks():
                pass
        except LoopbackError:
            pass
        until = loop.time() + ENGINE_AWAY
        while loop.time() < until:
            response.close()
            await asyncio.sleep(_AGAIN)
            try:
                async for _ in self.ask(working=True):
                    until = loop.time() + ENGINE_AWAY
            except _Away:
                continue

    def close(self) -> None:
        """Give it back. Safe to call twice."""
        if self._keeper is not None:
            self._keeper.cancel()
        if self._response is not None:
            self._response.close()


def _below(parent: ActiveSpan | None) -> dict[str, Any]:
    return {"parent": parent} if parent is not None else {}

"""How an agent keeps itself listed, and its tokens fresh: one task in its loop, one call every few seconds."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable, Mapping
from contextlib import suppress
from typing import Any

import httpx

_TIMEOUT = 5.0
_FIRST_WAIT = 10.0
_LONGEST_WAIT = 30.0


class RegistryClient:
    """Registers an agent and beats until cancelled; never raises because the engine is away.

    >>> client = RegistryClient(http, engine_url, "hello.lead", entry, token=lambda: tokens["engine"],
    ...                         on_tokens=tokens.update)
    >>> task = asyncio.create_task(client.run())
    >>> await client.leave()

    `on_tokens` gets renewed bearer tokens by audience. `load` is told with each call. `reachable` tells whether the
    last call was answered.
    """

    def __init__(
        self,
        http: httpx.AsyncClient,
        engine_url: str,
        entry_id: str,
        entry: Mapping[str, Any],
        *,
        token: Callable[[], str],
        on_tokens: Callable[[Mapping[str, str]], None],
        load: Callable[[], Mapping[str, int]] = dict,
        interval: float | None = None,
    ) -> None:
        self._http = http
        self._base = f"{engine_url}/agents"
        self._id = entry_id
        self._entry = entry
        self._token = token
        self._on_tokens = on_tokens
        self._load = load
        self._interval = interval
        self.reachable = False

    async def run(self) -> None:
        """Register, then beat; register again when the engine has forgotten us."""
        listed, failures = False, 0
        wait = self._interval or _FIRST_WAIT
        while True:
            answer = await self._call(listed)
            self.reachable = answer is not None and answer.status_code < 500
            if answer is not None and answer.is_success:
                listed, failures = True, 0
                body = answer.json()
                if tokens := body.get("tokens"):
                    self._on_tokens(tokens)
                wait = self._interval or float(body["lease"]) / 3
            else:
                listed = listed and (answer is None or answer.status_code != 404)
                failures += 1
            pause = wait if failures == 0 else min(0.1 * 2.0**failures, _LONGEST_WAIT)
            if answer is not None and answer.status_code == 429:
                pause = max(pause, _asked_to_wait(answer))
            await asyncio.sleep(pause * random.uniform(0.8, 1.0))

    async def leave(self) -> None:
        """Take the entry off the list, if the engine answers."""
        with suppress(httpx.HTTPError):
            params = {"incarnation": str(self._entry.get("incarnation", ""))}
            await self._http.delete(
                f"{self._base}/{self._id}", params=params, headers=self._headers(), timeout=_TIMEOUT
            )

    async def _call(self, listed: bool) -> httpx.Response | None:
        load = {"load": self._load(), "incarnation": self._entry.get("incarnation", "")}
        path, body = (f"{self._id}/heartbeat", load) if listed else ("register", {**self._entry, **load})
        with suppress(httpx.HTTPError):
            return await self._post(path, body)
        return None

    async def _post(self, path: str, body: Any) -> httpx.Response:
        return await self._http.post(f"{self._base}/{path}", json=body, headers=self._headers(), timeout=_TIMEOUT)

    def _headers(self) -> dict[str, str]:
        return {"authorization": f"Bearer {self._token()}"}


def _asked_to_wait(answer: httpx.Response) -> float:
    text = answer.headers.get("retry-after", "")
    return min(float(text), _LONGEST_WAIT) if text.isdigit() else 0.0

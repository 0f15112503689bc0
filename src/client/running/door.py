"""The front door, asked from asyncio: the same calls as Client makes, cut off at once when their task is cancelled."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import suppress
from typing import Any

import httpx

from teamwright.client import asking
from teamwright.client.asking import door_path
from teamwright.client.client import CONNECT
from teamwright.client.failures import check, unreachable
from teamwright.client.picking_up import PickUp
from teamwright.client.running.held import Held, Question
from teamwright.errors import TeamwrightError


class Door:
    """The way to one job. One for each event loop."""

    def __init__(self, held: Held) -> None:
        self._held = held
        self._http: httpx.AsyncClient | None = None

    async def replies(
        self, question: Question, session: str, answer: asking.Answer, since: int
    ) -> AsyncGenerator[dict[str, Any], None]:
        """Each A2A reply as it comes; `answer` has it all in the end. Raises TeamwrightError.

        When the engine goes in between, the answer comes whole from the one that follows it.
        """
        client = self._held.client
        path = door_path(self._held.job, question.agent)
        body = asking.call(
            question.text,
            session,
            user=question.user,
            labels=question.labels,
            files=question.files,
            task=question.task,
            stream=True,
        )
        headers = {
            **question.context,
            **asking.HEADERS,
            **await asyncio.to_thread(client.headers),
            "accept": "text/event-stream",
        }
        try:
            async with self._client().stream("POST", path, content=body, headers=headers) as response:
                if not response.headers.get("content-type", "").startswith("text/event-stream"):
                    await response.aread()
                    check(response)
                    answer.read(found := response.json())
                    yield found
                    return
                async for reply in _events(response.aiter_lines()):
                    answer.read(reply)
                    yield reply
        except httpx.HTTPError as error:
            gone = unreachable(error, client.url)
            if not isinstance(error, httpx.RemoteProtocolError | httpx.ReadError):
                raise gone from error
            # The engine has ended, the agent has not: the next engine follows the query.
            picked = PickUp(client, self._held.job, question.agent, session, since)
            await asyncio.to_thread(picked.into, answer, gone)

    async def cancel(self, agent: str | None, session: str, task_id: str | None, since: int) -> None:
        """End the work on a query that nobody waits for."""
        client, job = self._held.client, self._held.job
        with suppress(TeamwrightError):  # it may have ended by itself, or with its engine
            if task_id is None:  # the agent has not said which task it is: the engine may know
                runs = await asyncio.to_thread(lambda: client.runs(session=session, limit=5))
                task_id = next((run["task_id"] for run in runs if run["started_ns"] >= since), None)
            if task_id is not None:
                await asyncio.to_thread(lambda: client.cancel(job, task_id, agent=agent))

    async def aclose(self) -> None:
        """Hang up."""
        if self._http is not None:
            await self._http.aclose()

    def _client(self) -> httpx.AsyncClient:
        if self._http is None:
            url = self._held.client.url
            self._http = httpx.AsyncClient(
                base_url=url,
                trust_env=False,
                verify=url.startswith("https:"),
                timeout=httpx.Timeout(None, connect=CONNECT),
                limits=httpx.Limits(max_connections=None),
            )
        return self._http


async def _events(lines: AsyncIterator[str]) -> AsyncIterator[dict[str, Any]]:
    """The JSON objects in the lines of a stream of server-sent events."""
    data: list[str] = []
    async for line in lines:
        if line.startswith("data:"):
            data.append(line[5:].removeprefix(" "))
        elif not line and data:
            yield json.loads("\n".join(data))
            data = []

"""Asking any A2A agent, ours or not, by its address."""

from __future__ import annotations

import json
import time
from collections.abc import Generator, Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from typing import Any

import httpx

from teamwright.agents.own_code.foreign import ANSWER_LIMIT
from teamwright.client.asking import Answer, events
from teamwright.client.outside import words
from teamwright.client.outside.way import Way, proxied
from teamwright.client.outside.words import Message, Request
from teamwright.client.results import QueryResult
from teamwright.engine.door.frames import Reading
from teamwright.errors import PeerError, Refused

#: Seconds: to connect; from one sign of life to the next without a `timeout`; between two looks at a task.
_CONNECT, _PATIENCE, _LOOK = 10.0, 600.0, 0.5


def ask(
    way: Way, message: Message, headers: Mapping[str, str], *, timeout: float | None = None
) -> Generator[dict[str, Any], None, QueryResult]:
    """Ask and get each reply, in the words of 1.0, as it comes; the generator returns the result. Closed early, the
    work on it is cancelled.

    `timeout` is for the whole, in seconds. An agent that answers with a task which still works is looked at again
    until that has ended. Raises Refused (401, 403) and PeerError: unreachable, timeout, broken_connection, bad_answer.
    """
    began = time.monotonic()
    until = None if timeout is None else began + timeout
    answer, reading = Answer("", way.agent, message.session or ""), Reading(foreign=True)
    with httpx.Client(trust_env=proxied(way.url), follow_redirects=False) as http:
        line = _Line(http, way, headers, until)
        done = False
        try:
            for found in _replies(line, message, reading):
                answer.read(found)
                reading.take(found)
                yield found
            done = True
        except PeerError as error:
            done = error.reason not in ("timeout", "broken_connection")
            raise
        finally:
            if not done and reading.task_id is not None:
                with suppress(PeerError, Refused):
                    _Line(http, way, headers, time.monotonic() + _CONNECT).whole(words.cancelling(way, reading.task_id))
    return answer.result((time.monotonic() - began) * 1000)


def _replies(line: _Line, message: Message, reading: Reading) -> Iterator[dict[str, Any]]:
    try:
        yield from line.replies(words.sending(line.way, message))
    except PeerError as error:
        if error.reason != "broken_connection" or reading.task_id is None:
            raise
    while reading.task_id is not None and reading.state in (None, "submitted", "working", "unspecified"):
        line.pause()
        yield line.whole(words.looking(line.way, reading.task_id))


class _Line:
    """Requests to one agent."""

    def __init__(self, http: httpx.Client, way: Way, headers: Mapping[str, str], until: float | None) -> None:
        self.way = way
        self._http = http
        self._headers = {
            "content-type": "application/json",
            "a2a-version": way.version,
            "accept": "text/event-stream, application/json" if way.streaming else "application/json",
            **headers,
        }
        self._until = until

    def replies(self, request: Request) -> Iterator[dict[str, Any]]:
        """What it answers, one by one."""
        with self._asked(request) as response:
            if response.headers.get("content-type", "").startswith("text/event-stream"):
                for found in events(self._lines(response)):
                    yield self._read(found)
            else:
                yield self._body(response)

    def whole(self, request: Request) -> dict[str, Any]:
        """Its one answer."""
        with self._asked(request) as response:
            return self._body(response)

    def pause(self) -> None:
        """Until the next look. Raises PeerError when the time is over."""
        time.sleep(min(_LOOK, self._left()))

    @contextmanager
    def _asked(self, request: Request) -> Iterator[httpx.Response]:
        limits = httpx.Timeout(self._left(), connect=min(_CONNECT, self._left()))
        agent = self.way.agent
        try:
            with self._http.stream(
                request.verb, request.url, content=request.body, headers=self._headers, timeout=limits
            ) as response:
                if response.status_code in (401, 403):
                    raise Refused(
                        f"{agent} refuses the caller (HTTP {response.status_code})",
                        hint="--token TOKEN; an engine of Teamwright makes one with `deploy token create`",
                    )
                yield response
        except httpx.ConnectError as error:
            raise PeerError(f"{agent} can't be reached at {request.url}: {error}", reason="unreachable") from None
        except httpx.TimeoutException:
            raise self._late() from None
        except httpx.HTTPError as error:
            why = str(error) or type(error).__name__
            raise PeerError(f"the connection to {agent} broke: {why}", reason="broken_connection") from None
        except ValueError as error:
            raise PeerError(f"what {agent} answered can't be read: {error}", reason="bad_answer") from None

    def _body(self, response: httpx.Response) -> dict[str, Any]:
        text = "".join(self._pieces(response.iter_text()))
        try:
            found = json.loads(text)
        except ValueError:
            message = f"{self.way.agent} answered with HTTP {response.status_code} and no JSON"
            raise PeerError(message, reason="bad_answer") from None
        if not response.is_success and not (isinstance(found, Mapping) and isinstance(found.get("error"), Mapping)):
            raise PeerError(f"{self.way.agent} answered with HTTP {response.status_code}", reason="bad_answer")
        return self._read(found)

    def _lines(self, response: httpx.Response) -> Iterator[str]:
        yield from self._pieces(response.iter_lines())
        yield ""

    def _pieces(self, pieces: Iterable[str]) -> Iterator[str]:
        size = 0
        for piece in pieces:
            size += len(piece)
            if size > ANSWER_LIMIT:
                raise PeerError(f"{self.way.agent} answers with more than {ANSWER_LIMIT >> 20} MB", reason="bad_answer")
            self._left()
            yield piece

    def _read(self, found: Any) -> dict[str, Any]:
        return words.reply(self.way, found)

    def _left(self) -> float:
        left = _PATIENCE if self._until is None else self._until - time.monotonic()
        if left <= 0:
            raise self._late()
        return left

    def _late(self) -> PeerError:
        return PeerError(f"{self.way.agent} did not answer in time", reason="timeout", hint="--timeout SECONDS")

"""Asks A2A servers, many at once, at little cost: requests are bytes, answers are only searched for faults."""

from __future__ import annotations

import asyncio
import json
import os
import time
from collections.abc import Callable
from dataclasses import dataclass
from urllib.parse import urlsplit

import uvloop

#: Gives the headers of the next request: its token and trace context.
Headers = Callable[[], str]


@dataclass(frozen=True)
class Load:
    """What asking came to: seconds in all, and of each answer."""

    seconds: float
    times: list[float]

    @property
    def rate(self) -> float:
        """Answers a second."""
        return len(self.times) / self.seconds


def ask(url: str, messages: int, at_once: int, headers: Headers = lambda: "", text: str = "hello") -> Load:
    """Send that many blocking messages, so many at once.

    Raises SystemExit for an answer that doesn't hold the last word of `text`.
    """
    word = text.rpartition(" ")[2].strip("?")
    return uvloop.run(_ask(url, messages, at_once, lambda: message(url, headers(), text), word))


def fetch(url: str, requests: int, at_once: int) -> Load:
    """GET that page so often: what HTTP alone costs."""
    place = urlsplit(url)
    request = f"GET {place.path} HTTP/1.1\r\nhost: {place.netloc}\r\n\r\n".encode()
    return uvloop.run(_ask(url, requests, at_once, lambda: request, ""))


def bearer(token: str, *, traced: bool = True) -> Headers:
    """The headers of an agent that calls another: its token, and a trace of its own for each message."""

    def headers() -> str:
        context = f"traceparent: 00-{os.urandom(16).hex()}-{os.urandom(8).hex()}-01\r\n" if traced else ""
        return f"authorization: Bearer {token}\r\n{context}"

    return headers


async def _ask(url: str, requests: int, at_once: int, request: Callable[[], bytes], word: str) -> Load:
    place = urlsplit(url)
    times: list[float] = []
    left = requests

    async def worker() -> None:
        nonlocal left
        reader, writer = await asyncio.open_connection(place.hostname, place.port, limit=1 << 22)
        try:
            while left > 0:
                left -= 1
                data = request()
                began = time.perf_counter()
                writer.write(data)
                said = await answer(reader)
                times.append(time.perf_counter() - began)
                if word.encode() not in said or b'"error"' in said or b"FAILED" in said:
                    raise SystemExit(f"{url} answered {said[:2000].decode()}")
        finally:
            writer.close()

    began = time.perf_counter()
    await asyncio.gather(*(worker() for _ in range(at_once)))
    return Load(time.perf_counter() - began, times)


async def answer(reader: asyncio.StreamReader) -> bytes:
    """An HTTP response, its head in lower case."""
    head = (await reader.readuntil(b"\r\n\r\n")).lower()
    at = head.index(b"content-length:") + len(b"content-length:")
    return head + await reader.readexactly(int(head[at : head.index(b"\r", at)]))


def message(url: str, headers: str, text: str) -> bytes:
    """The request of a blocking message."""
    place = urlsplit(url)
    asked = {"messageId": os.urandom(8).hex(), "role": "ROLE_USER", "parts": [{"text": text}]}
    call = {"jsonrpc": "2.0", "id": 1, "method": "SendMessage", "params": {"message": asked}}
    body = json.dumps(call).encode()
    head = (
        f"POST {place.path or '/'} HTTP/1.1\r\nhost: {place.netloc}\r\na2a-version: 1.0\r\n"
        f"content-type: application/json\r\ncontent-length: {len(body)}\r\n{headers}\r\n"
    )
    return head.encode() + body

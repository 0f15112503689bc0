"""Looking at a running agent from outside: an HTTP question, the CPU time and the memory of its processes."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from contextlib import suppress

from teamwright.agents.spec import CARD_PATH
from teamwright.host.proc import Process, memory

_ANSWER_LIMIT = 65_536


async def get(port: int, path: str) -> tuple[int, str]:
    """Status and body of one GET on the loopback. Waits as long as it takes; raises OSError or EOFError."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port, limit=_ANSWER_LIMIT)
    try:
        writer.write(f"GET {path} HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nConnection: close\r\n\r\n".encode())
        head = await reader.readline()
        words = head.split(None, 2)
        if len(words) < 2 or not words[1].isdigit():
            raise EOFError("no answer")
        rest = b""
        while len(rest) < _ANSWER_LIMIT and (part := await reader.read(_ANSWER_LIMIT)):
            rest += part
        return int(words[1]), rest.partition(b"\r\n\r\n")[2].decode(errors="replace").strip()
    finally:
        writer.transport.abort()  # a stopped agent would not let us close


async def ready(port: int, *, foreign: bool = False) -> str | None:
    """Wait until the agent says that it is ready: None, or what it says is wrong.

    One question that the agent answers when it is ready; it waits in the backlog while the process starts. Asked
    again only when the connection broke. Foreign ones bind the port themselves: they are asked for their card until
    they give one.
    """
    while foreign:
        with suppress(OSError, EOFError):
            status, _ = await get(port, CARD_PATH)
            if status == 200:
                return None
        await asyncio.sleep(0.05)
    while True:
        with suppress(OSError, EOFError):
            status, body = await get(port, "/readyz")
            return None if status == 200 else f"/readyz answered {status}: {body[:500]}"
        await asyncio.sleep(0.05)


async def alive(port: int, seconds: float, *, foreign: bool = False) -> bool | None:
    """Whether the agent's loop answers within `seconds`; None when we can't tell: we were held up ourselves, or could
    not ask (no descriptors, no ports).
    """
    loop = asyncio.get_running_loop()
    begin = loop.time()
    try:
        async with asyncio.timeout(seconds):
            status, _ = await get(port, CARD_PATH if foreign else "/livez")
            return foreign or status == 200
    except (ConnectionError, EOFError, TimeoutError):
        late = loop.time() - begin - seconds
        return None if late > max(1.0, seconds) else False
    except OSError:
        return None


def cpu_used(before: dict[tuple[int, int], int], processes: Iterable[Process]) -> int:
    """CPU time in clock ticks that the processes used since `before` (ticks by process)."""
    return sum(max(0, process.ticks - before.get(process.key, 0)) for process in processes)


def memory_of(processes: Iterable[Process]) -> int:
    """Their proportional set sizes, in bytes."""
    return sum(memory(process.pid) for process in processes if not process.gone)

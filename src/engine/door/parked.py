"""How many tasks wait for a person at an agent: nobody works on them, and they go with its process."""

from __future__ import annotations

import asyncio
import json
from collections import Counter
from collections.abc import Iterable, Mapping

from teamwright.engine.door import rpc
from teamwright.engine.door.upstream import Upstream
from teamwright.engine.store.records import AgentRecord
from teamwright.errors import PeerError

#: Seconds an agent may take to say it; one that doesn't is counted as having none.
_LOOK = 5.0


async def parked(upstream: Upstream, processes: Iterable[AgentRecord]) -> Mapping[str, int]:
    """Tasks in A2A's state input-required, by agent id; agents without any are left out."""
    asked = list(processes)
    counts = await asyncio.gather(*(_count(upstream, process) for process in asked))
    found: Counter[str] = Counter()
    for process, count in zip(asked, counts, strict=True):
        found[process.agent] += count
    return +found


async def _count(upstream: Upstream, process: AgentRecord) -> int:
    params = {"status": "TASK_STATE_INPUT_REQUIRED", "pageSize": 1, "historyLength": 0}
    body = rpc.encode({"jsonrpc": "2.0", "id": 1, "method": "ListTasks", "params": params})
    try:
        async with asyncio.timeout(_LOOK), upstream.post(process, body, {}) as response:
            reply = json.loads(await response.read())
    except (PeerError, TimeoutError, ValueError):
        return 0
    found = reply.get("result") if isinstance(reply, dict) else None
    total = found.get("totalSize") if isinstance(found, dict) else None
    return total if type(total) is int and total > 0 else 0

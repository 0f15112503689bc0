"""Keeping the agent listed at the engine, quietly: an engine that is away changes nothing for the agent."""

from __future__ import annotations

import asyncio
from collections.abc import MutableMapping
from contextlib import suppress

import httpx
from a2a.types import AgentCard
from google.protobuf.json_format import MessageToDict

from teamwright.agents.gate import Gate
from teamwright.agents.spec import AgentSpec
from teamwright.registry.client import RegistryClient
from teamwright.safety.tokens import ENGINE_AUDIENCE, LONGEST_GRACE

_LEAVE = 0.5


class Registration:
    """The heartbeat of one agent. Renewed tokens go into `tokens`, by audience."""

    def __init__(
        self,
        spec: AgentSpec,
        card: AgentCard,
        http: httpx.AsyncClient,
        tokens: MutableMapping[str, str],
        gate: Gate,
    ) -> None:
        entry = {
            "id": spec.registry_id,
            "job": spec.job,
            "agent": spec.agent,
            "url": spec.url,
            "incarnation": spec.incarnation,
            **({"replica": spec.replica} if spec.replica is not None else {}),
            "name": card.name,
            "description": card.description,
            "version": card.version,
            "skills": [MessageToDict(skill) for skill in card.skills],
        }
        self._client = RegistryClient(
            http,
            spec.engine_url,
            spec.registry_id,
            entry,
            token=lambda: tokens.get(ENGINE_AUDIENCE, ""),
            on_tokens=tokens.update,
            load=lambda: {"working": gate.working, "waiting": gate.waiting},
        )
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Begin to register; returns at once."""
        self._task = asyncio.create_task(self._client.run(), name="registration")

    @property
    def reachable(self) -> bool:
        """Whether the engine answered the last time."""
        return self._client.reachable

    def grace(self) -> float:
        """Seconds that agents' tokens may be past their end: an hour while the engine can't renew them."""
        return 0.0 if self.reachable else LONGEST_GRACE

    async def stop(self, *, leave: bool = True) -> None:
        """End the heartbeat and take the entry off the list, if the engine answers at once."""
        if self._task is None:
            return
        self._task.cancel()
        await asyncio.gather(self._task, return_exceptions=True)
        if leave and self.reachable:
            with suppress(TimeoutError):
                async with asyncio.timeout(_LEAVE):
                    await self._client.leave()

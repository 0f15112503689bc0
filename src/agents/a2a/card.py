"""The agent's public card."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from a2a.types import (
    AgentCapabilities,
    AgentCard,
    AgentExtension,
    AgentInterface,
    AgentProvider,
    AgentSkill,
    HTTPAuthSecurityScheme,
    SecurityRequirement,
    SecurityScheme,
    StringList,
)

from teamwright.agents.agent import Agent, description_of
from teamwright.agents.spec import AgentSpec
from teamwright.backends.api import Tool
from teamwright.tracing.propagation import RUN_EXT, TRACE_EXT, USAGE_EXT

_EXTENSIONS = {
    TRACE_EXT: "W3C trace context in message.metadata",
    RUN_EXT: "which run of which query a message belongs to, and the limits that are left",
    USAGE_EXT: "tokens, calls and cost of an answer, summed over everything below it",
}


def build_card(spec: AgentSpec, agent: Agent, tools: Sequence[Tool], *, extended: bool = False) -> AgentCard:
    """The card of an agent: what the job file says, else what its class says; skills from its tools.

    The extended one, for whoever has a token, also has the tools that are not its own, and whom it may ask.
    """
    name = spec.name or agent.name or spec.agent
    description = spec.description or description_of(agent) or f"The agent {spec.agent} of the job {spec.job}"
    return AgentCard(
        name=name,
        description=description,
        version=spec.version,
        provider=AgentProvider(organization="teamwright", url="https://teamwright.dev"),
        supported_interfaces=_interfaces(spec.url),
        capabilities=AgentCapabilities(
            streaming=True,
            push_notifications=True,
            extended_agent_card=True,
            extensions=[AgentExtension(uri=uri, description=text, required=False) for uri, text in _EXTENSIONS.items()],
        ),
        security_schemes={
            "bearer": SecurityScheme(
                http_auth_security_scheme=HTTPAuthSecurityScheme(scheme="bearer", bearer_format="JWT")
            )
        },
        security_requirements=[SecurityRequirement(schemes={"bearer": StringList()})],
        default_input_modes=["text/plain", "application/json"],
        default_output_modes=["text/plain", "application/json"],
        skills=_skills(spec, agent, tools, extended)
        or [AgentSkill(id=spec.agent, name=name, description=description, tags=[spec.agent])],
    )


def _interfaces(url: str) -> list[AgentInterface]:
    """Both bindings at one address, for clients of A2A 1.0 and of 0.3."""
    base = url.rstrip("/")
    return [
        AgentInterface(url=where, protocol_binding=binding, protocol_version=version)
        for version in ("1.0", "0.3")
        for where, binding in ((f"{base}/", "JSONRPC"), (base, "HTTP+JSON"))
    ]


def _needs(skill: Mapping[str, Any]) -> list[str]:
    """`after` of a skill as tags: a card has no word of its own for it."""
    return [f"after:{agent}" for agent in skill.get("after", ())]


def _skills(spec: AgentSpec, agent: Agent, tools: Sequence[Tool], extended: bool) -> list[AgentSkill]:
    given = [
        AgentSkill(
            id=str(skill.get("id", "")),
            name=str(skill.get("name") or skill.get("id", "")),
            description=str(skill.get("description") or skill.get("name") or skill.get("id", "")),
            tags=[*([str(tag) for tag in skill.get("tags", ())] or [str(skill.get("id", ""))]), *_needs(skill)],
            examples=[str(example) for example in skill.get("examples", ())],
        )
        for skill in (*spec.skills, *agent.skills)
    ]
    known = {skill.id for skill in given}
    asks = [
        AgentSkill(id=f"ask-{peer.id}", name=f"Ask {peer.id}", description=f"May ask {peer.id}", tags=["peer", peer.id])
        for peer in (spec.peers if extended else ())
    ]
    return [*given, *asks] + [
        AgentSkill(
            id=tool.name,
            name=tool.name.replace("_", " ").capitalize(),
            description=tool.description,
            tags=list(tool.tags) or [tool.name],
        )
        for tool in tools
        if (extended or tool.source == "local") and tool.name not in known
    ]

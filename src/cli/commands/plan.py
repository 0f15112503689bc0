"""`deploy plan FILE`: what a start would do, with the names of secrets and never their values."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from teamwright.cli.app import Call, command
from teamwright.cli.job_file import job_file, load

if TYPE_CHECKING:
    from teamwright.jobs.plan import AgentPlan, Plan


@command("plan")
@job_file
@click.option("--full", is_flag=True, help="Every value, and where it came from: file and line, --set, default.")
@click.pass_obj
def plan(call: Call, file: Path, name: str | None, sets: Sequence[str], full: bool) -> None:
    """Show what would be started: levels, calls, ports, backends, secrets by name.

    \b
    deploy plan team.yaml --set agents.writer.limits.turns=3
    deploy plan team.yaml --full
    """
    loaded = load(call, file, name=name, sets=sets)
    found = loaded.plan
    values = loaded.origins() if full else []
    if call.json:
        told = {"values": [each.to_dict() for each in values]} if full else {}
        call.emit({**plan_view(found), **told})
        return
    _print(call, found, file)
    if full:
        from teamwright.cli.output import console, table

        rows = ((each.key, json.dumps(each.value, ensure_ascii=False), each.whence) for each in values)
        click.echo()
        console().print(table(("KEY", "VALUE", "FROM"), rows))


def plan_view(plan: Plan) -> dict[str, Any]:
    """The JSON of `plan`. `memory` is in bytes of PSS; `cpu` is a share that niceness gives, not a hard limit."""
    from teamwright.host.launcher import niceness

    return {
        "job": plan.job,
        "file": plan.file,
        "topology": plan.topology,
        "strategy": plan.strategy,
        "entry_point": plan.entry_point,
        "revision": plan.revision,
        "levels": [list(level) for level in plan.levels],
        "edges": [{"from": caller, "to": callee} for caller, callee in plan.edges],
        "agents": [
            {
                "id": agent.id,
                "name": agent.name,
                "kind": agent.kind,
                "foreign": agent.foreign,
                "backend": agent.backend,
                "model": agent.model,
                "port": agent.port,
                "level": agent.level,
                "group": agent.group,
                "calls": list(agent.callees),
                "callers": list(agent.callers),
                "memory": agent.memory,
                "cpu": {"cores": agent.cpu, "nice": niceness(agent.cpu)} if agent.cpu else None,
                "secrets": [{"name": secret.name, "source": secret.source} for secret in agent.secrets],
            }
            for agent in plan.agents
        ],
        "warnings": list(plan.warnings),
    }


def _print(call: Call, plan: Plan, file: Path) -> None:
    from teamwright.cli.output import console, table

    click.echo(
        f"{plan.job}  {plan.topology}, {plan.strategy}, entry point {plan.entry_point}, revision {plan.revision}"
    )
    rows = []
    for number, level in enumerate(plan.levels):
        for identity in level:
            agent = plan.agent(identity)
            rows.append(
                (
                    str(number),
                    agent.id + (f" ({agent.replicas} replicas)" if agent.replicas > 1 else ""),
                    agent.kind,
                    agent.backend + (f" ({agent.model})" if agent.model else ""),
                    str(agent.port or "any"),
                    ", ".join(agent.callees) or "-",
                    _resources(agent),
                    _secrets(agent),
                )
            )
    console().print(table(("LEVEL", "AGENT", "KIND", "BACKEND", "PORT", "CALLS", "RESOURCES", "SECRETS"), rows))
    click.echo("next: " + call.next(f"start {file}"))


def _resources(agent: AgentPlan) -> str:
    from teamwright.host.launcher import niceness

    parts = [f"memory {agent.memory / 1024**2:.0f} MB"] if agent.memory else []
    if agent.cpu:
        parts.append(f"cpu {agent.cpu:g} by niceness {niceness(agent.cpu)}")
    return ", ".join(parts) or "-"


def _secrets(agent: AgentPlan) -> str:
    return ", ".join(f"{secret.name} ({secret.source or 'not set'})" for secret in agent.secrets) or "-"

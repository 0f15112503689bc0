"""From a plan to the launch orders of its agents: addresses, peers, allowed callers, tokens, secrets."""

from __future__ import annotations

import secrets as randomness
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from teamwright.agents.replicas import replica_name
from teamwright.agents.spec import FRONT_DOOR, AgentSpec, PeerSpec
from teamwright.home import Home
from teamwright.host.api import LaunchOrder, PortRequest
from teamwright.jobs.mcp_plans import joined
from teamwright.jobs.own_code import interpreter
from teamwright.jobs.plan import AgentPlan, Plan
from teamwright.tracing.storing.retention import Retention

#: Makes the bearer tokens of one agent, by audience: `engine`, and `job/agent` for each callee.
Mint = Callable[[Plan, AgentPlan], Mapping[str, str]]


@dataclass(frozen=True, slots=True)
class Site:
    """What every agent of an engine is told about it. `spans_url` is where spans go: engine or collector.

    `sessions` is how long conversations are kept.
    """

    home: Home
    engine_url: str
    public_key: str
    spans_url: str
    sessions: Retention = field(default_factory=Retention)


def agent_url(port: int) -> str:
    """Where an agent on this machine is reached."""
    return f"http://127.0.0.1:{port}"


def port_requests(plan: Plan, preferred: Mapping[str, int]) -> list[PortRequest]:
    """A request for each process's port: the one the file names, else the one it had, else any.

    `preferred` holds earlier ports by the process's name.
    """
    return [
        PortRequest(f"{plan.job}/{name}", agent.port or preferred.get(name), explicit=agent.port is not None)
        for agent in plan.agents
        if agent.started
        for name in agent.processes
    ]


def launch_orders(
    plan: Plan, ports: Mapping[str, int], secrets: Mapping[str, Mapping[str, str]], site: Site, mint: Mint
) -> dict[str, LaunchOrder]:
    """The order of each process, by its name: the agent's id, or its replica's. `ports` are by `job/name`, `secrets` by
    agent id.
    """
    return {
        name: _order(plan, agent, number if agent.replicas > 1 else None, ports, secrets, site, mint(plan, agent))
        for agent in plan.agents
        if agent.started
        for number, name in enumerate(agent.processes)
    }


def _peer(plan: Plan, agent: AgentPlan, ports: Mapping[str, int], secrets: Mapping[str, str]) -> PeerSpec:
    urls = () if agent.url else tuple(agent_url(ports[f"{plan.job}/{name}"]) for name in agent.processes)
    url = agent.url or urls[0]
    headers = agent.auth.headers(secrets) if agent.auth is not None else {}
    duration = agent.limits.duration if agent.foreign else None
    return PeerSpec(agent.id, plan.job, agent.id, url, agent.kind, headers, duration, urls=urls)


def _order(
    plan: Plan,
    agent: AgentPlan,
    replica: int | None,
    ports: Mapping[str, int],
    secrets: Mapping[str, Mapping[str, str]],
    site: Site,
    tokens: Mapping[str, str],
) -> LaunchOrder:
    home = site.home
    process = agent.id if replica is None else replica_name(agent.id, replica)
    peers = tuple(_peer(plan, plan.agent(callee), ports, secrets.get(callee, {})) for callee in agent.callees)
    mcp_servers, own_secrets = joined(agent.mcp_servers, secrets.get(agent.id, {}))
    spec = AgentSpec(
        job=plan.job,
        agent=agent.id,
        incarnation=randomness.token_hex(4),
        home=str(home.path),
        home_id=home.id,
        job_folder=plan.folder,
        kind=agent.kind,
        url=agent_url(ports[f"{plan.job}/{process}"]),
        engine_url=site.engine_url,
        spans_url=site.spans_url,
        public_key=site.public_key,
        epoch_file=str(home.epoch_file),
        spool_dir=str(home.spool_dir),
        sessions_dir=str(home.sessions_dir(plan.job)),
        session_age=site.sessions.age,
        session_size=site.sessions.size,
        revision=plan.revision,
        search_path=plan.search_path,
        module=agent.module,
        type=agent.type,
        run=agent.run,
        script=agent.script,
        command=agent.command,
        python=interpreter(agent.python, plan.folder),
        instrument=agent.instrument,
        config=agent.config,
        name=agent.name,
        description=agent.description,
        version=agent.version,
        group=agent.group,
        backend=agent.backend,
        backend_options=agent.backend_options,
        backend_code=agent.backend_code,
        backend_folder=agent.backend_folder,
        model=agent.model,
        model_options=agent.model_options,
        login=agent.login,
        replica=replica,
        prompt=agent.prompt,
        tools=agent.tools,
        skills=agent.skills,
        mcp_servers=mcp_servers,
        output_schema=agent.output_schema,
        record=plan.record,
        replay=plan.replay,
        peers=peers,
        stages=plan.stages if plan.topology == "pipeline" and agent.id == plan.entry_point else (),
        callers=(FRONT_DOOR, *(f"{plan.job}/{caller}" for caller in agent.callers)),
        discover=agent.discover,
        route=agent.route,
        registry_url=plan.registry_url,
        limits=agent.limits,
        max_concurrent=agent.max_concurrent,
        queue=agent.queue,
        on_disconnect=agent.on_disconnect,
        push_urls=agent.push_urls,
        tracing=plan.tracing,
        content=plan.content,
        redact=plan.redact,
        log_level=agent.environment.get("LOG_LEVEL", "info"),
        environment=agent.environment,
        secrets=own_secrets,
        tokens=tokens,
    )
    return LaunchOrder(
        spec=spec,
        log_file=str(home.agent_log(plan.job, process)),
        timeout=plan.timeout,
        restart=agent.restart,
        health=plan.health,
        threads=agent.threads,
        memory=agent.memory,
        cpu=agent.cpu,
    )

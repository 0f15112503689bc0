"""Keys of older engines' job files that mean nothing here: each is taken out with a warning that says what to write."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from teamwright.jobs.source import KeyPath, Source

_REMOTE = "means nothing for an agent on this machine: leave it out"

#: Key path (`*` = any agent) → what to do instead.
OLDER: Mapping[str, str] = {
    "agents.*.resources.gpu": "give the agent the devices it may see: environment: {CUDA_VISIBLE_DEVICES: …}",
    "agents.*.deployment.host": _REMOTE,
    "agents.*.deployment.user": _REMOTE,
    "agents.*.deployment.ssh_key": _REMOTE,
    "agents.*.deployment.password": _REMOTE + "; and keep passwords out of job files",
    "agents.*.deployment.port": "write config: {port: …} for the agent's own port",
    "agents.*.deployment.python": "write python: … beside run: or script: for another interpreter",
    "agents.*.deployment.workdir": "agents work in the job file's folder",
    "agents.*.deployment.image": _REMOTE,
    "agents.*.deployment.network": _REMOTE,
    "agents.*.deployment.container_name": _REMOTE,
    "agents.*.deployment.namespace": _REMOTE,
    "agents.*.deployment.service_type": _REMOTE,
    "agents.*.health_check": "write deployment: {health_check: {interval: …, retries: …}} at the top, for all agents",
    "deployment.network": "who may call whom is the topology; agents listen on loopback only",
    "deployment.ssh": "agents run on this machine",
    "deployment.retry_policy": "write restart: {policy: …, max: …, within: …} on the agent or in defaults",
    "deployment.health_check.timeout": "interval and retries decide when an agent counts as hung",
    "topology.connections.*.condition": "a connection always holds: leave it out",
}


def strip(source: Source) -> list[str]:
    """Take such keys out of `source`; returns a warning for each."""
    warnings = []
    for pattern, instead in OLDER.items():
        for path, parent in list(_matches(source.data, pattern.split("."), ())):
            problem = source.problem(path, "means nothing here and is ignored", instead)
            warnings.append((problem.line or 0, str(problem)))
            del parent[str(path[-1])]
            source.forget(path)
    return [text for _, text in sorted(warnings)]


def _matches(node: Any, pattern: list[str], path: KeyPath) -> Iterator[tuple[KeyPath, dict[str, Any]]]:
    head, rest = pattern[0], pattern[1:]
    if head == "*":
        if isinstance(node, list):
            for index, item in enumerate(node):
                yield from _matches(item, rest, (*path, index))
    elif isinstance(node, dict) and head in node:
        if rest:
            yield from _matches(node[head], rest, (*path, head))
        else:
            yield (*path, head), node

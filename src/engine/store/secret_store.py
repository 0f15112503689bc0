"""The secrets of running jobs, kept for restarts in one file of mode 0600."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

from teamwright.home import write_atomically

Secrets = Mapping[str, Mapping[str, str]]

#: Between a job's name and the mark of secrets that are staged for it; no name of a job holds it.
_STAGED = "~"
#: What is staged where the job will have no secrets.
_NONE = {"": {"": ""}}


class SecretStore:
    """Secrets by job, agent id and name. Gone with the job.

    >>> store = SecretStore(home.secrets_file)
    >>> store.put("hello", {"lead": {"API_KEY": "…"}})
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._jobs: dict[str, Secrets] = {}
        if path.exists():
            self._jobs = json.loads(path.read_text())

    def get(self, job: str) -> Secrets:
        """The job's secrets by agent id; empty when it has none."""
        return self._jobs.get(job, {})

    def put(self, job: str, secrets: Secrets) -> None:
        """Keep the job's secrets in place of earlier ones; on disk when this returns."""
        kept = {agent: dict(names) for agent, names in secrets.items() if names}
        if not kept:
            self.remove(job)
        elif self._jobs.get(job) != kept:
            self._jobs[job] = kept
            self._write()

    def stage(self, job: str, mark: str, secrets: Secrets) -> None:
        """Keep other secrets for the job beside its own, until `settle`."""
        self.put(f"{job}{_STAGED}{mark}", secrets if any(secrets.values()) else _NONE)

    def settle(self, job: str, mark: str | None) -> None:
        """The job's secrets are those that were staged with that mark, if any were; others that were are forgotten."""
        start = f"{job}{_STAGED}"
        staged = {name: self._jobs[name] for name in list(self._jobs) if name.startswith(start)}
        if (chosen := staged.get(f"{start}{mark}")) is not None:
            self.put(job, {} if chosen == _NONE else chosen)
        for name in staged:
            self.remove(name)

    def remove(self, job: str) -> None:
        """Forget the job's secrets."""
        if self._jobs.pop(job, None) is not None:
            self._write()

    def _write(self) -> None:
        write_atomically(self._path, json.dumps(self._jobs), mode=0o600)

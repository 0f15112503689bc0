"""The secrets of running jobs, kept for restarts in one file of mode 0600."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

from teamwright.home import write_atomically

Secrets = Mapping[str, Mapping[str, str]]


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

    def remove(self, job: str) -> None:
        """Forget the job's secrets."""
        if self._jobs.pop(job, None) is not None:
            self._write()

    def _write(self) -> None:
        write_atomically(self._path, json.dumps(self._jobs), mode=0o600)

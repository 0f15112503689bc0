"""A running job in a program's hands: what its sync and its async side share."""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

from teamwright.backends.api import File
from teamwright.client.client import Client
from teamwright.client.running.reply import Reply
from teamwright.errors import EngineError, TeamwrightError, UnknownJob
from teamwright.home import Home

#: Replies that are remembered.
_REMEMBERED = 200


@dataclass(frozen=True, slots=True)
class Question:
    """One query on its way. `task` = it answers what that task has asked; `context` = the asker's trace, as headers."""

    text: str
    agent: str | None = None
    session: str | None = None
    user: str | None = None
    labels: Mapping[str, str] = field(default_factory=dict)
    files: Sequence[File] = ()
    task: str | None = None
    context: Mapping[str, str] = field(default_factory=dict)


class Held:
    """One job of one engine. Not `ours` = it ran already, and runs on when it is let go."""

    def __init__(self, client: Client, home: Home, job: str, *, ours: bool) -> None:
        self.client = client
        self.home = home
        self.job = job
        self.ours = ours
        #: Every reply so far, failed ones too, the newest last.
        self.replies: deque[Reply] = deque(maxlen=_REMEMBERED)
        self._open = True

    def view(self) -> dict[str, Any]:
        """The job as `deploy ps JOB --json` shows it. Raises UnknownJob."""
        return self.client.job(self.job)

    def logs(self, agent: str | None, lines: int) -> str:
        """The last lines of one agent's log, or of all with their names in front."""
        from teamwright.host.logs import tail

        names = [each["id"] for each in self.view()["agents"]]
        if agent is not None and agent not in names:
            raise UnknownJob(f"job {self.job} has no agent {agent!r}", hint=f"it has {', '.join(names)}")
        if agent is not None:
            return "\n".join(tail(self.home.agent_log(self.job, agent), lines=lines))
        return "\n".join(f"{name} | {line}" for name in names for line in
                         tail(self.home.agent_log(self.job, name), lines=lines))  # fmt: skip

    def forget(self, session: str, user: str | None) -> None:
        """Delete a conversation at all agents. Raises UnknownJob, or EngineError while it is used."""
        from teamwright.agents.memory.conversations import find

        found = find(self.home, session, self.job, user)
        self.client.forget_session(self.job, found.session, subject=found.subject, user=found.user)

    def close(self) -> None:
        """Let go: a job that we have started stops, and an engine that came with it leaves, if it has no other jobs."""
        if not self._open:
            return
        self._open = False
        with self.client:
            if self.ours:
                with suppress(UnknownJob):
                    self.client.stop([self.job])
            leave(self.client)


def leave(client: Client) -> None:
    """Have an engine that this client has brought leave, unless it has jobs: then it leaves after them."""
    if client.brought_engine:
        with suppress(EngineError):  # it has jobs
            client.stop_engine()
            return
        with suppress(TeamwrightError):
            client.close(well=False)

"""What the conversations of a home are, read from the agents' session files; with or without an engine.

A person's conversation with an agent makes others below it, one for each agent that was asked in turn. Their names
follow from the first one's, so that all that belongs together is found, and can be forgotten together.
"""

from __future__ import annotations

import logging
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from teamwright.agents.memory.session_retention import job_of, session_files
from teamwright.agents.memory.sessions import SessionKey, peer_session
from teamwright.database import connect
from teamwright.errors import UnknownJob
from teamwright.home import Home

log = logging.getLogger(__name__)

_GROUPS = (
    "select kept.*, exchanges.question, exchanges.answer from ("
    " select session, user, subject, count(*) as turns, min(at_ns) as began_ns, max(at_ns) as last_ns, max(id) as last"
    " from exchanges where instr(subject, '/') = 0 group by session, user, subject"
    ") as kept join exchanges on exchanges.id = kept.last"
)
_EXCHANGES = "select at_ns, question, answer from exchanges where session = ? and user = ? and subject = ? order by id"


@dataclass(frozen=True, slots=True)
class Conversation:
    """A person's conversation with one agent or several of a job: `subject` is who asked, `user` on whose behalf.

    `turns` are questions with their answers; the times are Unix nanoseconds; `question` and `answer` the last words.
    """

    job: str
    session: str
    user: str
    subject: str
    agents: tuple[str, ...]
    turns: int
    began_ns: int
    last_ns: int
    question: str
    answer: str

    @property
    def key(self) -> SessionKey:
        """As the agents' files have it."""
        return SessionKey(self.subject, self.user, self.session)

    def to_dict(self) -> dict[str, Any]:
        """The JSON of `sessions list --json`."""
        found = {name: value for name, value in asdict(self).items() if not name.endswith("_ns")}
        began, last = (datetime.fromtimestamp(ns / 1e9, UTC).isoformat() for ns in (self.began_ns, self.last_ns))
        return {**found, "agents": list(self.agents), "began_at": began, "last_at": last}


def conversations(home: Home, job: str | None = None) -> list[Conversation]:
    """All that people have begun, in one job or in all; the newest first."""
    found: dict[tuple[str, SessionKey], Conversation] = {}
    for path in session_files(home):
        if job not in (None, job_of(path)):
            continue
        for row in _rows(path, _GROUPS):
            key = job_of(path), SessionKey(row["subject"], row["user"], row["session"])
            other = found.get(key)
            newer = other if other is not None and other.last_ns > row["last_ns"] else row_of(path, row)
            found[key] = newer if other is None else _joined(other, row_of(path, row), newer)
    return sorted(found.values(), key=lambda each: each.last_ns, reverse=True)


def find(home: Home, session: str, job: str | None = None, user: str | None = None) -> Conversation:
    """The one conversation of that name, or whose name begins so; of `job` and `user` where they are given.

    Raises UnknownJob when there is none, when it is of another job, or when it could be several.
    """
    named = [each for each in conversations(home) if each.session.startswith(session)] if session else []
    named = [each for each in named if each.session == session] or named
    here = [each for each in named if job in (None, each.job)]
    if named and not here:
        raise UnknownJob(f"the session {session} is of job {named[0].job}, not of {job}")
    fitting = [each for each in here if user in (None, each.user, each.subject)]
    if here and not fitting:
        raise UnknownJob(f"the session {session} is not of {user}")
    if not fitting:
        raise UnknownJob(f"there is no session {session!r}", hint="deploy sessions list")
    if len({(each.job, each.session) for each in fitting}) > 1:
        names = ", ".join(f"{each.session} of {each.job}" for each in fitting[:4])
        raise UnknownJob(f"{len(fitting)} sessions are called {session}: {names}", hint="more of its name, or --job")
    if len(fitting) > 1:
        users = ", ".join(each.user or each.subject for each in fitting[:4])
        raise UnknownJob(f"{len(fitting)} users have a session {session}: {users}", hint="say which with --user")
    return fitting[0]


def exchanges(home: Home, conversation: Conversation) -> list[dict[str, Any]]:
    """What was said in it, in its order: agent, at, question, answer."""
    said = [
        {"agent": path.stem, "at_ns": row["at_ns"], "question": row["question"], "answer": row["answer"]}
        for path in session_files(home)
        if job_of(path) == conversation.job and path.stem in conversation.agents
        for row in _rows(path, _EXCHANGES, conversation.session, conversation.user, conversation.subject)
    ]
    said.sort(key=lambda each: int(each["at_ns"]))
    return [
        {**each, "at": datetime.fromtimestamp(each.pop("at_ns") / 1e9, UTC).isoformat()} for each in map(dict, said)
    ]


def held(home: Home, conversation: Conversation) -> dict[str, list[SessionKey]]:
    """By agent, everything that belongs to it: what the person said, and what agents asked each other for it.

    An agent whose file has no word of it is in there too: what its backend keeps may be there all the same.
    """
    job = conversation.job
    files = {path.stem: path for path in session_files(home) if job_of(path) == job}
    found = {agent: [conversation.key] for agent in files}
    todo = [(agent, conversation.key) for agent in files]
    while todo:
        caller, key = todo.pop()
        if not any(_rows(files[caller], _EXCHANGES, key.session, key.user, key.subject)):
            continue
        for peer in files.keys() - {caller}:
            ids = f"{job}/{caller}", f"{job}/{peer}"
            below = SessionKey(ids[0], key.user, peer_session(*ids, key.user, key.session))
            if below not in found[peer]:
                found[peer].append(below)
                todo.append((peer, below))
    return found


def row_of(path: Path, row: sqlite3.Row) -> Conversation:
    """One agent's part."""
    return Conversation(
        job=job_of(path),
        session=row["session"],
        user=row["user"],
        subject=row["subject"],
        agents=(path.stem,),
        turns=row["turns"],
        began_ns=row["began_ns"],
        last_ns=row["last_ns"],
        question=row["question"],
        answer=row["answer"],
    )


def _joined(one: Conversation, other: Conversation, newer: Conversation) -> Conversation:
    return Conversation(
        job=one.job,
        session=one.session,
        user=one.user,
        subject=one.subject,
        agents=(*one.agents, *other.agents),
        turns=one.turns + other.turns,
        began_ns=min(one.began_ns, other.began_ns),
        last_ns=newer.last_ns,
        question=newer.question,
        answer=newer.answer,
    )


def _rows(path: Path, statement: str, *values: str) -> Iterator[sqlite3.Row]:
    try:
        with closing(connect(path, read_only=True)) as db:
            yield from db.execute(statement, values).fetchall()
    except sqlite3.Error as error:
        log.warning("the sessions in %s can't be read: %s", path, error)

"""One chat: a job, a conversation, the last answer; and what each line that is typed does."""

from __future__ import annotations

import time
from collections.abc import Mapping
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING, Any
from uuid import uuid4

from teamwright.cli.app import Call
from teamwright.cli.asking import agents_in, summary
from teamwright.cli.chat.screen import Screen
from teamwright.cli.signals import undisturbed
from teamwright.client.files import attachments, save
from teamwright.engine.door.frames import Reading
from teamwright.errors import JobNotRunning, TeamwrightError, UnknownJob, UserError
from teamwright.jobs.names import suggestion

if TYPE_CHECKING:
    from teamwright.backends.api import File
    from teamwright.client.client import Client
    from teamwright.client.results import QueryResult

#: What /help prints; the words are what completion offers.
COMMANDS = {
    "help": "this list",
    "agents": "the job's agents and how they are",
    "agent": "NAME: talk with this agent; without NAME with the job's entry point",
    "session": "[ID|new]: which conversation this is; go on with another; begin a new one",
    "sessions": "conversations with this job",
    "trace": "[full]: what happened for the last answer",
    "cost": "what this chat has used so far",
    "retry": "ask the last question again",
    "file": "PATH: send a file along with the next message",
    "save": "FILE: write the last answer into a file; into a folder: the files that came with it",
    "quit": "leave; the session is kept (Ctrl-D does the same)",
}
_UP = ("running", "degraded")


class Talk:
    """What is said and to whom. `line()` takes what was typed; errors of a line are TeamwrightErrors."""

    def __init__(
        self,
        call: Call,
        client: Client,
        screen: Screen,
        job: str,
        *,
        agent: str | None = None,
        session: str | None = None,
        user: str | None = None,
    ) -> None:
        self._call = call
        self._client = client
        self._screen = screen
        self.job = job
        self.agent = agent
        self.session = session or str(uuid4())
        self._user = user
        self._files: list[File] = []
        self._asked: tuple[str, list[File]] | None = None
        self._last: QueryResult | None = None
        self._results: list[QueryResult] = []
        #: The task that waits for an answer of the person.
        self.waiting: str | None = None
        self.over = False

    @property
    def label(self) -> str:
        """What stands before the line that is typed."""
        who = f"{self.job}/{self.agent}" if self.agent else self.job
        return f"{who}{' asks' if self.waiting else ''}> "

    def line(self, text: str) -> None:
        """A command, or a message (`//` begins one with a slash). Raises TeamwrightError."""
        if text.startswith("/") and not text.startswith("//"):
            word, _, rest = text[1:].strip().partition(" ")
            if word not in COMMANDS:
                raise UserError(f"no such command /{word}", hint=suggestion(word, COMMANDS, kind="commands"))
            getattr(self, f"_{word}")(rest.strip())
        elif text.strip():
            files, self._files = self._files, []
            self._ask(text[1:] if text.startswith("//") else text, files)

    def drop_question(self) -> None:
        """Cancel the task that waits for the person's answer."""
        task, self.waiting = self.waiting, None
        if task is not None:
            self._cancel(task)

    # --- asking -----------------------------------------------------------------------------------

    def _ask(self, text: str, files: list[File]) -> None:
        from teamwright.tracing.reading.activity import doing

        began, reading = time.time_ns(), Reading()

        def take(reply: Mapping[str, Any]) -> str:
            reading.take(reply)
            return reading.artifact

        task, self.waiting = self.waiting, None
        if task is None:
            self._asked = text, files
        replies = self._client.stream_query(
            self.job, text, agent=self.agent, session=self.session, user=self._user, files=files, task=task
        )
        try:
            with closing(replies):
                result = self._screen.follow(
                    replies, take, lambda: doing(self._call.home.spans_db, self.job, self.session, began)
                )
        except KeyboardInterrupt:
            self._interrupted(reading.task_id, began)
            return
        except TeamwrightError as error:
            raise self._why(error) from None
        self._results.append(result)
        if result.status != "ok":
            raise self._why(TeamwrightError(f"{result.agent or self.job}: {result.answer or result.state}"))
        self._last = result
        if result.state in ("input_required", "auth_required"):
            self.waiting = result.task_id
        if result.files:
            self._screen.note(f"files: {', '.join(file.name for file in result.files)} (/save FOLDER saves them)")
        self._screen.note(summary(result, agents_in(self._call, result.trace_id)))

    def _interrupted(self, task_id: str | None, began: int) -> None:
        """Ctrl-C while an answer comes: it ends, and the work on it too."""
        with undisturbed():
            if task_id is None:  # the agent has not said which task it is: the engine may know
                runs = self._client.runs(session=self.session, limit=5)
                task_id = next((run["task_id"] for run in runs if run["started_ns"] >= began), None)
            if task_id is not None:
                self._cancel(task_id)
        self._screen.note("cancelled" if task_id is not None else "no longer waited for")

    def _cancel(self, task_id: str) -> None:
        reply = self._client.cancel(self.job, task_id, agent=self.agent)
        if "error" in reply and "terminal" not in str(reply["error"]):
            self._screen.note(f"it could not be cancelled: {reply['error'].get('message')}")

    def _why(self, error: TeamwrightError) -> TeamwrightError:
        """The error, or that the job has died meanwhile, which says more."""
        try:
            status = self._client.job(self.job)["status"]
        except TeamwrightError:
            return error
        if status in _UP:
            return error
        return JobNotRunning(f"{error.message}: job {self.job} is {status}", hint=f"deploy ps {self.job}")

    # --- commands ---------------------------------------------------------------------------------

    def _help(self, _: str) -> None:
        width = max(map(len, COMMANDS))
        self._screen.note("\n".join(f"/{name:<{width}}  {does}" for name, does in COMMANDS.items()))
        self._screen.note("Alt-Enter begins a new line; // begins a message with a slash; Ctrl-C cancels an answer")

    def _agents(self, _: str) -> None:
        from teamwright.cli.output import job_table

        self._screen.show(job_table(self._client.job(self.job)))

    def _agent(self, name: str) -> None:
        names = self.agents()
        if name and name not in names:
            raise UnknownJob(f"job {self.job} has no agent {name!r}", hint=suggestion(name, names))
        self.drop_question()
        self.agent = name or None
        self._screen.note(f"talking with {name or 'the entry point'}")

    def _session(self, name: str) -> None:
        from teamwright.agents.memory.conversations import find

        if name:
            session = str(uuid4()) if name == "new" else find(self._call.home, name, self.job, self._user).session
            self.drop_question()
            self.session = session
        self._screen.note(f"session {self.session}")

    def _sessions(self, _: str) -> None:
        from teamwright.agents.memory.conversations import conversations
        from teamwright.cli.conversations import sessions_table

        found = conversations(self._call.home, self.job)
        if found:
            self._screen.show(sessions_table(found))
        else:
            self._screen.note("there are no sessions")

    def _trace(self, how: str) -> None:
        from teamwright.tracing.reading.reader import SpanReader
        from teamwright.tracing.reading.view import trace_show
        from teamwright.tracing.showing.tree import render_trace

        if how not in ("", "full"):
            raise UserError(f"/trace {how}: only `full` may follow")
        newest = self._results[-1] if self._results else None
        if newest is None or not newest.trace_id or not newest.traced:
            raise UserError("there is no trace yet")
        with SpanReader(self._call.home.spans_db, self._call.home.spool_dir) as reader:
            self._screen.show(render_trace(trace_show(reader.show(newest.trace_id)), full=how == "full", width=100))

    def _cost(self, _: str) -> None:
        from teamwright.cli.output import dollars

        def total(key: str) -> Any:
            values = [result.usage.get(key) for result in self._results]
            return None if None in values else sum(value for value in values if value is not None)

        tokens = ["?" if (count := total(key)) is None else str(count) for key in ("input_tokens", "output_tokens")]
        count = f"{len(self._results)} answer{'' if len(self._results) == 1 else 's'}"
        self._screen.note(f"{count}: {tokens[0]} tokens in, {tokens[1]} out, {dollars(total('cost_usd'))}")

    def _retry(self, _: str) -> None:
        if self._asked is None:
            raise UserError("nothing was asked yet")
        self.drop_question()
        self._ask(*self._asked)

    def _file(self, path: str) -> None:
        if not path:
            raise UserError("/file needs a PATH")
        found = attachments([self._call.cwd / Path(path).expanduser()])
        self._files += found
        self._screen.note(f"goes along with the next message: {', '.join(file.name for file in self._files)}")

    def _save(self, path: str) -> None:
        if not path:
            raise UserError("/save needs a FILE")
        if self._last is None:
            raise UserError("there is no answer yet")
        target = self._call.cwd / Path(path).expanduser()
        if target.is_dir():
            for saved in save(self._last.files, target):
                self._screen.note(f"saved {saved}")
            if not self._last.files:
                self._screen.note("no files came with the last answer")
            return
        try:
            with target.open("x") as file:
                file.write(self._last.answer + "\n")
        except OSError as error:
            raise UserError(f"{path}: {(error.strerror or str(error)).lower()}") from None
        self._screen.note(f"saved {path}")

    def _quit(self, _: str) -> None:
        self.over = True

    # --- completion -------------------------------------------------------------------------------

    def agents(self) -> list[str]:
        """The job's agents."""
        return [str(agent["id"]) for agent in self._client.job(self.job)["agents"]]

    def sessions(self) -> list[str]:
        """What may stand behind /session."""
        from teamwright.agents.memory.conversations import conversations

        return ["new", *(each.session for each in conversations(self._call.home, self.job))]

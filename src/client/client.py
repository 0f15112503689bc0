"""The engine's API, typed: what the CLI, notebooks and tests use."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable, Generator, Iterable, Mapping, Sequence
from contextlib import contextmanager, suppress
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self, Unpack
from urllib.parse import quote
from uuid import uuid4

import httpx

from teamwright.backends.api import File
from teamwright.client import asking
from teamwright.client.failures import check, unreachable
from teamwright.client.picking_up import PickUp
from teamwright.client.results import QueryResult
from teamwright.errors import EngineUnavailable, TeamwrightError
from teamwright.jobs.plan import Plan
from teamwright.settings import ACTOR_HEADER

if TYPE_CHECKING:
    from teamwright.engine.liveness import Incarnation
    from teamwright.tracing.forwarding.endpoints import Endpoint

#: Seconds: to connect (an engine that is just starting takes requests already), and for a short answer.
CONNECT, _ANSWER = 10.0, 30.0
#: Entries of the registry that are asked for at a time.
_PAGE = 500
Secrets = Mapping[str, Mapping[str, str]]


class Client:
    """Talks to one engine; not for several threads at a time.

    >>> with launch.connect(home, start=True) as client:
    ...     for line in client.start(plan, secrets): ...
    ...     print(client.query("hello", "Who are you?").answer)

    `token` may be a function, asked once, when it is first needed. `closed` is told whether the block ended well;
    `stale`, if given, is raised by whatever would change something.
    """

    def __init__(
        self,
        url: str,
        token: str | Callable[[], str],
        *,
        closed: Callable[[bool], None] | None = None,
        gone: Callable[[], None] | None = None,
        stale: TeamwrightError | None = None,
    ) -> None:
        self.url = url.rstrip("/")
        self._token = token
        self._closed = closed
        self._gone = gone
        self._stale = stale
        self._http = httpx.Client(
            base_url=self.url,
            trust_env=False,
            verify=self.url.startswith("https:"),  # without TLS, loading certificates would only cost 20 ms
            timeout=httpx.Timeout(_ANSWER, connect=CONNECT),
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close(well=kind is None)

    @property
    def brought_engine(self) -> bool:
        """Whether the engine was started for this client, and leaves when the client goes without a good end."""
        return self._closed is not None

    def close(self, *, well: bool = True) -> None:
        """Hang up. Not `well` = the command was interrupted or failed: an engine it started may leave again."""
        self._http.close()
        if self._closed is not None:
            self._closed(well)
            self._closed = None

    # --- jobs -------------------------------------------------------------------------------------

    def start(
        self, plan: Plan, secrets: Secrets | None = None, *, owner: Incarnation | None = None
    ) -> Generator[dict[str, Any], None, None]:
        """Start a job: the lines as they happen, the last one done, unchanged or failed. Closed early = undone.

        With an `owner`, a process of this machine, the job is stopped when that ends.
        """
        belongs = {} if owner is None else {"owner": owner.to_text()}
        return self._lines("/jobs", {"plan": plan.to_dict(), "secrets": secrets or {}, **belongs})

    def restart(
        self, *, plan: Plan | None = None, secrets: Secrets | None = None, targets: Iterable[str] = ()
    ) -> Generator[dict[str, Any], None, None]:
        """Restart a job with a new plan, or targets as they were started; lines as for `start`."""
        if plan is not None:
            return self._lines("/restart", {"plan": plan.to_dict(), "secrets": secrets or {}})
        return self._lines("/restart", {"targets": list(targets)})

    def changes(self, plan: Plan, secrets: Secrets | None = None) -> dict[str, Any]:
        """What `apply` would change, as it prints it. Raises UnknownJob, or EngineError for a job that doesn't run."""
        return self._json("POST", "/changes", {"plan": plan.to_dict(), "secrets": secrets or {}})

    def apply(
        self, plan: Plan, secrets: Secrets | None = None, *, expect: str | None = None, drain: float = 60.0
    ) -> Generator[dict[str, Any], None, None]:
        """Make a running job what the plan says: lines as for `start`. Closed early = undone, as far as that goes.

        `expect` is the revision it has to have; replaced agents get `drain` seconds to end what they work on.
        """
        body = {"plan": plan.to_dict(), "secrets": secrets or {}, "expect": expect, "drain": drain}
        return self._lines("/apply", body)

    def stop(self, targets: Iterable[str]) -> list[dict[str, Any]]:
        """Stop JOB, JOB/AGENT, JOB/@GROUP or * (all jobs, and an on-demand engine with them)."""
        found = self._json("POST", "/stop", {"targets": list(targets)}, timeout=120.0)
        if found.get("leaving") and self._gone is not None:
            self.close()
            self._gone()
        jobs: list[dict[str, Any]] = found["jobs"]
        return jobs

    def jobs(self) -> list[dict[str, Any]]:
        """Every job as `ps` shows it."""
        jobs: list[dict[str, Any]] = self._json("GET", "/jobs")["jobs"]
        return jobs

    def job(self, name: str) -> dict[str, Any]:
        """One job. Raises UnknownJob."""
        return self._json("GET", f"/jobs/{name}")

    def plan(self, name: str) -> Plan:
        """The plan a job was started with. Raises UnknownJob."""
        return Plan.from_dict(self._json("GET", f"/jobs/{name}/plan"))

    # --- the engine ---------------------------------------------------------------------------------

    def status(self) -> dict[str, Any]:
        """The JSON of `engine status`."""
        return self._json("GET", "/engine")

    def stay(self) -> dict[str, Any]:
        """Have the engine stay without jobs; its status."""
        return self._json("POST", "/engine/stay")

    def forward(self, endpoints: Iterable[Endpoint]) -> list[dict[str, Any]]:
        """Have spans sent to these receivers too, as long as the engine's guard lives; all it sends to."""
        self._writing()
        body = {"endpoints": [endpoint.to_dict() for endpoint in endpoints]}
        found: list[dict[str, Any]] = self._json("POST", "/engine/forward", body)["forwarding"]
        return found

    def stop_engine(self, *, force: bool = False) -> None:
        """End the engine, its jobs too with `force`; returns when it is gone. Raises EngineError while jobs run."""
        self._json("POST", "/engine/stop", {"force": force}, timeout=120.0)
        self.close()
        if self._gone is not None:
            self._gone()

    def restart_engine(self, *, deadline: float = 20.0) -> None:
        """Replace the engine by one of the present code; jobs run on. Returns when the new one answers."""
        from teamwright import __version__
        from teamwright.engine.fingerprint import fingerprint

        before = self.status()["processes"]["engine"]
        self._json("POST", "/engine/restart", {"version": __version__, "fingerprint": fingerprint()})
        until = time.monotonic() + deadline
        while time.monotonic() < until:
            with suppress(TeamwrightError):  # the old one has left, the new one is not there yet
                if self.status()["processes"]["engine"] != before:
                    self._stale = None
                    return
            time.sleep(0.05)
        raise EngineUnavailable(f"the engine was not replaced within {deadline:g} s", status=503)

    def create_token(self, **asked: Unpack[asking.TokenAsked]) -> dict[str, Any]:
        """A token for a person (`job`'s front door only, or an operator's), or for the `registration` of an agent."""
        self._writing()
        return self._json("POST", "/tokens", asked)

    def revoke_tokens(self, tokens: Sequence[str]) -> list[dict[str, Any]]:
        """End tokens at once, by their ids, the beginnings of these, or themselves; what they were."""
        self._writing()
        return list(self._json("POST", "/tokens/revoke", {"tokens": list(tokens)})["revoked"])

    def add_agent(self, url: str, *, name: str | None = None, group: str | None = None) -> dict[str, Any]:
        """Have the agent at an address listed in the registry, as `outside.NAME`; its entry."""
        self._writing()
        return self._json("POST", "/agents/register", {"url": url, "id": name, "group": group})

    def remove_agent(self, entry_id: str) -> bool:
        """Take an agent off the registry's list; whether it was there."""
        self._writing()
        return bool(self._json("DELETE", f"/agents/{quote(entry_id, safe='')}")["removed"])

    # --- queries ------------------------------------------------------------------------------------

    def query(
        self,
        job: str,
        text: str,
        *,
        agent: str | None = None,
        session: str | None = None,
        user: str | None = None,
        labels: Mapping[str, str] | None = None,
        files: Sequence[File] = (),
        task: str | None = None,
        timeout: float | None = None,
    ) -> QueryResult:
        """Ask a job (or one of its agents) and wait for the whole answer, however long it takes without `timeout`.

        `task` = this is the answer to what that task has asked (its state is input_required).
        """
        session = session or self.conversation(job, task, agent)
        began, since = time.perf_counter(), time.time_ns()
        answer = asking.Answer(job, agent, session)
        body = asking.call(text, session, user=user, labels=labels, files=files, task=task)
        limits = httpx.Timeout(timeout, connect=CONNECT)
        headers = {**asking.HEADERS, **self.headers()}
        with PickUp(self, job, agent, session, since).instead(answer):
            with self._errors():
                response = self._http.post(asking.door_path(job, agent), content=body, headers=headers, timeout=limits)
            check(response)
            answer.read(response.json())
        return answer.result((time.perf_counter() - began) * 1000)

    def stream_query(
        self,
        job: str,
        text: str,
        *,
        agent: str | None = None,
        session: str | None = None,
        user: str | None = None,
        labels: Mapping[str, str] | None = None,
        files: Sequence[File] = (),
        task: str | None = None,
    ) -> Generator[dict[str, Any], None, QueryResult]:
        """Ask and get each A2A reply as it comes; the generator returns the QueryResult."""
        session = session or self.conversation(job, task, agent)
        began, since = time.perf_counter(), time.time_ns()
        answer = asking.Answer(job, agent, session)
        body = asking.call(text, session, user=user, labels=labels, files=files, task=task, stream=True)
        headers = {**asking.HEADERS, **self.headers(), "accept": "text/event-stream"}
        with (
            PickUp(self, job, agent, session, since).instead(answer),
            self._errors(),
            self._http.stream(
                "POST",
                asking.door_path(job, agent),
                content=body,
                headers=headers,
                timeout=httpx.Timeout(None, connect=CONNECT),
            ) as response,
        ):
            if not response.headers.get("content-type", "").startswith("text/event-stream"):
                response.read()
                check(response)
                replies: Iterable[dict[str, Any]] = [response.json()]
            else:
                replies = asking.events(response.iter_lines())
            for reply in replies:
                answer.read(reply)
                yield reply
        return answer.result((time.perf_counter() - began) * 1000)

    # --- traces -------------------------------------------------------------------------------------

    def traces(self, *, limit: int = 20, labels: Mapping[str, str] | None = None, **only: str) -> list[dict[str, Any]]:
        """The newest traces, as `trace list` prints them; `only`: job, agent, session, user, status, text."""
        traces: list[dict[str, Any]] = self._json("GET", f"/traces?{_wanted(limit, labels, only)}")["traces"]
        return traces

    def trace(self, trace_id: str) -> dict[str, Any]:
        """One trace, whole, as `trace show` prints it. Raises UnknownJob."""
        return self._json("GET", f"/traces/{trace_id}")

    def runs(self, *, limit: int = 20, labels: Mapping[str, str] | None = None, **only: str) -> list[dict[str, Any]]:
        """Running and ended queries, the newest first; `only` as for `traces`."""
        runs: list[dict[str, Any]] = self._json("GET", f"/runs?{_wanted(limit, labels, only)}")["runs"]
        return runs

    def task(self, job: str, task_id: str, *, agent: str | None = None) -> dict[str, Any]:
        """The JSON-RPC reply to GetTask."""
        call = {"jsonrpc": "2.0", "id": 1, "method": "GetTask", "params": {"id": task_id}}
        return self._json("POST", f"{asking.door_path(job, agent)}?A2A-Version=1.0", call)

    def forget_session(self, job: str, session: str, *, subject: str, user: str) -> dict[str, Any]:
        """Delete a conversation at all agents of the job: `{agents, exchanges}`. Raises EngineError while used."""
        self._writing()
        body = {"session": session, "subject": subject, "user": user}
        return self._json("POST", f"/jobs/{job}/sessions/forget", body)

    def cancel(self, job: str, task_id: str, *, agent: str | None = None) -> dict[str, Any]:
        """The JSON-RPC reply to CancelTask."""
        call = {"jsonrpc": "2.0", "id": 1, "method": "CancelTask", "params": {"id": task_id}}
        return self._json("POST", f"{asking.door_path(job, agent)}?A2A-Version=1.0", call)

    def agents(self, *, limit: int | None = None, **only: str | None) -> list[dict[str, Any]]:
        """The registry's entries; `only`: job, group, skill, tag, name, health, q (free text, ranked). All of them
        without `limit`. Raises UserError.
        """
        found: list[dict[str, Any]] = []
        cursor: str | None = None
        while True:
            size = _PAGE if limit is None else min(_PAGE, limit - len(found))
            given = {key: text for key, text in {**only, "cursor": cursor}.items() if text}
            page = self._json("GET", f"/agents/search?{httpx.QueryParams({**given, 'limit': str(size)})}")
            found += page["agents"]
            cursor = page["next"]
            if cursor is None or (limit is not None and len(found) >= limit):
                return found

    def card(self, job: str, agent: str) -> str:
        """An agent's card as the front door shows it: JSON. Raises UnknownJob, EngineError."""
        found = self._json("GET", f"{asking.door_path(job, agent)}/.well-known/agent-card.json")
        return json.dumps(found, indent=2, ensure_ascii=False) + "\n"

    def conversation(self, job: str, task: str | None, agent: str | None) -> str:
        """The one that a task belongs to, else a new one."""
        found = self.task(job, task, agent=agent).get("result") if task is not None else None
        return str((found or {}).get("contextId") or uuid4())

    # --- underneath -----------------------------------------------------------------------------------

    def _json(
        self, method: str, path: str, body: Mapping[str, Any] | None = None, *, timeout: float = _ANSWER
    ) -> dict[str, Any]:
        with self._errors():
            response = self._http.request(
                method, path, json=body, headers=self.headers(), timeout=httpx.Timeout(timeout, connect=CONNECT)
            )
        check(response)
        found: dict[str, Any] = response.json()
        return found

    def _lines(self, path: str, body: Mapping[str, Any]) -> Generator[dict[str, Any], None, None]:
        self._writing()
        limits = httpx.Timeout(None, connect=CONNECT)
        with (
            self._errors(),
            self._http.stream("POST", path, json=body, headers=self.headers(), timeout=limits) as response,
        ):
            if not response.is_success:
                response.read()
                check(response)
            for line in response.iter_lines():
                if line:
                    yield json.loads(line)

    def headers(self) -> dict[str, str]:
        """What every request carries. Raises TeamwrightError when the token can't be read."""
        if not isinstance(self._token, str):
            self._token = self._token()
        return {"authorization": f"Bearer {self._token}", ACTOR_HEADER: _user()}

    def _writing(self) -> None:
        if self._stale is not None:
            raise self._stale

    @contextmanager
    def _errors(self) -> Generator[None, None, None]:
        try:
            yield
        except httpx.HTTPError as error:
            raise unreachable(error, self.url) from error


def _wanted(limit: int, labels: Mapping[str, str] | None, only: Mapping[str, str]) -> httpx.QueryParams:
    pairs: list[tuple[str, str | int | float | bool | None]] = [
        ("limit", str(limit)),
        *only.items(),
        *(("label", f"{k}={v}") for k, v in (labels or {}).items()),
    ]
    return httpx.QueryParams(pairs)


def _user() -> str:
    """Who runs this process."""
    import pwd

    try:
        return pwd.getpwuid(os.getuid()).pw_name
    except KeyError:
        return str(os.getuid())

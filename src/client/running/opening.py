"""`teamwright.start` and `teamwright.connect`: from a job file, or a job's name, to a job that can be asked."""

from __future__ import annotations

import asyncio
import json
import os
import threading
from collections.abc import Callable, Mapping
from contextlib import closing, suppress
from pathlib import Path
from types import TracebackType
from typing import Any

from teamwright import home as homes
from teamwright.client import launch
from teamwright.client.running.async_job import AsyncJob
from teamwright.client.running.held import Held, leave
from teamwright.client.running.job import Job
from teamwright.engine.liveness import Incarnation
from teamwright.errors import EngineUnavailable, JobNotRunning, StartFailed, TeamwrightError
from teamwright.home import Home


class _Abandoned:
    """Told by another thread that nobody waits for the job any more: a start that is under way is ended."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._end: Callable[[], object] | None = None
        self._told = False

    def set(self) -> None:
        with self._lock:
            self._told, end = True, self._end
        if end is not None:
            with suppress(TeamwrightError):
                end()

    def during(self, end: Callable[[], object]) -> None:
        """From now on this is what ends it."""
        with self._lock:
            self._end, told = end, self._told
        if told:
            raise StartFailed("the start was abandoned")


class Opening:
    """A job about to be opened: `with` gives a Job, `async with` an AsyncJob, `open()` a Job to `close()` by hand."""

    def __init__(self, bring: Callable[[_Abandoned], Held]) -> None:
        self._bring = bring
        self._job: Job | None = None
        self._async: AsyncJob | None = None

    def open(self) -> Job:
        """For notebooks, where a job lives over several cells: close it with `job.close()`; it ends with the process.

        Raises as `start` and `connect` do.
        """
        return Job(self._bring(_Abandoned()))

    def __enter__(self) -> Job:
        self._job = self.open()
        return self._job

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._job is not None:
            self._job.close()

    async def __aenter__(self) -> AsyncJob:
        abandoned = _Abandoned()
        work = asyncio.ensure_future(asyncio.to_thread(self._bring, abandoned))
        try:
            held = await asyncio.shield(work)
        except asyncio.CancelledError:
            await asyncio.to_thread(abandoned.set)
            await asyncio.wait([work])
            if not work.cancelled() and work.exception() is None:
                await asyncio.to_thread(work.result().close)
            raise
        self._async = AsyncJob(held)
        return self._async

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._async is not None:
            await self._async.aclose()


def start(
    file: str | Path,
    *,
    set: Mapping[str, Any] | None = None,
    name: str | None = None,
    home: str | Path | None = None,
    environ: Mapping[str, str] | None = None,
    port: int | None = None,
    replay: str | Path | None = None,
) -> Opening:
    """Start the job of a file, as `deploy start` does, for as long as the block lasts.

    >>> async with teamwright.start("team.yaml", set={"agents.writer.model": "gpt-5"}) as job:
    ...     reply = await job.query("What is new?", labels={"branch": "main"})

    >>> with teamwright.start("team.yaml") as job:
    ...     reply = job.query("What is new?")

    `set` changes keys of the file, as --set does; `name` is the job's instead of the file's; `home` is the state
    folder (as the commands find it, when not given); `environ` is used instead of this process's environment; `port`
    is for an engine that is started. `replay` is the folder of a recording that the models' words come from, as with
    --replay: no network and no key is needed. A job that runs already, unchanged, is used as it is and runs on
    afterwards.

    Nothing stays behind: the job ends with the block, with an exception, with Ctrl-C, and when this process is killed;
    an engine that was started for it leaves too, unless it has other jobs by then.

    Raises JobFileError, MissingExtra, MissingKey, UserError (a `replay` that can't be used), StartFailed (with the
    failed agent's last lines), HomeError, EngineError.
    """
    there = dict(os.environ if environ is None else environ)
    sets = [f"{key}={json.dumps(value, ensure_ascii=False)}" for key, value in (set or {}).items()]
    cwd = Path.cwd()
    return Opening(
        lambda abandoned: _start(Path(file), sets, name, _home(home, there, cwd), there, port, replay, abandoned)
    )


def connect(job: str, *, home: str | Path | None = None, environ: Mapping[str, str] | None = None) -> Opening:
    """Use a job that runs already, and let it run on afterwards.

    >>> with teamwright.connect("team") as job:
    ...     print(job.query("What is new?").answer)

    Raises UnknownJob, JobNotRunning, EngineUnavailable.
    """
    there = dict(os.environ if environ is None else environ)
    place = _home(home, there, Path.cwd())
    return Opening(lambda abandoned: _connect(job, place, there))


def _home(given: str | Path | None, environ: Mapping[str, str], cwd: Path) -> Home:
    return homes.find(None if given is None else str(given), environ, cwd)


def _start(
    file: Path,
    sets: list[str],
    name: str | None,
    home: Home,
    environ: Mapping[str, str],
    port: int | None,
    replay: str | Path | None,
    abandoned: _Abandoned,
) -> Held:
    from teamwright.jobs import planner, replaying
    from teamwright.jobs.examples import located

    cwd = Path.cwd()
    place = replaying.located(replay, cwd) if replay is not None else None
    there = {**environ, "PWD": str(cwd)}
    loaded = planner.load(located(file), environ=there, name=name, sets=sets, cwd=cwd, replay=place)
    loaded.check_keys()
    loaded.check_keys()
    job = loaded.plan.job
    before = launch.lifelines()
    try:
        client = launch.connect(home, port=port, start=True, host=True, environ=environ)
    except BaseException:
        launch.hang_up(but=before)
        raise
    try:
        abandoned.during(lambda: _undo(home, environ, job))
        lines = client.start(loaded.plan, loaded.secrets, owner=Incarnation.of(os.getpid()))
        with closing(lines):
            for line in lines:
                if line["event"] in ("done", "unchanged"):
                    return Held(client, home, job, ours=line["event"] == "done")
                if line["event"] == "failed":
                    raise _failure(line["error"])
        raise StartFailed(f"the engine ended before {job} was ready", hint=f"see {home.engine_log}")
    except BaseException:
        leave(client)
        client.close()
        raise


def _undo(home: Home, environ: Mapping[str, str], job: str) -> None:
    with launch.connect(home, start=False, environ=environ) as client:
        client.stop([job])


def _connect(job: str, home: Home, environ: Mapping[str, str]) -> Held:
    try:
        client = launch.connect(home, start=False, environ=environ)
    except EngineUnavailable as error:
        raise EngineUnavailable(error.message, status=503, hint=f"deploy start, or teamwright.start, brings {job} up") \
            from None  # fmt: skip
    try:
        view = client.job(job)
        if view["status"] not in ("running", "degraded"):
            raise JobNotRunning(f"job {job} is {view['status']}, not running", hint=f"deploy start {view['file']}")
        return Held(client, home, job, ours=False)
    except BaseException:
        client.close()
        raise


def _failure(error: Mapping[str, Any]) -> TeamwrightError:
    return StartFailed(
        error["message"], agent=error.get("agent"), tail=tuple(error.get("tail") or ()), hint=error.get("hint")
    )

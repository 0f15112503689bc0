"""Fixtures for pytest: a job for a test, with its traces in the report when the test fails.

pytest loads this module at its start in every project where Teamwright is installed: it imports nothing else before a
fixture is used.

>>> def test_weather(deploy_job):
...     job = deploy_job("team.yaml", set={"defaults.backend": "offline"})
...     assert "Tokyo" in job.query("What is the weather in Tokyo?").answer

`module_deploy_job` is the same for all tests of a module. A run's jobs share one home, in a temporary folder.
"""

from __future__ import annotations

from collections.abc import Generator, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import pytest

if TYPE_CHECKING:
    from teamwright.client.running.job import Job
    from teamwright.client.running.reply import Reply

#: Traces of one failed test that are shown in full; of the others the command that shows them.
_SHOWN = 3
_STATE = pytest.StashKey["_Jobs"]()


class DeployJob(Protocol):
    """What the fixtures `deploy_job` and `module_deploy_job` are."""

    def __call__(
        self,
        file: str | Path,
        *,
        set: Mapping[str, Any] | None = None,
        name: str | None = None,
        environ: Mapping[str, str] | None = None,
    ) -> Job:
        """Start the job of a file, relative to the test's own folder or the current one; it is stopped afterwards.

        The arguments are those of `teamwright.start`, and so are the errors.
        """


class _Jobs:
    """The jobs that run, and what they were asked by earlier tests."""

    def __init__(self) -> None:
        self.jobs: list[Job] = []
        self.seen: dict[int, Reply] = {}

    def asked(self) -> list[Reply]:
        """What was asked since the test began."""
        return [reply for job in self.jobs for reply in job.replies if id(reply) not in self.seen]

    def begin(self) -> None:
        """Another test begins."""
        self.seen = {id(reply): reply for job in self.jobs for reply in job.replies}


@pytest.fixture(scope="session")
def teamwright_home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The home of this run's jobs. Override it to have them elsewhere, as in ./logs for `deploy trace`."""
    return tmp_path_factory.mktemp("teamwright") / "logs"


@pytest.fixture(scope="session")
def _teamwright_engine(teamwright_home: Path) -> Iterator[None]:
    """Keeps one engine for the whole run, so that jobs start quickly; it is gone afterwards."""
    import os

    from teamwright import home
    from teamwright.client import launch
    from teamwright.client.running.held import leave

    place = home.find(str(teamwright_home), os.environ, Path.cwd())
    with launch.connect(place, start=True, port=0, host=True) as client:
        yield
        leave(client)


@pytest.fixture
def deploy_job(request: pytest.FixtureRequest, teamwright_home: Path, _teamwright_engine: None) -> Iterator[DeployJob]:
    """Starts jobs for one test."""
    yield from _deployer(request, teamwright_home)


@pytest.fixture(scope="module")
def module_deploy_job(
    request: pytest.FixtureRequest, teamwright_home: Path, _teamwright_engine: None
) -> Iterator[DeployJob]:
    """Starts jobs for all tests of a module."""
    yield from _deployer(request, teamwright_home)


def _deployer(request: pytest.FixtureRequest, home: Path) -> Iterator[DeployJob]:
    from contextlib import ExitStack

    import teamwright

    state = request.config.stash.setdefault(_STATE, _Jobs())
    mine: list[Job] = []
    with ExitStack() as stack:

        def deploy(
            file: str | Path,
            *,
            set: Mapping[str, Any] | None = None,
            name: str | None = None,
            environ: Mapping[str, str] | None = None,
        ) -> Job:
            beside = request.path.parent / file
            found = beside if beside.is_file() else file
            job = stack.enter_context(teamwright.start(found, set=set, name=name, home=home, environ=environ))
            mine.append(job)
            state.jobs.append(job)
            stack.callback(state.jobs.remove, job)
            return job

        yield deploy
        if died := [words for job in mine if (words := _death(job))]:
            pytest.fail("\n".join(died), pytrace=False)


def _death(job: Job) -> str:
    """What has become of a job that should still run."""
    from teamwright.errors import TeamwrightError, UnknownJob

    try:
        view = job.view()
    except UnknownJob:
        return ""
    except TeamwrightError as error:  # its engine is gone
        return f"job {job.name}: {error.message}"
    if view["status"] in ("failed", "lost"):
        return f"job {job.name} is {view['status']}\n{job.logs()}"
    return ""


def pytest_runtest_setup(item: pytest.Item) -> None:
    """What earlier tests asked of a module's job is not this test's."""
    if (state := item.config.stash.get(_STATE, None)) is not None:
        state.begin()


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo[None]
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Put what happened into the report of a test that failed, while its jobs still run."""
    report = yield
    state = item.config.stash.get(_STATE, None)
    if state is not None and report.failed and call.excinfo is not None:
        report.sections += [*_start_failure(call.excinfo.value), *_traces(state.asked())]
    return report


def _start_failure(error: BaseException) -> list[tuple[str, str]]:
    from teamwright.errors import StartFailed

    if not isinstance(error, StartFailed):
        return []
    words = [*error.tail, *([f"hint: {error.hint}"] if error.hint else [])]
    return [(f"log of {error.agent or 'the job'}", "\n".join(words))] if words else []


def _traces(replies: list[Reply]) -> list[tuple[str, str]]:
    failed = [reply for reply in replies if not reply.ok]
    chosen = (failed or replies)[-_SHOWN:]
    found = [(f"trace of {reply.question[:60]!r}", _shown(reply)) for reply in chosen]
    if others := [reply for reply in replies if reply not in chosen]:
        home = others[0].home
        lines = [f"deploy trace show {reply.trace_id[:8]} --home {home}  {reply.question[:60]!r}" for reply in others]
        found.append(("other traces", "\n".join(lines)))
    return found


def _shown(reply: Reply) -> str:
    from teamwright.errors import TeamwrightError

    try:
        return str(reply.trace)
    except TeamwrightError as error:
        return error.message

"""Applying a job's file again whenever it, or something that it names, is written to: for those who develop."""

from __future__ import annotations

import re
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

import click

from teamwright.cli.app import Call
from teamwright.cli.applying import RUNS, disturbed, follow_apply, nothing
from teamwright.errors import TeamwrightError, UnknownJob

if TYPE_CHECKING:
    from watchfiles import Change

    from teamwright.client.client import Client
    from teamwright.jobs.plan import Plan
    from teamwright.jobs.planner import Resolved

#: Milliseconds: what is written within is one change; and between two looks whether the job is still there.
_TOGETHER, _LOOK = 200, 500
#: Files that a job names in its own text, such as prompts.
_NAMED = re.compile(r"\bfile:\s*[\"']?([^\"'\s,}\]]+)")
_IGNORED = (".pyc", ".tmp", "~", ".swp")


class Reload:
    """Watches the files of a running job; `run()` until somebody stops it. What is wrong is told in one line each time.

    `read` reads the job's file, in the way in which it was read at the start.
    """

    def __init__(self, call: Call, client: Client, read: Callable[[], Resolved]) -> None:
        self._call = call
        self._client = client
        self._read = read

    def run(self, plan: Plan, tell: Callable[[str], None]) -> None:
        """Watch, apply, and tell what was done. Raises KeyboardInterrupt at Ctrl-C."""
        from watchfiles import watch

        while True:
            folders = watched(plan)
            for changes in watch(
                *folders,
                watch_filter=self._matters,
                debounce=_TOGETHER,
                rust_timeout=_LOOK,
                yield_on_timeout=True,
                recursive=False,
            ):
                if not self._there(plan.job):
                    tell(f"{plan.job} has been stopped")
                    return
                if not changes:
                    continue
                try:
                    plan = self._again(plan, tell)
                except TeamwrightError as error:
                    line = error.message.splitlines()[0]
                    tell(f"not applied: {line}" + (f" ({error.hint})" if error.hint else ""))
                if watched(plan) != folders:
                    break

    def _again(self, plan: Plan, tell: Callable[[str], None]) -> Plan:
        """Read the file again and apply it where it differs; the plan in effect."""
        loaded = self._read()
        found = self._client.changes(loaded.plan, loaded.secrets)
        if nothing(found):
            return loaded.plan
        stream = self._client.apply(loaded.plan, loaded.secrets, expect=found["revision"]["before"])
        follow_apply(self._call, self._client, plan.job, len(loaded.plan.levels), stream)
        if self._call.json:
            self._call.emit({"event": "applied", **found})
        else:
            tell(f"applied {loaded.plan.revision}: {disturbed(found)}")
        return loaded.plan

    def _there(self, job: str) -> bool:
        try:
            return self._client.job(job)["status"] in (*RUNS, "starting")
        except UnknownJob:
            return False
        except TeamwrightError:  # the engine is being restarted
            return True

    def _matters(self, change: Change, path: str) -> bool:
        where = Path(path)
        return not (where.is_relative_to(self._call.home.path) or where.name.startswith(".") or path.endswith(_IGNORED))


def watched(plan: Plan) -> tuple[str, ...]:
    """The folders of a job's file and of everything that it names: modules, what they import, scripts, prompts."""
    file, folder = Path(plan.file), Path(plan.folder)
    places = [Path(root) for root in (plan.folder, *plan.search_path)]
    files = {file}
    for name in plan.code:
        files.update([place / name for place in places if (place / name).is_file()][:1])
    with suppress(OSError):
        files.update(folder / name for name in _NAMED.findall(file.read_text()))
    return tuple(sorted({str(path.parent.resolve()) for path in files if path.parent.is_dir()}))


def tell(text: str) -> None:
    """To whoever develops."""
    click.echo(f"reload: {text}", err=True)

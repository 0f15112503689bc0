"""Importing any module starts no thread, opens no socket and reads no environment: the zygote depends on it."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

from teamwright.backends.catalog import CATALOG

_PROBE = """
import collections, importlib, json, os, pkgutil, sys
import teamwright
source = os.path.dirname(os.path.abspath(teamwright.__file__))
reads = []

class Watched(collections.UserDict):
    def __getitem__(self, key):
        self._note(key)
        return super().__getitem__(key)
    def get(self, key, default=None):
        self._note(key)
        return super().get(key, default)
    def __contains__(self, key):
        self._note(key)
        return super().__contains__(key)
    def __iter__(self):
        self._note("*")
        return super().__iter__()
    def copy(self):
        return dict(self.data)
    def _note(self, key):
        frame = sys._getframe(2)
        while frame and frame.f_code.co_filename.endswith(("/os.py", "_collections_abc.py", "collections/__init__.py")):
            frame = frame.f_back
        if frame and frame.f_code.co_filename.startswith(source):
            reads.append(f"{frame.f_code.co_filename}:{frame.f_lineno} {key}")

real = os.environ
os.environ = Watched(dict(real))
names = [m.name for m in pkgutil.walk_packages(teamwright.__path__, "teamwright.") if not m.name.endswith("__main__")]
failed, threads, sockets = {}, {}, {}
seen = 1
for name in names:
    try:
        importlib.import_module(name)
    except Exception as error:
        failed[name] = repr(error)
    count = len(os.listdir("/proc/self/task"))
    if count > seen:
        threads[name] = count
        seen = count
    for fd in os.listdir("/proc/self/fd"):
        try:
            target = os.readlink(f"/proc/self/fd/{fd}")
        except OSError:
            continue
        if target.startswith(("socket:", "anon_inode:[eventpoll]")):
            sockets.setdefault(target, name)
print(json.dumps({"names": names, "failed": failed, "threads": threads, "sockets": sockets, "reads": reads}))
"""


def test_imports_are_quiet(environment: dict[str, str], root: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-I", "-c", _PROBE],
        env=environment,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    modules = {path for path in (root / "src").rglob("*.py") if path.name not in ("__init__.py", "__main__.py")}
    assert len(found["names"]) >= len(modules)
    assert {name: error for name, error in found["failed"].items() if not _lacks_extra(name, error)} == {}
    assert found["threads"] == {}
    assert found["sockets"] == {}
    assert found["reads"] == []


def test_the_engine_does_without_the_a2a_sdk(environment: dict[str, str]) -> None:
    code = "import sys, teamwright.engine.app, teamwright.engine.main; print('a2a' in sys.modules)"
    done = subprocess.run(
        [sys.executable, "-I", "-c", code], env=environment, capture_output=True, text=True, timeout=120
    )
    assert (done.stdout.strip(), done.stderr) == ("False", "")


def _lacks_extra(module: str, error: str) -> bool:
    """A backend's own module, without the vendor's SDK that its extra brings."""
    info = CATALOG.get(module.removeprefix("teamwright.backends.").split(".")[0])
    return info is not None and info.probe is not None and f"No module named '{info.probe}" in error

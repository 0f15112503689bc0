"""The home: the state folder of one engine, and where everything in it lies.

home.json     its id; marks the folder as a home (counts only when this user owns it)
engine.json   url, pids, version of the running engine
lock          held by the guard for its whole life
engine.db, spans.db, epochs, secrets.json, operator.token, engine.key
spool/        spans not yet in the store, one file per process
jobs/<job>/agents/<agent>.log, jobs/<job>/sessions/<agent>.db, jobs/<job>/traces/<trace_id>.json
"""

from __future__ import annotations

import json
import os
import secrets
import stat
import tempfile
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from teamwright.errors import HomeError
from teamwright.settings import HOME, value

SOCKET_PATH_LIMIT = 107
_NETWORK_FILE_SYSTEMS = ("nfs", "nfs4", "cifs", "smb3", "smbfs", "9p", "afs", "ceph", "glusterfs", "fuse.sshfs")
_GITIGNORE = "# prompts, tokens and keys live here\n*\n"


@dataclass(frozen=True)
class Home:
    """One home. Build it with `find()`; `create()` makes the folder and its marker."""

    path: Path

    @cached_property
    def id(self) -> str:
        """Twelve hex digits, made with the home. Raises HomeError when the folder is not marked."""
        marker = _marker(self.path)
        if marker is None:
            raise HomeError(f"{self.path} is not a home", hint="run `deploy start FILE` to make one")
        return str(marker["id"])

    @property
    def exists(self) -> bool:
        """Whether the folder is there and marked as ours."""
        return _marker(self.path) is not None

    def create(self) -> Home:
        """Make the folder, its marker and its .gitignore, if they are not there.

        Raises HomeError for a folder that can't be written, on a network file system, or of another user.
        """
        try:
            self.path.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise HomeError(
                f"can't make the home {self.path}: {error.strerror}", hint=f"--home or {HOME.env}"
            ) from None
        kind = file_system(self.path)
        if kind in _NETWORK_FILE_SYSTEMS:
            raise HomeError(
                f"the home {self.path} is on a network file system ({kind}), where locks and databases are not safe",
                hint=f"choose a local folder with --home or {HOME.env}",
            )
        if self.exists:
            if not os.access(self.path, os.W_OK) or _read_only(self.path):
                raise HomeError(f"the home {self.path} is not writable", hint=f"--home or {HOME.env}")
            return self
        try:
            if not (self.path / ".gitignore").exists():
                (self.path / ".gitignore").write_text(_GITIGNORE)
            write_atomically(self.marker, json.dumps({"id": secrets.token_hex(6)}) + "\n", only_if_absent=True)
        except OSError as error:
            raise HomeError(
                f"the home {self.path} is not writable: {error.strerror}", hint=f"--home or {HOME.env}"
            ) from None
        return self

    @cached_property
    def run_dir(self) -> Path:
        """The folder (0700) of this home's sockets, short enough for them. Made when first asked for."""
        runtime = os.environ.get("XDG_RUNTIME_DIR")
        if runtime and os.access(runtime, os.W_OK):
            base = Path(runtime) / "teamwright"
        else:
            base = Path(tempfile.gettempdir()) / f"teamwright-{os.getuid()}"
        folder = base / self.id
        if len(os.fsencode(folder / "engine.sock")) > SOCKET_PATH_LIMIT:
            folder = Path("/tmp") / f"teamwright-{os.getuid()}" / self.id
        for part in (folder.parent, folder):
            part.mkdir(mode=0o700, exist_ok=True)
            info = part.lstat()
            if not stat.S_ISDIR(info.st_mode) or info.st_uid != os.getuid() or info.st_mode & 0o077:
                raise HomeError(
                    f"{part} is not a private folder of this user", hint="remove it, or set XDG_RUNTIME_DIR"
                )
        return folder

    @property
    def marker(self) -> Path:
        return self.path / "home.json"

    @property
    def lock(self) -> Path:
        return self.path / "lock"

    @property
    def engine_file(self) -> Path:
        return self.path / "engine.json"

    @property
    def guard_log(self) -> Path:
        return self.path / "guard.log"

    @property
    def engine_log(self) -> Path:
        return self.path / "engine.log"

    @property
    def host_log(self) -> Path:
        return self.path / "host.log"

    @property
    def engine_db(self) -> Path:
        return self.path / "engine.db"

    @property
    def spans_db(self) -> Path:
        return self.path / "spans.db"

    @property
    def secrets_file(self) -> Path:
        return self.path / "secrets.json"

    @property
    def operator_token(self) -> Path:
        return self.path / "operator.token"

    @property
    def signing_key(self) -> Path:
        return self.path / "engine.key"

    @property
    def epoch_file(self) -> Path:
        return self.path / "epochs"

    @property
    def providers_file(self) -> Path:
        """The names of the providers whose limits the jobs share: written by the engine, read by agents."""
        return self.path / "providers.json"

    @property
    def spool_dir(self) -> Path:
        return self.path / "spool"

    @property
    def host_socket(self) -> Path:
        """Where the guard listens for the host; the engine connects here."""
        return self.run_dir / "host.sock"

    def job_dir(self, job: str) -> Path:
        return self.path / "jobs" / job

    def agent_log(self, job: str, agent: str) -> Path:
        return self.job_dir(job) / "agents" / f"{agent}.log"

    def sessions_dir(self, job: str) -> Path:
        return self.job_dir(job) / "sessions"

    def trace_file(self, job: str, trace_id: str) -> Path:
        return self.job_dir(job) / "traces" / f"{trace_id}.json"


def find(flag: str | None, environ: Mapping[str, str], cwd: Path) -> Home:
    """The home to use: flag, TEAMWRIGHT_HOME, the nearest parent's marked logs/, else ./logs. Makes nothing."""
    chosen = value(HOME, flag, environ)
    if chosen:
        return Home((cwd / Path(chosen).expanduser()).resolve())
    return nearest((cwd, *cwd.parents)) or Home(cwd / "logs")


def nearest(folders: Iterable[Path]) -> Home | None:
    """The first of `folders` with a marked logs/ of this user in it."""
    return next((Home(folder / "logs") for folder in folders if _marker(folder / "logs")), None)


def file_system(path: Path) -> str:
    """The type of the file system that `path` lies on, as /proc/self/mountinfo names it."""
    best, kind = -1, "unknown"
    real = str(path.resolve())
    for line in Path("/proc/self/mountinfo").read_text().splitlines():
        left, _, right = line.partition(" - ")
        point = left.split()[4].encode().decode("unicode_escape")
        inside = real == point or real.startswith(point.rstrip("/") + "/")
        if inside and len(point) >= best:
            best, kind = len(point), right.split()[0]
    return kind


def write_atomically(path: Path, text: str, *, mode: int = 0o600, only_if_absent: bool = False) -> None:
    """Write a small file so that readers see the old or the new one, never a part; synced to disk.

    With `only_if_absent` the first writer wins and later ones leave the file alone.
    """
    draft = path.with_name(f".{path.name}.{secrets.token_hex(4)}")
    handle = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, mode)
    try:
        with os.fdopen(handle, "w") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        if not only_if_absent:
            draft.replace(path)
        elif not path.exists():
            try:
                os.link(draft, path)
            except FileExistsError:
                return
    finally:
        draft.unlink(missing_ok=True)


def _marker(path: Path) -> dict[str, object] | None:
    file = path / "home.json"
    try:
        if file.stat().st_uid != os.getuid():
            return None
        found = json.loads(file.read_text())
    except (OSError, ValueError):
        return None
    return found if isinstance(found, dict) and isinstance(found.get("id"), str) else None


def _read_only(path: Path) -> bool:
    return bool(os.statvfs(path).f_flag & os.ST_RDONLY)

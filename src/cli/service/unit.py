"""The systemd user unit of an engine."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from pathlib import Path

from teamwright.errors import UserError
from teamwright.home import Home
from teamwright.settings import HOME, PASSED_SETTINGS

_UNIT = """\
# Written by `deploy engine install`.
[Unit]
Description=Teamwright engine of {described}

[Service]
Type=notify
NotifyAccess=main
ExecStart={command}
WorkingDirectory={folder}
{environment}
Restart=on-failure
RestartSec=2
WatchdogSec=60
TimeoutStartSec=60
TimeoutStopSec=90
KillMode=mixed

[Install]
WantedBy=default.target
"""


def unit(home: Home, environ: Mapping[str, str], cwd: Path, *, port: int | None) -> str:
    """The text of the unit: this installation's command, for this home, with the settings of this shell but no keys."""
    program = Path(sys.executable).with_name("deploy")
    words = [str(program), "engine", "start", "--foreground", "--home", str(home.path)]
    words += ["--port", str(port)] if port is not None else []
    settings = {"PATH": environ.get("PATH", "/usr/local/bin:/usr/bin:/bin")}
    settings |= {each.env: environ[each.env] for each in PASSED_SETTINGS if each is not HOME and environ.get(each.env)}
    return _UNIT.format(
        described=_plain(str(home.path)),
        command=" ".join(_quoted(word, dollar=True) for word in words),
        folder=_plain(str(cwd)),
        environment="\n".join(f"Environment={_quoted(f'{name}={text}')}" for name, text in settings.items()),
    )


def unit_path(name: str, environ: Mapping[str, str]) -> Path:
    """Where a user's unit of that name goes. Raises UserError for a name that can't be one."""
    if not name or not all(letter.isascii() and (letter.isalnum() or letter in "-_.") for letter in name):
        raise UserError(f"{name!r} is no name of a unit: letters, digits, - _ .")
    base = environ.get("XDG_CONFIG_HOME") or str(Path(environ.get("HOME") or "~").expanduser() / ".config")
    return Path(base, "systemd", "user", f"{name}.service")


def missing(environ: Mapping[str, str]) -> str | None:
    """Why no user unit can be used here; None when it can."""
    import shutil

    if shutil.which("systemctl", path=environ.get("PATH")) is None:
        return "this machine has no systemd (no systemctl)"
    runtime = environ.get("XDG_RUNTIME_DIR")
    if not runtime or not Path(runtime, "systemd").is_dir():
        return "no systemd of this user is running (XDG_RUNTIME_DIR has no systemd/)"
    return None


def _plain(text: str) -> str:
    return text.replace("%", "%%")


def _quoted(text: str, *, dollar: bool = False) -> str:
    """As systemd.syntax(7) reads it."""
    if "\n" in text:
        raise UserError(f"{text!r} has a line break in it: systemd can't be told that")
    text = _plain(text).replace("\\", "\\\\").replace('"', '\\"')
    return f'"{text.replace("$", "$$") if dollar else text}"'

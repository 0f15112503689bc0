"""Run the commands of docs/what-a-trace-shows.md and write what they print below them.

uv run scripts/evidence.py                     write
uv run scripts/evidence.py --check             exit 1 where they print something else than the page says
uv run scripts/evidence.py --only mcp claude   these groups of blocks

A block is run where the extras that it names are installed; the others stay as they are. Ids, times, money and bars are
left out, so that two runs print the same. A command that ends with `&` runs until the end; ports are free ones.
"""

from __future__ import annotations

import argparse
import difflib
import importlib.util
import os
import re
import signal
import socket
import subprocess
import sys
import tempfile
from collections.abc import Iterable, Iterator
from itertools import groupby
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
PAGE = ROOT / "docs" / "what-a-trace-shows.md"
BLOCK = re.compile(
    r"<!-- not run: scripts/evidence\.py writes (?P<group>\w+)/(?P<name>[\w-]+)(?:; needs (?P<needs>[\w, ]+))? -->\n"
    r"```console\n(?P<text>.*?)```\n",
    re.S,
)
MODULES = {"claude": "claude_agent_sdk", "gemini": "google.genai", "crewai": "crewai", "mcp": "mcp"}
#: Commands whose output stands on the page.
_SHOWN = re.compile(r"\btrace show\b")
_ROW = re.compile(r"^(?P<left>.*?\S)\s+(?P<agent>\S+)\s+(?:[\d.]+ (?:ms|µs|s|min)|running|\?)\s*[█▏▎▍▌▋▊▉ ]*$")
_LEFT_OUT = (
    (re.compile(r"\b[0-9a-f]{32}\b|\b[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}\b"), "…"),
    (re.compile(r" · (?:[\d.]+ (?:ms|µs|s|min)|\$[\d.]+|\?)(?= ·|$)"), ""),
    (re.compile(r"(?<=127\.0\.0\.1:)\d+"), "…"),
    (re.compile(r"\b[\d,]+ -> [\d,]+ tokens"), "… -> … tokens"),
    (re.compile(r"again in [\d.]+ s"), "again in … s"),
    (re.compile(r"\b[\d,]+ tokens"), "… tokens"),
)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--check", action="store_true", help="write nothing")
    parser.add_argument("--only", nargs="*", help="groups of blocks")
    given = parser.parse_args()
    have = PAGE.read_text()
    made, ran = written(have, set(given.only or ()))
    print("ran:", " ".join(ran) or "nothing")
    if not given.check:
        PAGE.write_text(made)
    elif made != have:
        print(
            "\n".join(difflib.unified_diff(have.splitlines(), made.splitlines(), "the page", "this run", lineterm=""))
        )
        return 1
    return 0


def written(page: str, only: set[str]) -> tuple[str, list[str]]:
    """The page with what its commands print now, and the names of the blocks that were run."""
    ran: list[str] = []
    with Run(sorted(set(re.findall(r"--port (\d+)", page)))) as run:

        def block(match: re.Match[str]) -> str:
            needs = [one.strip() for one in (match["needs"] or "").split(",") if one.strip()]
            if not all(map(installed, needs)) or (only and match["group"] not in only):
                return match[0]
            ran.append(f"{match['group']}/{match['name']}")
            text = "".join(run.command(line) for line in match["text"].splitlines() if line.startswith("$ "))
            return match[0].replace(match["text"], text)

        return BLOCK.sub(block, page), ran


def installed(extra: str) -> bool:
    """Whether the packages of an extra are there."""
    try:
        return importlib.util.find_spec(MODULES[extra]) is not None
    except ModuleNotFoundError:
        return False


class Run:
    """A clean environment with a home of its own; everything that is started in it ends with it."""

    def __init__(self, ports: list[str]) -> None:
        self._folder = tempfile.TemporaryDirectory(prefix="teamwright-evidence-")
        self._background: list[subprocess.Popen[bytes]] = []
        self._ports = {port: str(free_port()) for port in ports}
        self._env = {
            "PATH": os.pathsep.join((str(Path(sys.executable).parent), "/usr/local/bin", "/usr/bin", "/bin")),
            "HOME": self._folder.name,
            "TMPDIR": os.environ.get("TMPDIR", "/tmp"),
            "TEAMWRIGHT_HOME": f"{self._folder.name}/logs",
            "TEAMWRIGHT_PORT": "0",
            "NO_PROXY": "127.0.0.1",
            "LANG": "C.UTF-8",
            "COLUMNS": "140",
        }

    def __enter__(self) -> Run:
        return self

    def __exit__(self, *error: object) -> None:
        subprocess.run(["deploy", "stop", "--all"], cwd=ROOT, env=self._env, capture_output=True, timeout=240)
        for process in self._background:
            process.send_signal(signal.SIGTERM)
            try:
                process.communicate(timeout=60)
            except subprocess.TimeoutExpired:
                process.kill()
                process.communicate()
        self._folder.cleanup()

    def command(self, line: str) -> str:
        """Run a line of the page; the line, and below it what belongs on the page of what it prints."""
        typed = re.sub(r"uv run (?:--extra \S+ )*", "", line.removeprefix("$ "))
        for port, free in self._ports.items():
            typed = typed.replace(port, free)
        if typed.startswith("export "):
            for word in typed.removeprefix("export ").split():
                name, _, value = word.partition("=")
                self._env[name] = value
        elif typed.endswith(" &"):
            self._begin(typed.removesuffix(" &"))
        else:
            done = subprocess.run(["bash", "-c", typed], cwd=ROOT, env=self._env, capture_output=True, timeout=240)
            if done.returncode and "deploy query" not in typed:
                raise SystemExit(f"{line}\n{done.stdout.decode()}{done.stderr.decode()}")
            if _SHOWN.search(typed):
                return f"{line}\n" + "".join(f"{shown}\n" for shown in in_order(kept(done.stdout.decode())))
        return f"{line}\n"

    def _begin(self, typed: str) -> None:
        with Path(self._folder.name, "background.log").open("ab") as log:
            process = subprocess.Popen(typed.split(), cwd=ROOT, env=self._env, stdout=subprocess.PIPE, stderr=log)
        self._background.append(process)
        assert process.stdout is not None
        if not process.stdout.readline():
            raise SystemExit(f"{typed}: it ended before it said where it listens")


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as found:
        return int(found.getsockname()[1])


def kept(output: str) -> Iterator[str]:
    """What stays of a trace: no times and bars, no lanes, no ids."""
    tree = False
    for line in output.splitlines():
        if line.startswith("SPAN "):
            tree = True
            continue
        if not tree and line.startswith(("time: ", "went wrong", "  ")):
            continue
        if tree and not line.strip():
            return  # the lanes of agents follow
        for pattern, instead in _LEFT_OUT:
            line = pattern.sub(instead, line)
        row = _ROW.match(line) if tree else None
        if row is not None:
            line = f"{row['left'].removesuffix(' *'):<72} {row['agent']}"
        if line.strip():
            yield line.rstrip()


def in_order(lines: Iterable[str]) -> Iterator[str]:
    """The same lines; calls of one tool that began together stand in the order of what they said."""
    rows: list[list[str]] = []  # a row of the tree with what stands below it
    for line in lines:
        if "─ " in line or not rows:
            rows.append([line])
        else:
            rows[-1].append(line)
    for _, alike in groupby(rows, key=lambda row: row[0]):
        for row in sorted(alike):
            yield from row


if __name__ == "__main__":
    sys.exit(main())

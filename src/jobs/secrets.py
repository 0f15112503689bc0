"""Secrets of agents: taken by name from the calling shell and from `.env` beside the job file.

Names and sources go into the plan; the values travel beside it and stand nowhere else.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from teamwright.errors import Problem
from teamwright.jobs.plan import SecretSource

SHELL = "shell"
_SIZE_LIMIT = 1_000_000
_LINE = re.compile(r"(?:export\s+)?(?P<name>[A-Za-z_][A-Za-z0-9_]*)\s*=\s*(?P<value>.*)\Z", re.DOTALL)
_QUOTED = re.compile(r"""(?P<quote>["'])(?P<text>(?:\\.|(?!(?P=quote)).)*)(?P=quote)\s*(?:#.*)?\Z""")
_ESCAPES = {"n": "\n", "t": "\t", "r": "\r"}


@dataclass(frozen=True)
class Vault:
    """The variables that can be had, the shell's before those of `.env`. Shows no value."""

    shell: Mapping[str, str] = field(repr=False)
    file: Mapping[str, str] = field(default_factory=dict, repr=False)
    file_name: str = ".env"

    def get(self, name: str) -> tuple[str, str] | None:
        """A variable's value and where it was found; None when it is nowhere."""
        if name in self.shell:
            return self.shell[name], SHELL
        if name in self.file:
            return self.file[name], self.file_name
        return None

    def known(self) -> dict[str, str]:
        """All variables, as the job file's `${VAR}` sees them."""
        return {**self.file, **self.shell}

    def collect(
        self, wanted: Iterable[str], optional: Iterable[str]
    ) -> tuple[dict[str, str], list[SecretSource], list[str]]:
        """Values and sources of `wanted` and of the `optional` that are set; and the wanted that are missing."""
        values: dict[str, str] = {}
        sources: list[SecretSource] = []
        missing: list[str] = []
        needed = list(dict.fromkeys(wanted))
        for name in dict.fromkeys((*needed, *optional)):
            found = self.get(name)
            if found is not None:
                values[name] = found[0]
                sources.append(SecretSource(name, found[1]))
            elif name in needed:
                missing.append(name)
        return values, sources, missing


def open_vault(folder: Path, environ: Mapping[str, str], *, shown: str | None = None) -> tuple[Vault, list[Problem]]:
    """The variables of the shell and of `folder`/.env, and what is wrong with that file."""
    path = folder / ".env"
    name = shown or str(path)
    if not path.is_file():
        return Vault(environ, file_name=name), []
    try:
        if path.stat().st_size > _SIZE_LIMIT:
            return Vault(environ, file_name=name), [Problem("larger than 1 MB: not a .env file", name)]
        text = path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError:
        return Vault(environ, file_name=name), [Problem("not text in UTF-8", name)]
    except OSError as error:
        return Vault(environ, file_name=name), [Problem(f"can't be read: {error.strerror}", name)]
    values, problems = parse_env(text, name)
    return Vault(environ, values, name), problems


def parse_env(text: str, file: str) -> tuple[dict[str, str], list[Problem]]:
    """NAME=value lines: `export`, comments and quotes are understood, nothing is expanded.

    Messages name the line and never show its text.
    """
    values: dict[str, str] = {}
    problems: list[Problem] = []
    for number, raw in enumerate(text.splitlines(), 1):
        line = raw.strip()
        if not line or line.startswith("#"):
            continue
        match = _LINE.match(line)
        if match is None:
            problems.append(Problem("not NAME=value", file, number))
            continue
        value = _unquoted(match["value"].strip())
        if value is None:
            problems.append(Problem(f"the quote of {match['name']} is not closed on its line", file, number))
        elif "\0" in value:
            problems.append(Problem(f"{match['name']} holds a zero byte", file, number))
        else:
            values[match["name"]] = value
    return values, problems


def _unquoted(text: str) -> str | None:
    if not text.startswith(('"', "'")):
        return re.split(r"\s#", text, maxsplit=1)[0].rstrip()
    match = _QUOTED.match(text)
    if match is None:
        return None
    if match["quote"] == "'":
        return match["text"]
    return re.sub(r"\\(.)", lambda found: _ESCAPES.get(found[1], found[1]), match["text"])

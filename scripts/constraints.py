"""Write the exact version of every package of the tree into pyproject.toml.

    uv run scripts/constraints.py            newest versions that fit, written to pyproject.toml
    uv run scripts/constraints.py --check    exit 1 when the present list no longer resolves to itself

uv.lock holds download addresses, so it stays out of git; `[tool.uv] constraint-dependencies` holds the same
versions without them: all extras, all groups, all platforms. A marker stands only where one package has
several versions.
"""

from __future__ import annotations

import argparse
import re
import shutil
import subprocess
import sys
import tempfile
from collections import defaultdict
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
_LIST = re.compile(r"^constraint-dependencies = \[\n(?:    .*\n)*\]\n", re.MULTILINE)
_LINE = re.compile(r"^(?P<name>[A-Za-z0-9._-]+)==(?P<version>[^\s;]+)\s*(?:;\s*(?P<marker>.+))?$")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--check", action="store_true", help="change nothing; exit 1 when the list is not complete")
    check = parser.parse_args().check
    project = ROOT / "pyproject.toml"
    text = project.read_text()
    constraints = resolve(text if check else _LIST.sub("", text))
    if with_constraints(text, constraints) == text:
        print("pyproject.toml: the constraints are up to date")
        return 0
    if check:
        print("pyproject.toml: the constraints are not the tree; run `uv run scripts/constraints.py`", file=sys.stderr)
        return 1
    project.write_text(with_constraints(project.read_text(), constraints))
    print("pyproject.toml: constraints written")
    return 0


def resolve(project: str) -> list[str]:
    """`name==version[ ; marker]` of the whole tree that uv chooses for this pyproject.toml, sorted."""
    with tempfile.TemporaryDirectory() as folder:
        Path(folder, "pyproject.toml").write_text(project)
        for name in ("README.md", "LICENSE", "src"):
            source = ROOT / name
            if source.is_dir():
                shutil.copytree(source, Path(folder, name), ignore=shutil.ignore_patterns("__pycache__"))
            else:
                shutil.copy(source, folder)
        run = ["uv", "--quiet", "--project", folder]
        subprocess.run([*run, "lock"], check=True)
        flags = ["--all-extras", "--all-groups", "--no-hashes", "--no-annotate", "--no-header", "--no-emit-project"]
        done = subprocess.run([*run, "export", "--frozen", *flags], check=True, stdout=subprocess.PIPE, text=True)
    found: dict[str, list[tuple[str, str | None]]] = defaultdict(list)
    for line in done.stdout.splitlines():
        if match := _LINE.match(line.strip()):
            found[match["name"]].append((match["version"], match["marker"]))
        elif line.strip():
            raise SystemExit(f"not a pinned package: {line}")
    lines = []
    for name, versions in sorted(found.items()):
        several = len({version for version, _ in versions}) > 1
        for version, marker in versions:
            lines.append(f"{name}=={version} ; {marker}" if several and marker else f"{name}=={version}")
    return lines


def with_constraints(project: str, lines: list[str]) -> str:
    """The text of pyproject.toml with these constraints in place of the old ones."""
    quoted = "".join(f"    '{line}',\n" if '"' in line else f'    "{line}",\n' for line in lines)
    text, count = _LIST.subn(lambda _: f"constraint-dependencies = [\n{quoted}]\n", project)
    if count != 1:
        raise SystemExit("pyproject.toml: [tool.uv] needs one list `constraint-dependencies`")
    return text


if __name__ == "__main__":
    raise SystemExit(main())

"""The package of CONTRIBUTING.md that brings a backend, and others that do it wrongly: built and installed by uv."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
_BLOCK = re.compile(r"^```\w+\n# (?P<file>[\w/.]+)\n(?P<text>.*?)^```$", re.M | re.S)


def shown() -> dict[str, str]:
    """The files that CONTRIBUTING.md shows, by name."""
    text = (ROOT / "CONTRIBUTING.md").read_text()
    return {found["file"]: found["text"] for found in _BLOCK.finditer(text)}


def of_contributing(folder: Path, target: Path) -> None:
    """Install the package that CONTRIBUTING.md shows into `target`."""
    files = shown()
    install({name: files[name] for name in ("pyproject.toml", "src/teamwright_ollama/__init__.py")}, folder, target)


def project(package: str, backend: str, code: str, *, refers_to: str = "Backend") -> dict[str, str]:
    """The files of a package that says it brings a backend; `code` is its module's."""
    module = package.replace("-", "_")
    about = f"""\
        [project]
        name = "{package}"
        version = "1.2.3"
        [project.entry-points."teamwright.backends"]
        {backend} = "{module}:{refers_to}"
        [build-system]
        requires = ["uv_build>=0.8,<1"]
        build-backend = "uv_build"
        """
    return {"pyproject.toml": about.replace("        ", ""), f"src/{module}/__init__.py": code}


def install(files: dict[str, str], folder: Path, target: Path) -> None:
    """Write a project's files to `folder`, build it, install it into `target`. Nothing comes from the network."""
    for name, text in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text)
    uv = shutil.which("uv")
    assert uv, "uv is needed: pip install uv"
    words = ["pip", "install", "--offline", "--no-deps", "--no-build-isolation", "--no-config", "--target", target]
    done = subprocess.run(
        [uv, *map(str, words), "--python", sys.executable, str(folder)],
        env={"PATH": os.environ["PATH"], "HOME": str(folder), "UV_CACHE_DIR": str(folder / "cache")},
        capture_output=True,
        text=True,
        timeout=100,
    )
    assert done.returncode == 0, done.stderr

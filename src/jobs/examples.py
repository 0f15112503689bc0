"""Job files that come with Teamwright: `example:code-review` stands for one, in a checkout as from a wheel.

In a wheel they lie in the package's `bundled/examples`, in a checkout in `examples` beside `src`. Their modules are
named `examples.…`, so the folder that holds `examples` is where they are looked for.
"""

from __future__ import annotations

from pathlib import Path

from teamwright.errors import UserError
from teamwright.jobs.names import suggestion

PREFIX = "example:"
_PACKAGE = Path(__file__).resolve().parents[1]
#: Where modules of bundled examples are looked for.
BUNDLED = _PACKAGE / "bundled"


def root() -> Path:
    """The folder that holds `examples`."""
    return BUNDLED if (BUNDLED / "examples").is_dir() else _PACKAGE.parent


def names() -> list[str]:
    """What can stand behind `example:`."""
    return sorted(path.stem for path in (root() / "examples" / "jobs").glob("*.yaml"))


def located(path: str | Path) -> Path:
    """The file that `path` or `example:NAME` is. Raises UserError for an example that isn't there."""
    text = str(path)
    if not text.startswith(PREFIX):
        return Path(path)
    name = text.removeprefix(PREFIX)
    if name not in names():
        hint = suggestion(name, names(), kind="there are") if names() else "the examples are not installed"
        raise UserError(f"there is no example {name!r}", hint=hint)
    return root() / "examples" / "jobs" / f"{name}.yaml"

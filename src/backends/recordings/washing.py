"""What leaves a text before it is written or compared: secrets for good, and the folders of this machine for now.

`{job}` stands for the job file's folder, `{home}` for the person's, `{tmp}` for the temporary one; a replay puts its
own folders there again, so a recording works on another machine.
"""

from __future__ import annotations

import re
import tempfile
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from teamwright.backends.catalog import CATALOG
from teamwright.tracing.content import without_keys
from teamwright.tracing.redaction import Masks, Rule

#: What the variable of a key is called.
_KEY = re.compile(r"_(?:KEY|TOKEN|HEADERS)$")
#: Shorter values may be ordinary words.
_LEAST = 6


def secret_names(names: Iterable[str], backend: str) -> list[str]:
    """Those of an agent's variables that hold secrets: not the addresses and proxies that the backend reads as well."""
    info = CATALOG.get(backend)
    plain = [name for name in info.variables if not _KEY.search(name)] if info is not None else []
    return [name for name in names if name not in plain]


class Washing:
    """`secrets` are values by name; `rules` the job's own of what is masked."""

    def __init__(
        self,
        folder: str,
        environ: Mapping[str, str],
        *,
        secrets: Mapping[str, str] | None = None,
        rules: Iterable[Rule] = (),
    ) -> None:
        places = {"{job}": folder, "{home}": environ.get("HOME", ""), "{tmp}": tempfile.gettempdir()}
        long = {mark: path.rstrip("/") for mark, path in places.items() if len(path.rstrip("/")) > 2}
        self._places = sorted(long.items(), key=lambda item: -len(item[1]))
        known = {value: name for name, value in (secrets or {}).items() if len(value) >= _LEAST}
        self._secrets = sorted(known.items(), key=lambda item: -len(item[0]))
        self._masks = Masks(rules)

    def out(self, value: Any) -> Any:
        """A value as it is kept; JSON of any depth."""
        return _inside(value, self._clean)

    def back(self, value: Any) -> Any:
        """A value of a recording with the folders of here."""
        return _inside(value, self._filled)

    def _clean(self, text: str) -> str:
        for secret, name in self._secrets:
            text = text.replace(secret, f"[{name}]")
        text = without_keys(self._masks(text))
        for mark, path in self._places:
            text = text.replace(path, mark)
        return text

    def _filled(self, text: str) -> str:
        for mark, path in self._places:
            text = text.replace(mark, path)
        return text


def _inside(value: Any, change: Callable[[str], str]) -> Any:
    if isinstance(value, str):
        return change(value)
    if isinstance(value, Mapping):
        return {str(key): _inside(item, change) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_inside(item, change) for item in value]
    return value

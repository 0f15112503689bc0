"""The eyes of a worker: what the user's function does with the SDKs of models, sent to the agent as it happens.

For any Python from 3.8 on, standard library only: the folder `backends/inside/` is loaded under a name of its
own, so that it takes none from the user's modules.
"""

from __future__ import annotations

import contextlib
import importlib
import importlib.util
import json
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

_NAME = "_teamwright_inside"
#: Bytes of a record: a larger one goes without its words.
_MOST = 8 << 20
#: Seconds that a model call waits to be told that it may be made.
_PATIENCE = 1.0
_WORDS = ("messages", "answer", "result", "arguments", "system")


class Eyes:
    """Closed for good where `wanted` is false: then nothing is loaded and nothing replaced."""

    def __init__(self, wanted: bool) -> None:
        self._scope: Any = None
        self._run: Any = None
        self._waiting: dict[int, threading.Event] = {}
        if wanted:
            _load()
            importlib.import_module(_NAME + ".importing").install()
            self._scope = importlib.import_module(_NAME + ".scope")

    @contextlib.contextmanager
    def open(self, send: Callable[[dict[str, Any]], None]) -> Iterator[None]:
        """While it is open, records go out as {seen: record}."""
        if self._scope is None:
            yield
            return

        def tell(record: dict[str, Any]) -> None:
            asks = record.get("kind") == "model"
            if asks:
                self._waiting[record["begin"]] = threading.Event()
            send({"seen": _fitting(record)})
            if asks:
                self._waiting[record["begin"]].wait(_PATIENCE)
                del self._waiting[record["begin"]]

        run = self._run = self._scope.Scope(tell)
        error: BaseException | None = None
        try:
            with self._scope.alone(run):
                yield
        except BaseException as problem:
            error = problem
            raise
        finally:
            run.close(error)

    def heard(self, number: int, stop: bool) -> None:
        """The agent knows of a model call, and says whether it is one too many; in the listening thread."""
        if stop:
            self._run.stopped = True
        waiting = self._waiting.get(number)
        if waiting is not None:
            waiting.set()

    def below(self) -> int | None:
        """The number of what this code runs in."""
        found: int | None = self._scope.below() if self._scope is not None else None
        return found


def _load() -> None:
    if _NAME in sys.modules:
        return
    place = Path(__file__).resolve().parent.parent.parent / "backends" / "inside"
    spec = importlib.util.spec_from_file_location(
        _NAME, str(place / "__init__.py"), submodule_search_locations=[str(place)]
    )
    if spec is None or spec.loader is None:
        raise ImportError(str(place))
    module = importlib.util.module_from_spec(spec)
    sys.modules[_NAME] = module
    spec.loader.exec_module(module)


def _fitting(record: dict[str, Any]) -> dict[str, Any]:
    if len(json.dumps(record, default=str)) <= _MOST:
        return record
    return {key: "(more than 8 MB)" if key in _WORDS else value for key, value in record.items()}

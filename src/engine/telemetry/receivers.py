"""Where commands have asked the engine to send spans: kept for the engines of one guard, forgotten with it."""

from __future__ import annotations

import json
import logging
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from teamwright.engine.liveness import Incarnation
from teamwright.errors import UserError
from teamwright.home import write_atomically
from teamwright.tracing.forwarding.endpoints import Endpoint

log = logging.getLogger("teamwright.engine")


class Receivers:
    """Endpoints in a file of mode 0600 (their headers are keys).

    >>> receivers = Receivers(home.path / "forward" / "receivers.json", guard)
    >>> receivers.add(endpoint)
    >>> receivers.known  # by URL, those of an earlier engine of the same guard included
    """

    def __init__(self, path: Path, guard: Incarnation, given: Iterable[Endpoint] = ()) -> None:
        self._path = path
        self._guard = guard.to_text()
        self.known: dict[str, Endpoint] = {endpoint.url: endpoint for endpoint in given}
        self._asked: dict[str, Endpoint] = {}
        for endpoint in self._read():
            self.known[endpoint.url] = self._asked[endpoint.url] = endpoint

    def add(self, endpoint: Endpoint) -> None:
        """On disk when this returns."""
        if self.known.get(endpoint.url) == endpoint:
            return
        self.known[endpoint.url] = self._asked[endpoint.url] = endpoint
        self._path.parent.mkdir(exist_ok=True)
        kept = {"guard": self._guard, "endpoints": [one.to_dict() for one in self._asked.values()]}
        write_atomically(self._path, json.dumps(kept), mode=0o600)

    def _read(self) -> list[Endpoint]:
        try:
            found: Any = json.loads(self._path.read_text())
            if found["guard"] != self._guard:
                self._path.unlink(missing_ok=True)
                return []
            return [Endpoint.from_dict(one) for one in found["endpoints"]]
        except FileNotFoundError:
            return []
        except (OSError, ValueError, LookupError, TypeError, UserError) as error:
            log.warning("%s can't be read: %s", self._path, error)
            return []

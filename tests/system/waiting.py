"""Model calls that wait for a provider's shared limit, as the engine tells it."""

from __future__ import annotations

import time
from collections.abc import Callable

from teamwright.client.client import Client
from teamwright.client.launch import connect
from teamwright.home import Home
from tests.system.conftest import Deploy


def client(deploy: Deploy) -> Client:
    return connect(Home(deploy.home), start=False, environ=deploy.environment)


def waiting(deploy: Deploy) -> int:
    """How many calls wait, of one limited provider."""
    with client(deploy) as asked:
        (limited,) = asked.status()["providers"]
    return sum(key["waiting"] for key in limited["keys"])


def until(what: Callable[[], bool], seconds: float = 60) -> None:
    end = time.monotonic() + seconds
    while not what():
        assert time.monotonic() < end
        time.sleep(0.02)

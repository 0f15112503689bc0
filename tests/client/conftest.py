"""Homes and clean-up for engines that tests start."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from teamwright.client import launch
from teamwright.errors import EngineUnavailable
from teamwright.home import Home


@pytest.fixture
def home(tmp_path: Path, environment: dict[str, str]) -> Iterator[Home]:
    """A home that isn't there yet; whatever runs in it ends with the test."""
    home = Home(tmp_path / "logs")
    yield home
    if home.exists:
        try:
            with launch.connect(home, start=False, environ=environment) as client:
                client.stop_engine(force=True)
        except EngineUnavailable:
            pass
        launch.sweep(home)

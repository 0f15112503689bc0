"""`deploy` with the backend crewai: docs/what-a-trace-shows.md shows what its commands print."""

from __future__ import annotations

import pytest

from tests.system.conftest import check_nothing_left
from tests.system.evidence import agrees

pytest.importorskip("crewai")


def test_the_page_shows_what_its_commands_print(environment: dict[str, str], mark: str) -> None:
    agrees("crewai", environment)
    check_nothing_left(mark, set())

"""CrewAI as a backend. Importing this imports no SDK: that starts threads."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from teamwright.backends.crewai.backend import CrewAIBackend


def create() -> CrewAIBackend:
    """What the loader calls."""
    from teamwright.backends.crewai.backend import CrewAIBackend

    return CrewAIBackend()

"""The Claude Agent SDK with its bundled CLI as a backend. Importing this imports no SDK."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from teamwright.backends.claude.backend import ClaudeBackend


def create() -> ClaudeBackend:
    """What the loader calls."""
    from teamwright.backends.claude.backend import ClaudeBackend

    return ClaudeBackend()

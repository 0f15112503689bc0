"""Which of the user's own code, if any, thinks inside an agent in place of a backend."""

from __future__ import annotations

from typing import Protocol

from teamwright.agents.spec import AgentSpec
from teamwright.backends.api import Backend
from teamwright.errors import UserError


class Code(Backend, Protocol):
    """The user's code, looked at as a Backend. `description` is what it says of itself."""

    @property
    def description(self) -> str: ...


def code_of(spec: AgentSpec) -> Code | None:
    """The code of a `run:` or `script:` agent; None for agents that think with a backend. Raises UserError."""
    if spec.kind == "script":
        from teamwright.agents.own_code.scripts import ScriptCode

        return ScriptCode(spec)
    if spec.kind != "run":
        return None
    if spec.run is None:
        raise UserError("a run: agent needs package.module:function")
    if spec.python is not None:
        from teamwright.agents.own_code.interpreters import InterpreterCode

        return InterpreterCode(spec)
    from teamwright.agents.own_code.functions import FunctionCode

    return FunctionCode(spec.run, instrument=spec.instrument)

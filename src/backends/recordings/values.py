"""What is recorded of one message: what the agent was asked, each exchange with a model, and what came of it.

Plain values that are written as JSON, one file a message; docs/record-replay.md tells the format to people.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields
from typing import Any, Self


@dataclass(slots=True)
class Call:
    """A tool call that a model asked for. `ran`: a tool of the agent was called; else `result` is somebody else's.

    `error` is a short word where it failed. `steps` are exchanges that it was made of (a sub-agent's).
    """

    id: str
    name: str
    arguments: Any = None
    ran: bool = False
    result: str | None = None
    error: str | None = None
    steps: list[Step] = field(default_factory=list)


@dataclass(slots=True)
class Exchange:
    """One call of a model. `reply` and `messages` are as `chat` spans have them; times in seconds.

    `pieces` are what was streamed meanwhile; where that is the reply's text, only the lengths: "5 2 3".
    `error` has `reason` and `message`; `limited`: the provider asked to slow down, for `retry_after` seconds.
    """

    model: str | None = None
    provider: str | None = None
    attempt: int | None = None
    system: str | None = None
    messages: list[Any] = field(default_factory=list)
    reply: dict[str, Any] | None = None
    finish_reason: str | None = None
    response_model: str | None = None
    response_id: str | None = None
    tokens: dict[str, int] = field(default_factory=dict)
    cost_usd: float | None = None
    first_token_s: float | None = None
    duration_s: float | None = None
    pieces: list[str] | str = field(default_factory=list)
    error: dict[str, str] | None = None
    limited: bool = False
    retry_after: float | None = None
    calls: list[Call] = field(default_factory=list)

    @property
    def parts(self) -> list[Mapping[str, Any]]:
        """The parts of the reply."""
        return list((self.reply or {}).get("parts") or [])

    @property
    def text(self) -> str:
        """The words of the reply."""
        return "".join(str(part.get("content") or "") for part in self.parts if part.get("type") == "text")


@dataclass(slots=True)
class Inner:
    """An agent inside the agent: one of a crew, or a sub-agent, with its own exchanges."""

    name: str
    asked: str | None = None
    said: str | None = None
    steps: list[Step] = field(default_factory=list)


Step = Exchange | Inner
_EMPTY: tuple[Any, ...] = ([], {}, "")


@dataclass(slots=True)
class Asked:
    """What a backend is given. `tools` have name, description and parameters; those of Teamwright only the name."""

    prompt: str = ""
    text: str = ""
    model: str | None = None
    model_options: dict[str, Any] = field(default_factory=dict)
    options: dict[str, Any] = field(default_factory=dict)
    output_schema: dict[str, Any] | None = None
    tools: list[dict[str, Any]] = field(default_factory=list)
    history: list[dict[str, str]] = field(default_factory=list)
    files: list[dict[str, Any]] = field(default_factory=list)


@dataclass(slots=True)
class Message:
    """One message. `at` is when it came, Unix time; of `answer` and `error` there is one."""

    at: float
    asked: Asked
    steps: list[Step] = field(default_factory=list)
    answer: dict[str, Any] | None = None
    error: dict[str, Any] | None = None

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready; what is as it is anyway is left out."""
        return {
            "at": self.at,
            "asked": _lean(asdict(self.asked)),
            "steps": _told(self.steps),
            **({"answer": self.answer} if self.answer is not None else {}),
            **({"error": self.error} if self.error is not None else {}),
        }

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Self:
        """What `to_dict` gave. Raises TypeError, KeyError, ValueError or AttributeError when it isn't that."""
        return cls(
            float(data["at"]),
            Asked(**data["asked"]),
            _steps(data),
            data.get("answer"),
            data.get("error"),
        )


def _lean(data: Mapping[str, Any]) -> dict[str, Any]:
    return {
        key: value for key, value in data.items() if value is not None and value is not False and value not in _EMPTY
    }


def _told(steps: Sequence[Step]) -> list[dict[str, Any]]:
    """Steps as JSON has them. What an exchange heard before, in the one before it, is only counted."""
    made: list[dict[str, Any]] = []
    before: list[Any] = []
    for step in steps:
        if isinstance(step, Inner):
            told = {"name": step.name, "asked": step.asked, "said": step.said, "steps": _told(step.steps)}
            made.append({"agent": _lean(told)})
            continue
        given = {item.name: getattr(step, item.name) for item in fields(step)}
        if before and step.messages[: len(before)] == before:
            given |= {"messages_before": len(before), "messages": step.messages[len(before) :]}
        given["calls"] = [
            _lean({**{item.name: getattr(call, item.name) for item in fields(call)}, "steps": _told(call.steps)})
            for call in step.calls
        ]
        made.append({"exchange": _lean(given)})
        before = step.messages
    return made


def _steps(data: Mapping[str, Any]) -> list[Step]:
    """The steps that `_told` gave."""
    made: list[Step] = []
    before: list[Any] = []
    found: Sequence[Mapping[str, Any]] = data.get("steps") or ()
    for step in found:
        if "agent" in step:
            made.append(Inner(**{**step["agent"], "steps": _steps(step["agent"])}))
            continue
        given = dict(step["exchange"])
        given["messages"] = before[: given.pop("messages_before", 0)] + given.get("messages", [])
        given["calls"] = [Call(**{**call, "steps": _steps(call)}) for call in given.get("calls", ())]
        made.append(Exchange(**given))
        before = given["messages"]
    return made

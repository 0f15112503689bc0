"""The offline backend: rules instead of a model. No key, no network, the same answer every time.

It asks the peers and calls the tools whose descriptions share words with the question, all at once, and puts
together what they said. Its answers begin with `[offline, no model]`.
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, ClassVar

from teamwright.backends import loop
from teamwright.backends.api import Answer, BackendConfig, Peer, Tool, Turn, Usage
from teamwright.backends.loop import Entry, Reply, Results, ToolCall, ToolResult

MARK = "[offline, no model]"
MODEL = "offline"

_QUERY_AGENT = "query_agent"
_MOST_PEERS = 8
_MOST_TOOLS = 4
_WORD = re.compile(r"[a-z0-9][a-z0-9_+#]*")
_QUOTED = re.compile(r"\"([^\"]+)\"|'([^']+)'|`([^`]+)`")
_NUMBER = re.compile(r"-?\d+(?:\.\d+)?")
_COMMON = frozenset(
    _WORD.findall(
        "a about agent agents all also am an and answer answers any are as ask at be been but by can could do does for "
        "from get give had has have he help her him his how i if in into is it its just let make may me more most my "
        "need new no not of on one only or other our out over please question questions say says she should so some "
        "such tell than that the their them then there these they this those to too up us use used user using very "
        "want was we were what when where which who why will with would you your"
    )
)


class OfflineBackend:
    """Thinks by matching words."""

    name: ClassVar[str] = "offline"

    def __init__(self) -> None:
        self._config: BackendConfig | None = None

    async def open(self, config: BackendConfig) -> None:
        self._config = config

    async def close(self) -> None:
        """Nothing is open."""

    async def run(self, turn: Turn) -> Answer:
        """One round of peers and tools, then the answer."""
        ids = itertools.count(1)
        config = self._config
        prompt, agent = (config.prompt, config.agent) if config else ("", "")
        about_self = f"{agent} {config.description} {prompt}" if config else ""

        async def step(entries: Sequence[Entry]) -> Reply:
            peers = await turn.peers() if any(tool.name == _QUERY_AGENT for tool in turn.tools) else ()
            with turn.tracer.model_call(
                model=MODEL, provider=MODEL, messages=loop.to_messages(entries), system=prompt or None
            ) as span:
                done = [result for entry in entries if isinstance(entry, Results) for result in entry.results]
                calls = () if done else _choose(turn, peers, about_self, ids)
                text = "" if calls else _compose(turn, agent, done)
                read = sum(len(_words(str(message))) for message in loop.to_messages(entries))
                written = len(_words(text)) + sum(len(_words(str(call.arguments))) for call in calls)
                span.answer(
                    loop.reply_message(text, calls), finish_reason="tool_call" if calls else "stop", model=MODEL
                )
                span.usage(input_tokens=read, output_tokens=written, cost_usd=0.0, estimated=True)
                return Reply(text, calls, Usage(input_tokens=read, output_tokens=written, estimated=True))

        return await loop.run(turn, step)


def _choose(turn: Turn, peers: Sequence[Peer], about_self: str, ids: Iterable[int]) -> tuple[ToolCall, ...]:
    question = _keywords(turn.text)
    calls: list[tuple[str, Mapping[str, Any]]] = []
    for tool in _matching_tools(turn.tools, question):
        arguments = _fill(tool, turn.text)
        if arguments is not None:
            calls.append((tool.name, arguments))
    asked = _matching_peers(peers, question, about_self, first=turn.run.depth == 0, tools=bool(calls))
    calls += [(_QUERY_AGENT, {"agent": peer.id, "message": turn.text}) for peer in asked]
    return tuple(
        ToolCall(f"call_{number}", name, arguments) for (name, arguments), number in zip(calls, ids, strict=False)
    )


def _matching_tools(tools: Sequence[Tool], question: frozenset[str]) -> list[Tool]:
    own = [tool for tool in tools if tool.source in ("local", "mcp")]
    scores = {tool.name: len(question & _keywords(tool.name, tool.description, *tool.tags)) for tool in own}
    found = [tool for tool in own if scores[tool.name]]
    return sorted(found, key=lambda tool: (-scores[tool.name], tool.name))[:_MOST_TOOLS]


def _matching_peers(
    peers: Sequence[Peer], question: frozenset[str], about_self: str, *, first: bool, tools: bool
) -> list[Peer]:
    scores = {peer.id: len(question & _about(peer)) for peer in peers}
    # Asked by another agent, it passes on only to those who know more than it does itself: two
    # agents that may call each other would otherwise do so until the limit of depth.
    own = 0 if first else len(question & _keywords(about_self))
    found = [peer for peer in peers if scores[peer.id] > own or (scores[peer.id] and not peer.calls_back)]
    if not found and not tools:
        found = [peer for peer in peers if first or not peer.calls_back]
    return sorted(found, key=lambda peer: -scores[peer.id])[:_MOST_PEERS]


def _about(peer: Peer) -> frozenset[str]:
    words: list[str] = [peer.id, peer.name, peer.description]
    for skill in peer.skills:
        words += [str(skill.get(key, "")) for key in ("id", "name", "description")]
        words += [str(tag) for tag in skill.get("tags", ())]
    return _keywords(*words)


def _fill(tool: Tool, text: str) -> dict[str, Any] | None:
    """Arguments taken from the question, or None when a required one isn't in it."""
    properties: Mapping[str, Any] = tool.parameters.get("properties", {})
    required = tool.parameters.get("required", ())
    numbers = iter(_NUMBER.findall(text))
    quoted = iter([next(filter(None, groups)) for groups in _QUOTED.findall(text)])
    found: dict[str, Any] = {}
    for name, schema in properties.items():
        value = _value(schema, text, numbers, quoted, alone=len(required) <= 1) if name in required else None
        if value is None and name in required:
            return None
        if value is not None:
            found[name] = value
    return found


def _value(schema: Mapping[str, Any], text: str, numbers: Any, quoted: Any, *, alone: bool) -> Any:
    kind = schema.get("type")
    if options := schema.get("enum"):
        words = _words(text)
        return next((option for option in options if str(option).lower() in words), None)
    if kind in ("integer", "number"):
        number = next(numbers, None)
        if number is None:
            return None
        return float(number) if kind == "number" else int(float(number))
    if kind == "string":
        return next(quoted, None) or _name_in(text) or (text if alone else None)
    return None


def _name_in(text: str) -> str | None:
    """A capitalised name inside the sentence: `the weather in New York?` has `New York`."""
    found = re.search(r"(?<!^)(?<![.!?]\s)\b([A-Z][\w-]+(?: [A-Z][\w-]+)*)", text)
    return found.group(1) if found else None


def _compose(turn: Turn, agent: str, done: Sequence[ToolResult]) -> str:
    if not done:
        said = " ".join(turn.text.split())
        earlier = sum(word.role == "user" for word in turn.history)
        before = f" (after {earlier} earlier in this session)" if earlier else ""
        return f"{MARK} {agent} got{before}: {said}"
    lines = []
    for result in done:
        source = result.call.arguments.get("agent") if result.call.name == _QUERY_AGENT else result.call.name
        lines.append(f"- {source}: {_unmarked(result.text)}")
    return "\n".join([f"{MARK} {agent} asked {len(done)} and heard:", *lines])


def _unmarked(text: str) -> str:
    return text.removeprefix(MARK).strip().replace("\n", "\n  ")


def _words(text: str) -> list[str]:
    return _WORD.findall(text.lower())


def _keywords(*texts: str) -> frozenset[str]:
    """The words that mean something, without plural s."""
    return frozenset(
        word[:-1] if len(word) > 3 and word.endswith("s") and not word.endswith("ss") else word
        for text in texts
        for part in _words(text)
        for word in {part, *part.split("_")}
        if word and word not in _COMMON
    )


def create() -> OfflineBackend:
    """What the loader calls."""
    return OfflineBackend()

"""The offline backend: rules instead of a model. No key, no network, the same answer every time.

It calls the tools and asks the peers whose descriptions share words with the question: all at once, but those that
need what others find after these. It takes arguments from the text, and puts together what was said, naming the
sources. Where it finds agents (`find_agents`), a question such as `find an agent that can …, and ask it …`, or one that
nothing of its own fits, is put to the one that is found.

Its answers begin with `[offline, no model]`. What failed is named in the answer; where all that it called has failed
there is none, and the task fails (reason `tools_failed`).
"""

from __future__ import annotations

import itertools
import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, ClassVar

from teamwright.backends import loop
from teamwright.backends.api import Answer, BackendConfig, Message, Turn, Usage
from teamwright.backends.loop import Entry, Reply, Results, ToolCall, ToolResult
from teamwright.backends.rules import answer as answers
from teamwright.backends.rules.answer import MARK, Heard
from teamwright.backends.rules.arguments import fill
from teamwright.backends.rules.choice import Choice, choose, wants_list
from teamwright.backends.rules.finding import FIND_AGENTS, Wish, chosen, listing, wish
from teamwright.backends.rules.words import words
from teamwright.errors import NothingWorked

__all__ = ["MARK", "MODEL", "OfflineBackend", "create"]

MODEL = "offline"

_QUERY_AGENT = "query_agent"
_LIST_PEERS = "list_peers"


class OfflineBackend:
    """Thinks by matching words."""

    name: ClassVar[str] = "offline"

    def __init__(self) -> None:
        self._config = BackendConfig("", "", None, {}, {}, ".")

    async def open(self, config: BackendConfig) -> None:
        self._config = config

    async def close(self) -> None:
        """Nothing is open."""

    async def run(self, turn: Turn) -> Answer:
        """Rounds of tools and peers, each with all that need nothing more, then the answer."""
        config = self._config
        thought = _Thought(turn, config)

        async def step(entries: Sequence[Entry]) -> Reply:
            messages = loop.to_messages(entries)
            with turn.tracer.model_call(
                model=MODEL, provider=MODEL, messages=messages, system=config.system or None
            ) as span:
                calls, text = await thought.next(entries)
                read = sum(len(words(str(message))) for message in messages)
                written = len(words(text)) + sum(len(words(str(call.arguments))) for call in calls)
                span.answer(
                    loop.reply_message(text, calls), finish_reason="tool_call" if calls else "stop", model=MODEL
                )
                span.usage(input_tokens=read, output_tokens=written, cost_usd=0.0, estimated=True)
            usage = Usage(input_tokens=read, output_tokens=written, estimated=True)
            if not calls and thought.in_vain:
                turn.count(usage + Usage(model_calls=1))
                raise NothingWorked(text)
            if not calls and config.output_schema is None:
                for piece in text.splitlines(keepends=True):
                    await turn.stream(piece)
            return Reply(text, calls, usage)

        return await loop.run(turn, step, output_schema=config.output_schema)


class _Thought:
    """What one turn is about: its choices, and how far they are."""

    def __init__(self, turn: Turn, config: BackendConfig) -> None:
        self._turn = turn
        self._config = config
        self._ids: Iterator[int] = itertools.count(1)
        self._choices: list[Choice] | None = None
        self._question = turn.text
        self._wish: Wish | None = None
        self._before = ""
        self._started: dict[str, str] = {}
        self._heard: dict[str, list[Heard]] = {}

    async def next(self, entries: Sequence[Entry]) -> tuple[tuple[ToolCall, ...], str]:
        """The calls to make now, or, where there are none left, the answer."""
        if self._choices is None:
            self._choices = await self._choose()
        elif isinstance(entries[-1], Results):
            self._listen(entries[-1].results)
        calls = self._ready()
        return (calls, "") if calls else ((), self._answer())

    async def _choose(self) -> list[Choice]:
        turn, config = self._turn, self._config
        names = {tool.name for tool in turn.tools}
        peers = await turn.peers() if _QUERY_AGENT in names else ()
        earlier = [word.text for word in turn.history if word.role == "user"]
        if earlier and answers.recalls(turn.text):
            return []
        if _LIST_PEERS in names and wants_list(turn.text):
            return [Choice(_LIST_PEERS, tool=next(tool for tool in turn.tools if tool.name == _LIST_PEERS))]

        def fitting(text: str) -> list[Choice]:
            first = turn.run.depth == 0
            about = f"{config.agent} {config.description} {config.prompt}"
            return choose(text, turn.tools, peers, prompt=config.prompt, about_self=about, first=first)

        if FIND_AGENTS in names and (wanted := wish(turn.text)) is not None:
            return self._search(wanted)
        if earlier and answers.goes_on(turn.text):
            self._before = _last_whole(turn.history)
            return fitting(f"{turn.text}\n{self._before}")
        # Whoever was found by another agent and has nothing that fits does not look any further.
        found = fitting(turn.text)
        if not found and FIND_AGENTS in names and turn.run.depth == 0:
            who = wants_list(turn.text)
            return self._search(Wish("" if who else turn.text, None if who else turn.text, implied=True))
        return found

    def _search(self, wanted: Wish) -> list[Choice]:
        """Find agents first; whom to ask follows from that."""
        self._wish = wanted
        return [Choice(FIND_AGENTS, tool=next(tool for tool in self._turn.tools if tool.name == FIND_AGENTS))]

    def _ready(self) -> tuple[ToolCall, ...]:
        """Calls of all choices that wait for nothing any more; what waited for a failure is left out."""
        while True:
            calls: list[ToolCall] = []
            done = set(self._heard)
            for choice in self._choices or ():
                if choice.name in done or choice.name in self._started.values() or not choice.after <= done:
                    continue
                needed = [heard for name in self._heard if name in choice.after for heard in self._heard[name]]
                if failed := dict.fromkeys(heard.source for heard in needed if heard.failed):
                    self._leave_out(choice, f"not asked: it needs what {', '.join(failed)} did not give")
                    continue
                for name, arguments in self._arguments(choice, needed):
                    call = ToolCall(f"call_{next(self._ids)}", name, arguments)
                    self._started[call.id] = choice.name
                    calls.append(call)
            if calls or set(self._heard) == done:
                return tuple(calls)

    def _leave_out(self, choice: Choice, why: str) -> None:
        self._heard[choice.name] = [Heard(choice.name, why, failed=True)]

    def _arguments(self, choice: Choice, needed: Sequence[Heard]) -> list[tuple[str, Mapping[str, Any]]]:
        text = answers.hand_on(self._question, needed) if needed else self._question
        if choice.tool is None:
            assert choice.peer is not None
            arguments: dict[str, Any] = {"agent": choice.peer.id, "message": choice.text or text}
            if self._turn.files:
                arguments["files"] = [file.name for file in self._turn.files]
            return [(_QUERY_AGENT, arguments)]
        if choice.name == FIND_AGENTS and self._wish is not None:
            return [(FIND_AGENTS, {"text": self._wish.skill} if self._wish.skill else {})]
        known: dict[str, Any] = {}
        for heard in needed:
            if isinstance(heard.data, Mapping):
                known |= heard.data
        found = fill(choice.tool, text, known)
        if not found and self._before:
            found = fill(choice.tool, f"{text} {self._before}", known)
        if not found:
            self._leave_out(choice, "not called: what it needs is not in the question")
        return [(choice.tool.name, arguments) for arguments in found]

    def _listen(self, results: Sequence[ToolResult]) -> None:
        for result in results:
            name = self._started.pop(result.call.id, result.call.name)
            heard = Heard(name, result.text, result.failed)
            if name == FIND_AGENTS and self._wish is not None and not result.failed:
                heard = self._found(self._wish, result.text)
            self._heard.setdefault(name, []).append(heard)

    def _found(self, wanted: Wish, result: str) -> Heard:
        """Go on with the agents that were found."""
        if wanted.message is None:
            return Heard(FIND_AGENTS, listing(result))
        more = chosen(wanted, result)
        if not more and not wanted.implied:
            return Heard(FIND_AGENTS, f"error: nobody is there who can {wanted.skill}", failed=True)
        self._choices = [*(self._choices or ()), *more]
        return Heard(FIND_AGENTS, "")

    @property
    def in_vain(self) -> bool:
        """Whether all that was called has failed."""
        return answers.nothing_worked(self._all)

    @property
    def _all(self) -> list[Heard]:
        return [item for items in self._heard.values() for item in items if item.text]

    def _answer(self) -> str:
        config, heard = self._config, self._all
        text = (
            answers.compose(config.agent, heard)
            if heard
            else answers.echo(config.agent, self._question, self._turn.history)
        )
        if config.output_schema is None or self.in_vain:
            return text
        return json.dumps(answers.shaped(config.output_schema, text, heard), ensure_ascii=False)


def _last_whole(history: Sequence[Message]) -> str:
    """The last question that stands for itself."""
    said = [word.text for word in history if word.role == "user"]
    return next((text for text in reversed(said) if not answers.goes_on(text)), said[-1])


def create() -> OfflineBackend:
    """What the loader calls."""
    return OfflineBackend()

"""The coordinator of the research assistant: its plan is code, what is looked up and judged is its peers' work."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from examples.tools.research import cite
from teamwright import Agent, Turn

_CITATION = re.compile(r"\[([a-z0-9]+(?:-[a-z0-9]+)+)\]")
_OFFLINE = re.compile(r"\A\[offline[^\]]*\]")
_SAID_BY = re.compile(r"\A\[offline[^\]]*\] [^\n(]*\([^)\n]*\):\s*")
_ASIDE = re.compile(
    r"(?i)\b(?:please|research|find out|investigate|study)\b|"
    r",?\s*(?:and\s+)?(?:verify|check|produce|write|make|give)\b[^,.?]*"
)


@dataclass(frozen=True)
class Plan:
    """What is to be found out, and the steps to it."""

    topic: str
    steps: Sequence[str] = ("search the library", "summarize the sources", "verify the claims", "write the report")

    def __str__(self) -> str:
        return f"Topic: {self.topic}\n" + "\n".join(f"{n}. {step}" for n, step in enumerate(self.steps, 1))


class Coordinator(Agent):
    """Researches a question: plans, has sources found, summarized and checked, and writes a cited report."""

    name = "Research coordinator"
    skills = (
        {
            "id": "research",
            "name": "Research",
            "description": "A cited report on a question, its claims verified",
            "tags": ["research", "report"],
        },
    )

    def __init__(self, sources: int = 6, **config: Any) -> None:
        super().__init__(**config)
        self._sources = sources

    async def run(self, turn: Turn) -> str:
        """Plan → searcher → summarizer → fact checker → synthesis."""
        with turn.tracer.tool_call(name="plan", call_id="plan", arguments={"question": turn.text}) as span:
            plan = Plan(topic_of(turn.text))
            span.result(str(plan))

        found = await turn.ask_peer("searcher", f'Search the library for sources about "{plan.topic}"')
        ids = cited(found.text)[: self._sources]
        if not ids:
            return f"The library has no sources about {plan.topic}."
        listed = " ".join(f"[{id}]" for id in ids)
        summary = await turn.ask_peer("summarizer", f'Summarize the sources {listed} for the question "{plan.topic}"')
        points = points_of(plain(summary.text))
        block = "\n".join(points)
        checked = await turn.ask_peer("fact_checker", f"Verify the claims of this text:\n```\n{block}\n```")

        with turn.tracer.tool_call(
            name="synthesis", call_id="synthesis", arguments={"points": len(points), "sources": ids}
        ) as span:
            report = await asyncio.to_thread(write, plan, points, plain(checked.text))
            span.result(report)
        mark = _OFFLINE.match(found.text)
        return f"{mark[0]}\n{report}" if mark else report


def topic_of(question: str) -> str:
    """What a request is about, without what is to be done with it."""
    topic = " ".join(_ASIDE.sub(" ", question).split()).strip(" ,.?!")
    return topic or " ".join(question.split())


def plain(text: str) -> str:
    """An answer without the words of the rule-based backend about itself."""
    return _SAID_BY.sub("", text)


def cited(text: str) -> list[str]:
    """The ids of the sources that a text cites, in its order."""
    return list(dict.fromkeys(_CITATION.findall(text)))


def points_of(text: str) -> list[str]:
    """The statements of a summary: every line that cites a source."""
    return [line.strip().removeprefix("- ") for line in text.splitlines() if _CITATION.search(line)]


def write(plan: Plan, points: Sequence[str], checked: str) -> str:
    """The report. A citation that leads to no source would be a fault of ours, so it is said aloud."""
    verdicts = [line.strip().removeprefix("- ") for line in checked.splitlines() if line.strip()]
    references = cite("\n".join([*points, checked]))
    listed = "\n".join(f"- {item['reference']}" for item in references["references"])
    missing = [f"Without a source: {', '.join(references['unknown'])}"] if references["unknown"] else []
    return "\n".join(
        [
            f"# {plan.topic[:1].upper()}{plan.topic[1:]}",
            "",
            "## Findings",
            *(f"- {point}" for point in points),
            "",
            "## Claims checked",
            *(f"- {line}" for line in verdicts),
            "",
            "## References",
            listed,
            *missing,
        ]
    )

"""The models of `examples/jobs/mixed-providers.yaml`: a stand-in server of each vendor, and what they say.

Writer and critic ask the same server. The words are scripted; what the tools find is real.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass

from tests.standins.chat_completions import ChatCompletions
from tests.standins.generate_content import GenerateContent
from tests.standins.messages import Messages
from tests.standins.script import Call, Reply, Seen, Tokens

QUESTION = "What do studies say about AI and wages? Two sentences, checked."
DRAFT = (
    "Only 3 to 7 percent of what workers gained in productivity came back to them as higher earnings [humlum-2025]. "
    "Freelancers in exposed occupations earned 5.2 percent less after a chatbot was released [hui-2024]."
)
VERDICT = "Nothing is wrong: both sentences say what the notes say, and each names its study."
_SPOKES = ("researcher", "writer", "critic")


@dataclass(frozen=True)
class MixedTeam:
    """The servers, and the variables that lead the vendors' SDKs to them."""

    claude: Messages
    gemini: GenerateContent
    openai: ChatCompletions

    @property
    def environment(self) -> dict[str, str]:
        return {
            "ANTHROPIC_BASE_URL": self.claude.url,
            "GOOGLE_GEMINI_BASE_URL": self.gemini.url,
            "OPENAI_BASE_URL": self.openai.url,
            **{name: f"dummy-{name}" for name in ("ANTHROPIC_API_KEY", "GEMINI_API_KEY", "OPENAI_API_KEY")},
        }

    @property
    def unexpected(self) -> list[str]:
        """What nobody had reckoned with."""
        return [line for server in (self.claude, self.gemini, self.openai) for line in server.unexpected]

    @property
    def requests(self) -> int:
        """How often a model was asked."""
        return sum(len(server.requests) for server in (self.claude, self.gemini, self.openai))


@contextmanager
def mixed_team() -> Iterator[MixedTeam]:
    """The servers, each with its words, while the block runs."""
    with ExitStack() as stack:
        claude, gemini, openai = (
            stack.enter_context(Messages()),
            stack.enter_context(GenerateContent()),
            stack.enter_context(ChatCompletions()),
        )
        claude.always(_lead)
        gemini.always(_research)
        openai.always(_write_or_judge)
        yield MixedTeam(claude, gemini, openai)


def _lead(seen: Seen) -> Reply:
    """Asks one after the other, each with what the one before said, and answers with the draft."""
    before = len(seen.body["messages"]) // 2
    if before == len(_SPOKES):
        return Reply(DRAFT, tokens=Tokens(520, 60, 400))
    said = next(iter(seen.results.values()), "")
    words = (QUESTION, f"Write two sentences from these notes:\n{said}", f"What is wrong with this text?\n{said}")
    call = Call("query_agent", {"agent": _SPOKES[before], "message": words[before]})
    return Reply(calls=[call], tokens=Tokens(300 + 70 * before, 40, 250))


def _research(seen: Seen) -> Reply:
    if not seen.results:
        call = Call("search_library", {"query": "AI wages", "limit": 2})
        return Reply(thinking="The library should know studies of wages.", calls=[call], tokens=Tokens(150, 30, 0, 12))
    found = next(iter(seen.results.values()))
    notes = [part.split('"')[0] for part in found.split('"summary":"')[1].split("\\n")]
    return Reply("\n".join(notes), tokens=Tokens(600, 70, 150))


def _write_or_judge(seen: Seen) -> Reply:
    if "wrong with a text" in seen.system:
        return Reply(VERDICT, tokens=Tokens(120, 20, 0))
    if seen.results:
        return Reply(DRAFT, tokens=Tokens(380, 55, 256))
    return Reply(calls=[Call("word_count", {"text": DRAFT})], tokens=Tokens(300, 60, 0))

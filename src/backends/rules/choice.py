"""Which tools and peers a question is for, and what each of them has to wait for."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import pairwise

from teamwright.backends.api import Peer, Tool
from teamwright.backends.rules.arguments import fill
from teamwright.backends.rules.words import asked, keywords, paths, words

MOST_PEERS = 8
MOST_TOOLS = 4
#: A tag of a skill on a card that says what the agent needs first: `after:searcher`.
AFTER_TAG = "after:"


@dataclass(frozen=True)
class Choice:
    """Something to be done: a tool to call or a peer to ask, and the names of those whose results it needs.

    `text` is what a peer is asked, where that is not the question itself.
    """

    name: str
    tool: Tool | None = None
    peer: Peer | None = None
    after: frozenset[str] = field(default_factory=frozenset)
    text: str | None = None


def choose(
    text: str,
    tools: Sequence[Tool],
    peers: Sequence[Peer],
    *,
    prompt: str = "",
    about_self: str = "",
    first: bool = True,
) -> list[Choice]:
    """What the question asks for, with everything that this needs first; peers and tools in the order given.

    `first` = the question comes from a person. Asked by another agent, it passes on only to those who know more than
    it does itself: two agents that may call each other would otherwise do so until the limit of depth.
    """
    question = keywords(asked(text))
    own = [tool for tool in tools if tool.source in ("local", "mcp")]
    order = _order(prompt, own, peers)
    chosen = _tools(own, question, text)
    if not chosen and not peers:
        chosen = _tools(own, keywords(*paths(text)), text)  # `Process orders.csv`, for one that reads a CSV of orders
    if not chosen and not first and not peers and len(own) == 1 and fill(own[0], text):
        chosen = [own[0]]  # whoever asked had a reason
    found = _peers(peers, question, about_self, first=first, tools=bool(chosen))
    names = _with_needed([*(tool.name for tool in chosen), *(peer.id for peer in found)], order)
    choices = [Choice(tool.name, tool=tool, after=order.get(tool.name, frozenset())) for tool in own]
    choices += [Choice(peer.id, peer=peer, after=order.get(peer.id, frozenset())) for peer in peers]
    return _without_rings([replace(item, after=item.after & names) for item in choices if item.name in names])


def _tools(tools: Sequence[Tool], question: frozenset[str], text: str) -> list[Tool]:
    scores = {
        tool.name: 2 * len(question & keywords(tool.name, *tool.tags)) + len(question & keywords(tool.description))
        for tool in tools
    }
    best = max(scores.values(), default=0)
    # A tool whose own name was said is meant, whatever else fits better.
    found = [
        tool
        for tool in tools
        if scores[tool.name] and (scores[tool.name] * 2 > best or keywords(tool.name) <= question) and fill(tool, text)
    ]
    return sorted(found, key=lambda tool: (-scores[tool.name], tool.name))[:MOST_TOOLS]


def _peers(peers: Sequence[Peer], question: frozenset[str], about_self: str, *, first: bool, tools: bool) -> list[Peer]:
    scores = {peer.id: score(peer, question) for peer in peers}
    own = 0 if first else len(question & keywords(about_self))
    best = max(scores.values(), default=0)
    found = [
        peer
        for peer in peers
        if scores[peer.id] * 3 >= best
        and (len(question & _about(peer)) > own or (scores[peer.id] and not peer.calls_back))
    ]
    if not found and not tools:
        found = [peer for peer in peers if first or not peer.calls_back]
    return sorted(found, key=lambda peer: -scores[peer.id])[:MOST_PEERS]


def score(peer: Peer, question: frozenset[str]) -> int:
    """How many words of a question stand on a peer's card; those of its name and tags count twice."""
    return len(question & _about(peer)) + len(question & _headline(peer))


def _about(peer: Peer) -> frozenset[str]:
    texts = [peer.description]
    for skill in peer.skills:
        texts += [str(skill.get(key, "")) for key in ("id", "name", "description")]
    return keywords(*texts) | _headline(peer)


def _headline(peer: Peer) -> frozenset[str]:
    """What it is called, and the tags of its skills: they count twice."""
    return keywords(peer.id, peer.name, *(tag for tag in _tags(peer) if not tag.startswith(AFTER_TAG)))


def _tags(peer: Peer) -> list[str]:
    return [str(tag) for skill in peer.skills for tag in skill.get("tags", ())]


def _order(prompt: str, tools: Sequence[Tool], peers: Sequence[Peer]) -> dict[str, frozenset[str]]:
    """What each has to wait for: `after` of tools, tags of skills, and words such as `B after A`, `first A, then B`."""
    called = {tool.name: {tool.name, tool.name.replace("_", " ")} for tool in tools}
    called |= {peer.id: {peer.id, peer.id.replace("_", " ").replace("-", " "), peer.name} for peer in peers}
    found: dict[str, set[str]] = {name: set() for name in called}
    for tool in tools:
        found[tool.name] |= set(tool.after) | _said_after(tool.description, called)
    for peer in peers:
        tagged = {tag.removeprefix(AFTER_TAG).strip() for tag in _tags(peer) if tag.startswith(AFTER_TAG)}
        found[peer.id] |= tagged | _said_after(peer.description, called)
    for name, needed in _told(prompt, called).items():
        found[name] |= needed
    return {name: frozenset(needed & set(called) - {name}) for name, needed in found.items()}


def _said_after(text: str, called: Mapping[str, Collection[str]]) -> set[str]:
    """The names in `… after the searcher and the linter`, up to the end of the clause."""
    found: set[str] = set()
    for clause in re.findall(r"\bafter\b([^.;:\n]*)", text, re.IGNORECASE):
        found |= set(_mentions(clause.partition(", ask")[0], called))
    return found


def _told(prompt: str, called: Mapping[str, Collection[str]]) -> dict[str, set[str]]:
    """The order that a prompt gives: `first A, then B and C, then D`; `ask B after A`; `after A, ask B`."""
    found: dict[str, set[str]] = {}
    for sentence in re.split(r"(?<=[.!?])\s+|\n\s*\n", prompt):
        steps = [_mentions(part, called) for part in re.split(r"\b(?:and )?(?:then|finally|next)\b", sentence)]
        steps = [step for step in steps if step]
        for before, behind in pairwise(steps):
            for name in behind:
                found.setdefault(name, set()).update(set(before) - set(behind))
        if match := re.match(r"\s*after\b([^,]*),(.*)", sentence, re.IGNORECASE | re.DOTALL):
            needed, those = match[1], match[2]
        elif match := re.match(r"(.*?)\bafter\b(.*)", sentence, re.IGNORECASE | re.DOTALL):
            those, needed = match[1], match[2]
        else:
            continue
        for name in _mentions(those, called):
            found.setdefault(name, set()).update(_mentions(needed, called))
    return found


def _mentions(text: str, called: Mapping[str, Collection[str]]) -> list[str]:
    said = f" {' '.join(words(text))} "
    return [
        name
        for name, names in called.items()
        if any(f" {' '.join(words(each))} " in said for each in names if words(each))
    ]


def _with_needed(names: Sequence[str], order: Mapping[str, frozenset[str]]) -> set[str]:
    found: set[str] = set()
    waiting = list(names)
    while waiting:
        name = waiting.pop()
        if name not in found:
            found.add(name)
            waiting += order.get(name, ())
    return found


def _without_rings(choices: Sequence[Choice]) -> list[Choice]:
    """The same, where nobody waits for himself by way of others: what closes a ring doesn't count."""
    kept: dict[str, frozenset[str]] = {}
    for item in choices:
        kept[item.name] = frozenset(name for name in item.after if item.name not in _with_needed([name], kept))
    return [replace(item, after=kept[item.name]) for item in choices]


def wants_list(text: str) -> bool:
    """Whether somebody asks who is there to be asked."""
    return bool(
        re.search(r"\b(?:which|what|list|who|show)\b.*\b(?:agents|peers|colleagues|team members)\b", text.lower())
    )

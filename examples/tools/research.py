"""Tools of the research team: a small library of notes on studies about automation, AI and work.

    search_library("How does AI affect wages?")    the sources that fit, each with its most fitting sentence
    read_source("imf-2024")                        one note in full
    summarize_source("imf-2024", "wages")          its most relevant sentences
    check_claim("47% of US jobs are at high risk") supported, contradicted or unclear, with the sentences that say so
    cite("… [imf-2024] …")                         the list of references; tells which citations lead nowhere

Everything is computed from `library/`: no network, no model. Every result has a `summary` in which each statement
ends with the citation of its source, `[id]`. The notes are sample data; see `library/LICENSE`.
"""

from __future__ import annotations

import functools
import math
import re
import textwrap
from collections import Counter
from typing import Annotated, Any, Literal

from pydantic import Field

from .claims import Comparison, compare, numbers, stems
from .sources import Passage, Source, library, sentences

Verdict = Literal["supported", "contradicted", "unclear"]
Id = Annotated[
    str,
    Field(description="The id of a source, as in its citation; a text with several citations names them all."),
]


def search_library(
    query: Annotated[str, Field(description="A question or some words.", examples=["effect of AI on wages"])],
    limit: Annotated[int, Field(ge=1, le=20, description="How many sources at most.")] = 5,
) -> dict[str, Any]:
    """Search the library of studies about automation, artificial intelligence and work.

    Gives the best sources with id, title, authors, year, and the sentence of each that fits best.
    """
    hits = library().search(query, limit)
    results = [
        _described(hit.source) | {"passage": f"{hit.passage} {hit.source.citation}", "score": round(hit.score, 2)}
        for hit in hits
    ]
    if not hits:
        summary = f"The library has nothing about: {textwrap.shorten(query, 80)}"
    else:
        summary = "\n".join(f"- {hit.passage} {hit.source.citation}" for hit in hits)
    return {"query": query, "count": len(results), "results": results, "summary": summary}


def read_source(source: Id) -> dict[str, Any]:
    """Read one source of the library in full: who wrote it, when, and what it says."""
    found = _named(source)[0]
    return _described(found) | {
        "reference": found.reference,
        "text": found.text,
        "summary": f"{found.text}\n\n{found.reference}",
    }


def summarize_source(
    source: Id,
    question: Annotated[str, Field(description="What the summary is for; empty: what the source is about.")] = "",
    limit: Annotated[int, Field(ge=1, le=10, description="How many sentences of each source.")] = 3,
) -> dict[str, Any]:
    """Summarize sources of the library: the sentences of each that matter most for a question, with citations."""
    found = _named(source)
    points = {note.id: [f"{text} {note.citation}" for text in _most_relevant(note, question, limit)] for note in found}
    return {
        "sources": [_described(note) | {"points": points[note.id]} for note in found],
        "summary": "\n".join(f"- {point}" for note in found for point in points[note.id]),
    }


def check_claim(
    claim: Annotated[
        str,
        Field(description="One statement to verify.", examples=["47 percent of US employment is at high risk"]),
    ],
) -> dict[str, Any]:
    """Verify a claim against the library: supported, contradicted or unclear, with the sentences that say so.

    Figures are compared with their units. A citation in the claim is looked at first.
    """
    bare = _without_citations(claim)
    cited = library().named(claim)
    findings = _evidence(bare, cited)
    best = {
        relation: max((item.overlap for _, item in findings if item.relation == relation), default=0.0)
        for relation in ("supports", "contradicts")
    }
    verdict: Verdict = "unclear"
    if best["supports"] and best["supports"] >= best["contradicts"] - 0.15:
        verdict = "supported"
    elif best["contradicts"]:
        verdict = "contradicted"
    supporting = [_shown(passage, item) for passage, item in findings if item.relation == "supports"][:3]
    contradicting = [
        _shown(passage, item)
        for passage, item in findings
        # Beside a sentence that supports the claim, only what is as near to it.
        if item.relation == "contradicts" and (verdict != "supported" or item.overlap >= best["supports"] - 0.1)
    ][:3]
    related = [_shown(passage, item) for passage, item in findings if item.relation == "neither"][:2]
    result: dict[str, Any] = {
        "claim": bare,
        "verdict": verdict,
        "supporting": supporting,
        "contradicting": contradicting,
    }
    if verdict == "unclear":
        result["related"] = related
    shown = {"supported": supporting, "contradicted": contradicting, "unclear": related}[verdict]
    result["summary"] = f"{verdict.capitalize()}: {bare}"
    if shown:
        result["summary"] += f" — {shown[0]['sentence']} ({shown[0]['why']})"
    if verdict == "supported" and contradicting:
        result["summary"] += f" Compare: {contradicting[0]['sentence']}"
    return result


def check_claims(
    text: Annotated[str, Field(description="A text; each of its sentences that states something is checked.")],
    limit: Annotated[int, Field(ge=1, le=30, description="How many claims at most.")] = 12,
) -> dict[str, Any]:
    """Verify every claim of a text, sentence by sentence, against the library; says how many hold."""
    claims = [sentence for sentence in _claims(text) if len(stems(_without_citations(sentence))) >= 2]
    checked = [check_claim(claim) for claim in claims[:limit]]
    counts = Counter(item["verdict"] for item in checked)
    parts = ", ".join(f"{counts[word]} {word}" for word in ("supported", "contradicted", "unclear"))
    lines = "".join(f"\n- {item['summary']}" for item in checked)
    return {
        "claims": [{key: item[key] for key in ("claim", "verdict", "supporting", "contradicting")} for item in checked],
        "counts": {word: counts[word] for word in ("supported", "contradicted", "unclear")},
        "left_out": max(0, len(claims) - limit),
        "summary": f"{len(checked)} claims checked: {parts}.{lines}"
        if checked
        else "The text states nothing to check.",
    }


def cite(
    text: Annotated[
        str,
        Field(
            description="Ids of sources separated by commas, or a text with citations.",
            examples=["imf-2024, pew-2023", "Wages fell [acemoglu-restrepo-2020]."],
        ),
    ],
) -> dict[str, Any]:
    """The list of references for the citations in a text, and which of them lead to no source."""
    found = library().named(text)
    unknown = [id for id in _cited_ids(text) if id not in library().sources]
    summary = "\n".join(source.reference for source in found) or "No source is cited."
    if unknown:
        summary += f"\nNo such source: {', '.join(f'[{id}]' for id in unknown)}"
    return {
        "references": [{"id": source.id, "reference": source.reference} for source in found],
        "unknown": unknown,
        "summary": summary,
    }


def _described(source: Source) -> dict[str, Any]:
    return {
        "id": source.id,
        "citation": source.citation,
        "title": source.title,
        "authors": source.authors,
        "year": source.year,
        "publisher": source.publisher,
    }


def _named(text: str) -> list[Source]:
    """The sources that `text` names. Raises ValueError with ids that are near."""
    if found := library().named(text):
        return found
    near = library().nearest_ids(text)
    hint = f"did you mean {', '.join(near)}?" if near else f"for example {', '.join(list(library().sources)[:3])}"
    raise ValueError(f"no source with the id {textwrap.shorten(text, 60)!r}; {hint}")


def _most_relevant(source: Source, question: str, limit: int) -> list[str]:
    """The sentences that share most with the question (or with the source's title and topics), in their order."""
    wanted = set(stems(question)) or set(stems(" ".join((source.title, *source.topics))))
    weights = _weights()
    scores = []
    for number, text in enumerate(source.sentences):
        shared = sum(weights.get(word, 1.0) for word in stems(text) if word in wanted)
        # Findings have figures and stand at the beginning of a paragraph more often than not.
        scores.append((shared + 1.0 * bool(numbers(text)) + 0.5 * (number == 0), -number))
    best = sorted(scores, reverse=True)[:limit]
    return [source.sentences[number] for number in sorted(-position for _, position in best)]


def _evidence(claim: str, cited: list[Source]) -> list[tuple[Passage, Comparison]]:
    """The sentences that speak of a claim, the nearest first; those of a cited source come before the others."""
    candidates = [passage for passage, _ in library().passages(claim, 40)]
    compared = [
        (passage, compare(claim, passage.text, _weights(), " ".join((passage.source.title, *passage.source.topics))))
        for passage in candidates
    ]
    near = [(passage, item) for passage, item in compared if item.overlap >= 0.4]
    if any(passage.source in cited for passage, item in near if item.relation != "neither"):
        near = [(passage, item) for passage, item in near if passage.source in cited]
    return sorted(near, key=lambda pair: -pair[1].overlap)


@functools.cache
def _weights() -> dict[str, float]:
    """How rare each stem is among the sentences of the library; from about 1 to 6."""
    texts = [set(stems(text)) for source in library().sources.values() for text in source.sentences]
    counts = Counter(word for text in texts for word in text)
    return {word: math.log(1 + len(texts) / count) for word, count in counts.items()}


def _shown(passage: Passage, comparison: Comparison) -> dict[str, Any]:
    return {
        "source": passage.source.id,
        "sentence": f"{passage.text} {passage.source.citation}",
        "why": comparison.reason,
    }


_CITATION = re.compile(r"\s*\[([a-z0-9]+(?:-[a-z0-9]+)+)\]")


def _cited_ids(text: str) -> list[str]:
    """What stands in brackets and looks like an id; without brackets, what a list of ids holds."""
    found = _CITATION.findall(text)
    if not found and "[" not in text:
        found = [part for part in re.split(r"[,;\s]+", text.strip()) if re.fullmatch(r"[a-z0-9]+(?:-[a-z0-9]+)+", part)]
    return list(dict.fromkeys(found))


def _without_citations(text: str) -> str:
    return re.sub(r"\s+", " ", _CITATION.sub("", text)).strip()


def _claims(text: str) -> list[str]:
    """The sentences of a text, each with the citations behind its full stop; questions and titles are not claims."""
    moved = re.sub(r"([.!?])((?:\s*\[[a-z0-9-]+\])+)", r"\2\1", text)  # `… jobs. [pew-2023]` → `… jobs [pew-2023].`
    return [sentence for sentence in sentences(moved) if sentence.rstrip().endswith((".", "!"))]

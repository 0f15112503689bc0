"""Search, summaries, claims and citations over the bundled library."""

from __future__ import annotations

import re
from concurrent.futures import ThreadPoolExecutor

import pytest

from examples.tools.research import check_claim, check_claims, cite, read_source, search_library, summarize_source
from examples.tools.sources import FOLDER, library, sentences

QUESTION = "Research the impact of AI on employment, verify claims, produce a cited report"


def test_every_note_is_a_source() -> None:
    assert set(library().sources) == {path.stem for path in FOLDER.glob("*.md")}
    assert all(len(source.sentences) >= 3 and source.year > 2000 for source in library().sources.values())


@pytest.mark.parametrize(
    ("question", "expected"),
    [
        ("Did bank tellers disappear because of ATMs?", "bessen-2015"),
        ("What did robots do to wages in the US?", "acemoglu-restrepo-2020"),
        ("how much faster are programmers with Copilot", "peng-2023"),
        ("Which share of work in Denmark is affected by chatbots?", "humlum-2025"),
        ("GDP growth from generative AI, Goldman Sachs", "goldman-2023"),
        ("freelancers' earnings", "hui-2024"),
        ("Frey and Osborne", "frey-osborne-2013"),
    ],
)
def test_a_question_finds_its_source_first(question: str, expected: str) -> None:
    found = search_library(question)
    assert found["results"][0]["id"] == expected
    assert found["results"][0]["passage"].endswith(f"[{expected}]")
    scores = [item["score"] for item in found["results"]]
    assert scores == sorted(scores, reverse=True) and scores[-1] > 0


def test_a_broad_question_finds_several_sources_whose_citations_resolve() -> None:
    found = search_library(QUESTION, limit=6)
    assert found["count"] == 6
    assert cite(found["summary"])["unknown"] == []
    assert len(cite(found["summary"])["references"]) == 6


@pytest.mark.parametrize("query", ["", "the of and", "xylophone", '") OR xx=yy --', "xyz AND (NOT * ^"])
def test_words_that_find_nothing_are_no_error(query: str) -> None:
    found = search_library(query)
    assert found["count"] == 0
    assert "nothing about" in found["summary"]


def test_a_source_in_full() -> None:
    found = read_source("[pew-2023]")
    assert found["year"] == 2023
    assert found["text"].startswith("In 2022, 19 percent of American workers")
    assert "\n\nThose with more education" in found["text"]
    assert found["reference"] == (
        "[pew-2023] Rakesh Kochhar (2023). Which U.S. Workers Are More Exposed to AI on Their Jobs?"
        " Pew Research Center."
    )
    with pytest.raises(ValueError, match="did you mean goldman-2023"):
        read_source("goldman")


def test_a_summary_answers_the_question_in_the_sources_own_sentences() -> None:
    found = summarize_source("imf-2024 and [pew-2023]", "women and education", limit=2)
    assert [source["id"] for source in found["sources"]] == ["imf-2024", "pew-2023"]
    assert any("Women and college-educated workers" in point for point in found["sources"][0]["points"])
    for source in found["sources"]:
        assert len(source["points"]) == 2
        for point in source["points"]:
            assert point.endswith(f" [{source['id']}]")
            assert point.removesuffix(f" [{source['id']}]") in library().sources[source["id"]].sentences


@pytest.mark.parametrize(
    ("claim", "verdict", "source"),
    [
        ("47 percent of US employment is at high risk of automation", "supported", "frey-osborne-2013"),
        ("9% of jobs are automatable across OECD countries", "supported", "oecd-arntz-2016"),
        ("30 percent of jobs in OECD countries are automatable", "contradicted", "oecd-nedelkoska-2018"),
        ("Robots reduced wages and employment", "supported", "acemoglu-restrepo-2020"),
        ("Robots increased wages in the US", "contradicted", "acemoglu-restrepo-2020"),
        ("Chatbots had no significant impact on earnings in Denmark", "supported", "humlum-2025"),
        ("Chatbots had a significant impact on earnings in Denmark", "contradicted", "humlum-2025"),
        ("AI raised the productivity of customer support agents by 14 percent", "supported", "brynjolfsson-2023"),
        ("AI raised the productivity of customer support agents by 50 percent", "contradicted", "brynjolfsson-2023"),
        ("Less than 30 percent of jobs in advanced economies are exposed to AI", "contradicted", "imf-2024"),
        ("More than 50 percent of jobs in advanced economies are exposed to AI", "supported", "imf-2024"),
        ("The number of bank tellers fell when ATMs spread", "contradicted", "bessen-2015"),
        ("300 million full-time jobs could be exposed to automation", "supported", "goldman-2023"),
        ("AI will eliminate 300 million jobs", "unclear", None),
        ("The moon is made of cheese", "unclear", None),
        ("It is so.", "unclear", None),
    ],
)
def test_verdicts(claim: str, verdict: str, source: str | None) -> None:
    found = check_claim(claim)
    assert found["verdict"] == verdict, found["summary"]
    evidence = {"supported": "supporting", "contradicted": "contradicting", "unclear": None}[verdict]
    if evidence:
        assert source in [item["source"] for item in found[evidence]]
        assert all(item["why"] for item in found[evidence])
    assert cite(found["summary"])["unknown"] == []


def test_a_cited_source_is_asked_first() -> None:
    found = check_claim("14 percent of jobs in OECD countries are automatable [oecd-arntz-2016].")
    assert found["verdict"] == "contradicted"
    assert {item["source"] for item in found["contradicting"]} == {"oecd-arntz-2016"}
    assert check_claim("14 percent of jobs in OECD countries are automatable")["verdict"] == "supported"


def test_a_text_is_checked_sentence_by_sentence() -> None:
    text = """# What AI does

    - Developers with an AI pair programmer were 55.8 percent faster [peng-2023].
    - Robots increased wages. [acemoglu-restrepo-2020]
    - The moon is made of cheese.
    Is that so?
    """
    found = check_claims(text)
    assert [item["verdict"] for item in found["claims"]] == ["supported", "contradicted", "unclear"]
    assert found["counts"] == {"supported": 1, "contradicted": 1, "unclear": 1}
    assert found["summary"].startswith("3 claims checked: 1 supported, 1 contradicted, 1 unclear.")


def test_what_the_library_says_itself_holds() -> None:
    summary = search_library(QUESTION, limit=8)["summary"]
    assert check_claims(summary)["counts"] == {"supported": 8, "contradicted": 0, "unclear": 0}


def test_references_in_the_order_of_the_text_and_what_leads_nowhere() -> None:
    found = cite("Jobs [pew-2023], more [imf-2024], again [pew-2023], and [nobody-1999].")
    assert [item["id"] for item in found["references"]] == ["pew-2023", "imf-2024"]
    assert found["unknown"] == ["nobody-1999"]
    assert "No such source: [nobody-1999]" in found["summary"]
    assert cite("imf-2024, other-2020")["unknown"] == ["other-2020"]
    assert cite("nothing")["summary"] == "No source is cited."


def test_from_many_threads() -> None:
    expected = search_library(QUESTION)
    with ThreadPoolExecutor(8) as pool:
        assert all(found == expected for found in pool.map(search_library, [QUESTION] * 40))


def test_sentences() -> None:
    text = "U.S. workers gained 0.66 percent. David H. Autor wrote it.\n\n- One\n- Two. Three?"
    assert sentences(text) == ["U.S. workers gained 0.66 percent.", "David H. Autor wrote it.", "One", "Two.", "Three?"]
    assert not [
        text for source in library().sources.values() for text in source.sentences if re.search(r"\s\s|\n", text)
    ]

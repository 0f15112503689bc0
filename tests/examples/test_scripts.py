"""The scripts do their work by themselves; text tools."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from examples.scripts import keywords
from examples.tools.text import readability, top_words, word_count

TEXT = "Robots build cars. Robots do not build houses. Cars need roads, and roads need people."


def run(root: Path, script: str, *arguments: str, text: str = "") -> subprocess.CompletedProcess[str]:
    path = root / "examples" / "scripts" / script
    # -I -S: nothing but the standard library.
    command = [sys.executable, "-I", "-S", str(path), *arguments]
    return subprocess.run(command, input=text, capture_output=True, text=True, timeout=60, check=False)


@pytest.mark.parametrize(
    ("question", "answer"),
    [
        ("What is 12 * (3 + 4)?", "12 * (3 + 4) = 84"),
        ("0.1 + 0.2", "0.1 + 0.2 = 0.3"),
        ("How much is 1,200 / 7?", "1200 / 7 = 171.428571429"),
        ("2^10 - 24", "2**10 - 24 = 1000"),
        ("In 2024 I had 3 cats; -7 // 2?", "-7 // 2 = -4"),
        ("Bridges need care. 12 * (3 + 4)", "12 * (3 + 4) = 84"),
        ("He was born in 1990. 2 + .5. That is all", "2 + .5 = 2.5"),
    ],
)
def test_the_calculator(root: Path, question: str, answer: str) -> None:
    for done in (run(root, "calculator.py", question), run(root, "calculator.py", text=question)):
        assert (done.returncode, done.stdout.strip(), done.stderr) == (0, answer, "")


@pytest.mark.parametrize("question", ["hello", "1 / 0", "9**9**9", "10**1000**2", ""])
def test_the_calculator_says_when_it_can_not(root: Path, question: str) -> None:
    done = run(root, "calculator.py", text=question)
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.startswith("can't calculate: ")
    assert len(done.stderr.splitlines()) == 1


def test_the_summary(root: Path) -> None:
    done = run(root, "summary.py", "--sentences", "1", text=TEXT)
    assert (done.returncode, done.stdout.strip()) == (0, "Robots build cars.")
    assert run(root, "summary.py", text=TEXT).stdout.strip() == TEXT
    assert run(root, "summary.py").returncode == 1


async def test_key_words() -> None:
    assert keywords.extract(TEXT) == "build, cars, need, roads, robots"
    assert keywords.extract("") == "no key words"
    lines = [line async for line in keywords.explain(TEXT)]
    assert lines[0] == "build: 2 times, first in sentence 1\n"
    assert len(lines) == 5


def test_counting() -> None:
    found = word_count(TEXT)
    assert (found["words"], found["sentences"], found["lines"]) == (15, 3, 1)
    assert word_count("")["words"] == 0
    assert [item["word"] for item in top_words(TEXT, 3)["words"]] == ["build", "cars", "need"]
    assert top_words("the of")["words"] == []


def test_readability() -> None:
    easy = readability("The cat sat. The dog ran. We had fun.")
    hard = readability("Organisational interdependencies necessitate comprehensive administrative reconsideration.")
    assert easy["reading_ease"] > 100 > 0 > hard["reading_ease"]
    assert (easy["level"], hard["level"]) == ("easy", "difficult")
    with pytest.raises(ValueError, match="no words"):
        readability("...")

"""Shortens a text to its most telling sentences: text on stdin (or as arguments), the answer on stdout.

python summary.py < article.txt
python summary.py --sentences 2 "A long text. …"
"""

import argparse
import re
import sys
from collections import Counter
from statistics import fmean


def main() -> int:
    parser = argparse.ArgumentParser(description="Shorten a text to its most telling sentences.")
    parser.add_argument("text", nargs="*", help="the text; else it is read from stdin")
    parser.add_argument("--sentences", type=int, default=3, help="how many to keep")
    given = parser.parse_args()
    text = " ".join(given.text) or sys.stdin.read()
    chosen = summarize(text, given.sentences)
    if not chosen:
        print("there is no text to shorten", file=sys.stderr)
        return 1
    print(" ".join(chosen))
    return 0


def summarize(text: str, count: int) -> list[str]:
    """The sentences whose words are the most frequent ones of the text, in their order."""
    sentences = [part.strip() for part in re.split(r"(?<=[.!?])\s+", text) if part.strip()]
    frequency = Counter(words(text))

    def weight(sentence: str) -> float:
        return fmean(frequency[word] for word in words(sentence)) if words(sentence) else 0.0

    ranked = sorted(range(len(sentences)), key=lambda number: (-weight(sentences[number]), number))
    return [sentences[number] for number in sorted(ranked[: max(count, 1)])]


def words(text: str) -> list[str]:
    return [word for word in re.findall(r"[a-z]+", text.lower()) if len(word) > 3]


if __name__ == "__main__":
    sys.exit(main())

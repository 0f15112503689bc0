"""Write the tables of docs/tracing.md from the vocabulary, its glossary and the metrics' instruments.

uv run scripts/trace_docs.py            write
uv run scripts/trace_docs.py --check    exit 1 when the page is not what would be written
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

from teamwright.tracing import glossary
from teamwright.tracing.metrics.instruments import INSTRUMENTS

PAGE = Path(__file__).resolve().parent.parent / "docs" / "tracing.md"
BEGIN = "<!-- written by scripts/trace_docs.py from src/tracing/glossary.py -->\n"


def tables() -> Iterator[str]:
    """The generated lines."""
    yield "## Spans"
    yield "| name begins with | kind | Phoenix | what it is | example |"
    yield "|---|---|---|---|---|"
    for name, (meaning, kind, shown, example) in glossary.SPANS.items():
        yield f"| `{name}` | {kind} | {shown} | {meaning} | `{example}` |"
    yield ""
    yield "## Attributes"
    yield "| attribute | what it is | example |"
    yield "|---|---|---|"
    for name, (meaning, example) in glossary.ATTRIBUTES.items():
        yield f"| `{name}` | {meaning} | `{example}` |"
    yield ""
    yield "## Events"
    yield "| event | what has happened | with it, for example |"
    yield "|---|---|---|"
    for name, (meaning, example) in glossary.EVENTS.items():
        yield f"| `{name}` | {meaning} | {f'`{example}`' if example else ''} |"
    yield ""
    yield "## Metric names"
    yield "| OTLP | unit | Prometheus | kind | what it is |"
    yield "|---|---|---|---|---|"
    for one in INSTRUMENTS.values():
        yield f"| `{one.name}` | `{one.unit}` | `{one.prometheus}` | {one.kind} | {one.help} |"


def page(text: str) -> str:
    """The page with its generated end renewed; what stands before the marker is written by hand."""
    return text.partition(BEGIN)[0] + BEGIN + "\n".join(tables()) + "\n"


def main() -> int:
    have = PAGE.read_text()
    wanted = page(have)
    if "--check" in sys.argv[1:]:
        if have != wanted:
            print("docs/tracing.md is not the vocabulary; run `uv run scripts/trace_docs.py`", file=sys.stderr)
        return int(have != wanted)
    PAGE.write_text(wanted)
    return 0


if __name__ == "__main__":
    sys.exit(main())

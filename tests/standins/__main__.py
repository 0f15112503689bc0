"""A model that says what a file tells it to, until it is ended: for trying the pages of docs/ without a key.

    uv run python -m tests.standins messages docs/evidence/replies.yaml --port 9901

Kinds: messages (Claude), generate (Gemini), chat (OpenAI, CrewAI). Its base URL is the first line it prints.
"""

from __future__ import annotations

import argparse
import signal
import sys
from pathlib import Path

from tests.standins.chat_completions import ChatCompletions
from tests.standins.generate_content import GenerateContent
from tests.standins.messages import Messages
from tests.standins.rules import Rules

KINDS = {"messages": Messages, "generate": GenerateContent, "chat": ChatCompletions}


def main() -> None:
    parser = argparse.ArgumentParser("tests.standins", description=__doc__)
    parser.add_argument("kind", choices=KINDS)
    parser.add_argument("rules", type=Path)
    parser.add_argument("--port", type=int, default=0)
    given = parser.parse_args()
    model = KINDS[given.kind]()
    model.port = given.port
    signals = (signal.SIGINT, signal.SIGTERM)
    signal.pthread_sigmask(signal.SIG_BLOCK, signals)
    with model:
        model.always(Rules.read(given.rules))
        sys.stdout.write(f"{model.url}\n")
        sys.stdout.flush()
        signal.sigwait(signals)


if __name__ == "__main__":
    main()

from __future__ import annotations

from typing import Any

import pytest

from teamwright.cli.live import Live


def piece(text: str, *, append: bool = True, artifact: str = "a") -> dict[str, Any]:
    part = {"artifactId": artifact, "parts": [{"text": text}]}
    return {"result": {"artifactUpdate": {"taskId": "t", "artifact": part, "append": append}}}


@pytest.mark.parametrize(
    ("replies", "answer", "written"),
    [
        ([piece("a", append=False), piece("b")], "ab", "ab\n"),
        ([], "at once", "at once\n"),
        ([piece("draft", append=False), piece("better", append=False)], "better", "draft\nbetter\n"),
        ([piece("a", append=False), piece("b", append=False, artifact="b")], "a\nb", "a\nb\n"),
        ([{"result": {"statusUpdate": {"status": {"message": {"parts": [{"text": "busy"}]}}}}}], "x", "x\n"),
    ],
)
def test_what_stands_on_the_terminal(replies: list[dict[str, Any]], answer: str, written: str) -> None:
    seen: list[str] = []
    live = Live(seen.append)
    for reply in replies:
        live.take(reply)
    live.end(answer)
    assert "".join(seen) == written


def test_an_answer_that_fails_ends_its_line() -> None:
    seen: list[str] = []
    live = Live(seen.append)
    live.stop()
    assert seen == []
    live.take(piece("half", append=False))
    live.stop()
    assert "".join(seen) == "half\n"

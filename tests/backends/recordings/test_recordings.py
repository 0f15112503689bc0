"""A recording: what is written and read back, what leaves it, and the words for a difference."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from teamwright.backends.recordings import folder
from teamwright.backends.recordings.drift import differences
from teamwright.backends.recordings.values import Asked, Call, Exchange, Inner, Message
from teamwright.backends.recordings.washing import Washing
from teamwright.errors import UserError

QUESTION = {"role": "user", "parts": [{"type": "text", "content": "Add."}]}
CALLS = {"role": "assistant", "parts": [{"type": "tool_call", "id": "c1", "name": "add", "arguments": {"a": 1}}]}


def message() -> Message:
    """One with everything in it."""
    nested = Inner("helper", "asked", "said", [Exchange(model="small", messages=[QUESTION])])
    call = Call("c1", "add", {"a": 1}, ran=True, result="1", steps=[nested])
    first = Exchange("big", "acme", 1, "You add.", [QUESTION], CALLS, tokens={"input_tokens": 0}, calls=[call])
    failed = Exchange(
        "big", messages=[QUESTION, CALLS], error={"reason": "rate_limited", "message": "slow"}, limited=True
    )
    asked = Asked("You add.", "Add.", "big", {"top_k": 0}, history=[{"role": "user", "text": "Hi"}])
    return Message(12.5, asked, [first, failed], answer={"text": "1", "data": {"sum": 1}})


def test_what_is_written_is_read_back(tmp_path: Path) -> None:
    path = folder.write(tmp_path, "adder", message().to_dict())
    again = folder.write(tmp_path, "adder", message().to_dict())
    assert [path.name, again.name] == ["0001.json", "0002.json"]
    assert [name for name, _ in folder.read(tmp_path, "adder")] == ["adder/0001.json", "adder/0002.json"]
    assert folder.read(tmp_path, "adder")[0][1] == message()
    assert folder.read(tmp_path, "nobody") == []
    assert sorted(item.name for item in (tmp_path / "adder").iterdir()) == ["0001.json", "0002.json"]
    # what the second exchange heard before is not written twice
    assert json.loads(path.read_text())["steps"][1]["exchange"]["messages"] == [CALLS]


def test_secrets_stay_out_and_folders_are_those_of_here() -> None:
    there = Washing(
        "/home/ann/job", {"HOME": "/home/ann"}, secrets={"MY_KEY": "abc123def"}, rules=[("customer", r"C-\d+")]
    )
    here = Washing("/srv/job", {"HOME": "/root"})
    kept = there.out(
        {"text": ["abc123def", "sk-0123456789abcdefXYZ C-77 a@example.org", "/home/ann/job/x, /home/ann/y"]}
    )
    assert kept == {"text": ["[MY_KEY]", "[redacted] [redacted: customer] a@example.org", "{job}/x, {home}/y"]}
    assert here.back(kept["text"][2]) == "/srv/job/x, /root/y"
    assert here.out(here.back(kept["text"][2])) == kept["text"][2]


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({}, None),
        ({"model": "other"}, ("model", "recorded “big”, now “other”")),
        ({"prompt": "You subtract."}, ("prompt", "recorded “You add.”, now “You subtract.”")),
        ({"model_options": {}}, ("model_options", 'recorded “{"top_k": 0}”, now “{}”')),
        ({"output_schema": {"type": "object"}}, ("output_schema", 'recorded “null”, now “{"type": "object"}”')),
        ({"history": []}, ("history", "recorded 1, now 0")),
        ({"history": [{"role": "agent", "text": "Hi"}]}, ("history 1", "recorded “user: Hi”, now “agent: Hi”")),
        ({"tools": [{"name": "x"}]}, ("tools.x", "recorded without it, now with it")),
        ({"files": [{"name": "a"}]}, ("files", "recorded 0, now 1")),
    ],
)
def test_the_first_difference(change: dict[str, object], named: tuple[str, str] | None) -> None:
    recorded = message().asked
    given = Asked(**{**{name: getattr(recorded, name) for name in Asked.__slots__}, **change})
    assert next(differences(recorded, 0.0, given, 1e9), None) == named


def test_a_long_text_is_shown_where_it_differs() -> None:
    one = Asked(prompt=f"{'a' * 500} red {'b' * 500}")
    other = Asked(prompt=f"{'a' * 500} blue {'b' * 500}")
    ((_, what),) = differences(one, 0.0, other, 0.0)
    assert what.startswith(f"recorded “…{'a' * 23} red bbb") and f"now “…{'a' * 23} blue bbb" in what
    assert len(what) < 250


def test_a_folder_is_begun_once(tmp_path: Path) -> None:
    place = tmp_path / "new" / "recording"
    folder.begin(place, "job", ["a"], "2026-11-21")
    with pytest.raises(UserError, match="is not empty"):
        folder.begin(place, "job", ["a"], "2026-11-21")
    with pytest.raises(UserError, match="nothing was asked"):
        folder.check(place, "job")
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match="can't be written"):
        folder.begin(tmp_path / "file" / "below", "job", ["a"], "2026-11-21")

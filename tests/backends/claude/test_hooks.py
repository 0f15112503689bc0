"""Every hook that we ask the SDK for is fired by the real CLI, and feeds what docs/what-a-trace-shows.md says."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any, get_args

import pytest

from tests.backends.claude.conftest import MODEL, Opened, add, by_name
from tests.standins.messages import Messages
from tests.standins.script import Call, Reply, Seen, Tokens

pytest.importorskip("claude_agent_sdk")
_KINDS = ("Message", "Block", "Event")


@pytest.fixture
def fired(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The names of the hooks as they come."""
    from teamwright.backends.claude.exchange import Exchange

    names: list[str] = []
    before = Exchange._hook

    def hook(self: Any, hook: Any) -> None:
        names.append(hook.name)
        return before(self, hook)

    monkeypatch.setattr(Exchange, "_hook", hook)
    return names


def test_the_sdk_has_no_hook_that_we_have_not_heard_of() -> None:
    from claude_agent_sdk.types import HookEvent

    from teamwright.backends.claude.connection import HOOKS

    known = {name for literal in get_args(HookEvent) for name in (get_args(literal) or (literal,))}
    # permissions are decided by rules (`dontAsk`), and nobody sits at a terminal to be notified
    assert known - set(HOOKS) == {"Notification", "PermissionRequest"}
    assert set(HOOKS) - known == {"PostToolBatch", "PostCompact"}  # the CLI's, not yet in the SDK's list


def test_the_page_names_every_hook_message_and_block() -> None:
    from claude_agent_sdk import types

    page = (Path(__file__).resolve().parents[3] / "docs" / "what-a-trace-shows.md").read_text()
    hooks = {name for literal in get_args(types.HookEvent) for name in (get_args(literal) or (literal,))}
    kinds = {name for name, kind in vars(types).items() if isinstance(kind, type) and name.endswith(_KINDS)}
    assert len(hooks) >= 10 and len(kinds) >= 18
    assert [name for name in sorted(hooks | kinds) if f"`{name}`" not in page] == []


async def test_each_hook_fires_and_nothing_is_told_twice(
    api: Messages, opened: Opened, fake_turn: Any, spans: Any, tracer: Any, fired: list[str], tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    from teamwright.backends.claude.connection import HOOKS

    monkeypatch.setenv("CLAUDE_CODE_AUTO_COMPACT_WINDOW", "100000")
    (tmp_path / "note.txt").write_text("a note")

    def script(seen: Seen) -> Reply:
        if "summary" in seen.user:
            return Reply("SUMMARY")
        if seen.user == "and now":
            return Reply("after")
        if seen.user == "look around":
            return Reply("seen")
        if seen.results:
            return Reply("done", tokens=Tokens(190_000, 5, 0))
        task = {"description": "look", "prompt": "look around", "subagent_type": "general-purpose"}
        read = [Call("Read", {"file_path": str(tmp_path / name)}) for name in ("note.txt", "nothing.txt")]
        return Reply(calls=[Call("add", {"a": 1, "b": 2}), *read, Call("Agent", task)])

    api.always(script)
    async with opened(options={"builtin_tools": ["Read", "Agent"], "cwd": str(tmp_path)}) as backend:
        for text in ("go", "and now"):
            with tracer.span("agent"):
                await backend.run(fake_turn(text, tools=[add()]))
    api.say()
    assert set(fired) == set(HOOKS)
    found = by_name(spans)
    first, second = [[event.name for event in span.events] for _, span in found["agent"]]
    assert (first, second) == (["taken up", "through"], ["taken up", "compaction", "through"])
    assert fired.count("PreToolUse") == 4
    assert fired.count("PreCompact") == fired.count("PostCompact") == 1
    shortened = [values for values, _ in found[f"chat {MODEL}"] if values.get("teamwright.reason") == "compaction"]
    assert len(shortened) == 1 and "SUMMARY" in shortened[0]["gen_ai.output.messages"]
    tools = [(name, span.status.code) for name, made in found.items() for _, span in made if "execute_tool" in name]
    assert sorted(tools) == [
        ("execute_tool Agent", 0), ("execute_tool Read", 0), ("execute_tool Read", 2), ("execute_tool add", 0),
    ]  # fmt: skip
    assert len(found["invoke_agent general-purpose"]) == 1


async def test_an_account_near_its_limit(
    api: Messages, opened: Opened, fake_turn: Any, spans: Any, tracer: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """RateLimitEvent: the CLI makes it of the API's headers, for accounts that are logged in."""
    monkeypatch.delenv("ANTHROPIC_API_KEY")
    monkeypatch.setenv("CLAUDE_CODE_OAUTH_TOKEN", "sk-ant-oat01-login")
    reset = str(int(time.time()) + 3600)
    about = {
        "status": "allowed_warning", "reset": reset, "representative-claim": "five_hour", "5h-utilization": "0.95",
        "5h-reset": reset, "5h-surpassed-threshold": "0.9",
    }  # fmt: skip
    api.say(Reply("ok", headers={f"anthropic-ratelimit-unified-{key}": value for key, value in about.items()}))
    async with opened(login=True) as backend:
        with tracer.span("agent"):
            assert (await backend.run(fake_turn("hi"))).text == "ok"
    ((_, agent),) = by_name(spans)["agent"]
    (event,) = [event for event in agent.events if event.name == "rate limit"]
    values = {item.key: item.value.string_value for item in event.attributes}
    assert values == {"teamwright.reason": "five_hour: allowed_warning, 95% used"}

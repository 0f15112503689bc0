"""Answers of a fixed shape from agents whose `run` is the user's."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, cast

import pytest

from teamwright import Agent, Answer, Turn
from teamwright.agents.a2a.card import build_card
from teamwright.agents.agent import answer_of
from teamwright.backends.structured import Unfit

TURN = cast(Turn, None)
SCHEMA: Mapping[str, Any] = {"type": "object", "properties": {"n": {"type": "integer"}}, "required": ["n"]}


class Counter(Agent):
    output_schema = SCHEMA

    async def run(self, turn: Turn) -> Any:
        return self.config["gives"]


@pytest.mark.parametrize("gives", [{"n": 3}, 'I count {"n": 3}.', Answer("three", data={"n": 3})])
async def test_its_data_fits(gives: Any) -> None:
    assert (await answer_of(Counter(gives=gives), TURN)).data == {"n": 3}


@pytest.mark.parametrize("gives", [{"n": "three"}, "three", None, Answer("three")])
async def test_what_does_not_fit_fails(gives: Any) -> None:
    with pytest.raises(Unfit, match="does not fit output_schema"):
        await answer_of(Counter(gives=gives), TURN)


def test_skills_say_on_the_card_what_they_need(team: Any) -> None:
    spec = team.spec("writer", skills=({"id": "w", "name": "W", "tags": ["text"], "after": ["searcher"]},))
    assert list(build_card(spec, Agent(), ()).skills[0].tags) == ["text", "after:searcher"]

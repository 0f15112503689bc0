"""The calculator as a tool."""

from __future__ import annotations

import pytest

from examples.tools.arithmetic import calculate


def test_the_calculation_in_a_text() -> None:
    assert calculate("Calculate 12 * (3 + 4), please")["summary"] == "12 * (3 + 4) = 84"
    assert calculate("0.1 + 0.2")["value"] == "0.3"


@pytest.mark.parametrize(
    ("text", "why"), [("1 / 0", "division by zero"), ("hello", "no calculation"), ("9 ** 99999", "3,000")]
)
def test_what_can_not_be_calculated(text: str, why: str) -> None:
    with pytest.raises(ValueError, match=why):
        calculate(text)

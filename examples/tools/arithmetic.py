"""A calculator as a tool: exact fractions all the way, so 0.1 + 0.2 is 0.3.

calculate("What is 12 * (3 + 4)?")      the longest calculation in a text, and its value
"""

from __future__ import annotations

import ast
from typing import Annotated, Any

from pydantic import Field

from examples.scripts import calculator


def calculate(
    text: Annotated[str, Field(description="The calculation, or a text with one.", examples=["12 * (3 + 4)"])],
) -> dict[str, Any]:
    """Work out a calculation with numbers, + - * / // % ** and parentheses."""
    expression = calculator.find(text)
    try:
        value = calculator.shown(calculator.calculate(ast.parse(expression, mode="eval").body))
    except ZeroDivisionError:
        raise ValueError("division by zero") from None
    return {"expression": expression, "value": value, "summary": f"{expression} = {value}"}

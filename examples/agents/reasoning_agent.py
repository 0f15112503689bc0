"""An agent that follows a question through six steps, each of which needs what the one before found.

    find_fall("month")                                              the month whose sales fell most
    find_region("period=month before=2025-02 during=2025-03")       … in which region
    find_customer("period=… before=… during=… region=…")            … of which customer
    find_product(…)                                                 … with which product
    compare_prices_and_pieces(…)                                    … by fewer pieces or by lower prices
    explain_fall(…)                                                 what all this says of the fall

What is known so far is the trail: it is handed on from result to argument, and every step adds to it. A step reads
the trail, never an earlier call, so any model (and the offline rules) can work with it, in any number of sessions.
The figures are worked out from the orders in `examples/data`; a trail that doesn't lead there is an error.
"""

from __future__ import annotations

import csv
import re
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from decimal import Decimal
from itertools import pairwise
from typing import Annotated, Any, Literal

from pydantic import Field

from examples.tools.folders import BUNDLED
from examples.tools.orders import COLUMNS, faults, number, tidy
from teamwright import Agent, tool

Trail = Annotated[
    str,
    Field(
        description="The trail so far, word for word as the step before gave it.",
        examples=["period=month before=2025-02 during=2025-03"],
    ),
]
Order = Mapping[str, Any]
Found = dict[str, Any]

_TIME = ("period", "before", "during")
_STEP = re.compile(r"(\w+)=(\"[^\"]*\"|\S+)")


class ReasoningAgent(Agent):
    """Explains why sales fell, step by step, from the orders."""

    name = "Reasoning agent"
    prompt = (
        "You explain why sales fell. Follow the trail with your tools, one after the other: the fall, the region, the "
        "customer, the product, prices and pieces, the explanation. Give each tool the trail of the one before, word "
        "for word, and answer with the explanation and its figures."
    )
    skills = (
        {
            "id": "explain",
            "name": "Explain a fall",
            "description": "Why sales fell, down to the product",
            "tags": ["explain", "why", "sales", "fall"],
        },
    )

    def __init__(self, orders: str = "orders.csv", **config: Any) -> None:
        super().__init__(**config)
        self._orders = _read(orders)

    @tool(tags=["sales"])
    def find_fall(
        self, period: Annotated[Literal["month", "quarter"], Field(description="What is compared with what.")]
    ) -> Found:
        """Step 1: when sales fell most against the time before: in which month, or in which quarter."""
        sums = _sums(self._orders, period)
        falls = [(sums[during] - sums[before], before, during) for before, during in pairwise(sorted(sums))]
        change, before, during = min(falls)
        if change >= 0:
            raise ValueError(f"sales did not fall in any {period}")
        said = f"Sales fell most in {during}: {sums[during]} EUR after {sums[before]} EUR in {before} ({change})."
        return _found({"period": period, "before": before, "during": during}, said, change=change)

    @tool(after=["find_fall"])
    def find_region(self, trail: Trail) -> Found:
        """Step 2: the region in which sales fell most, in the time of the trail."""
        return self._narrow("region", trail, needs=_TIME)

    @tool(after=["find_region"])
    def find_customer(self, trail: Trail) -> Found:
        """Step 3: the customer whose orders fell most, in the region of the trail."""
        return self._narrow("customer", trail, needs=(*_TIME, "region"))

    @tool(after=["find_customer"])
    def find_product(self, trail: Trail) -> Found:
        """Step 4: the product of which the customer of the trail ordered less."""
        return self._narrow("product", trail, needs=(*_TIME, "region", "customer"))

    @tool(after=["find_product"])
    def compare_prices_and_pieces(self, trail: Trail) -> Found:
        """Step 5: whether it was fewer pieces or lower prices of the product at the end of the trail."""
        steps = _steps(trail, (*_TIME, "region", "customer", "product"))
        then, now = self._both(steps)
        pieces = sum(order["quantity"] for order in now) - sum(order["quantity"] for order in then)
        change = _amount(now) - _amount(then)
        by_pieces = round(pieces * _price(then or now), 2)
        cause = "pieces" if abs(by_pieces) >= abs(change - by_pieces) else "prices"
        said = f"{pieces:+} pieces come to {by_pieces:+} EUR, prices to {change - by_pieces:+} EUR: it was the {cause}."
        return _found({**steps, "cause": cause}, said, change=change)

    @tool(after=["compare_prices_and_pieces"], tags=["explain", "why", "sales", "fall"])
    def explain_fall(self, trail: Trail) -> Found:
        """Step 6: the explanation at the end of the trail, and how much of the fall it accounts for."""
        steps = _steps(trail, (*_TIME, "region", "customer", "product", "cause"))
        whole = self._change({key: steps[key] for key in _TIME})
        part = self._change(steps)
        share = round(100 * part / whole)
        said = (
            f"Sales fell by {-whole} EUR in {steps['during']}. The largest single reason: {steps['customer']} "
            f"({steps['region']}) and {steps['product']}, {part:+} EUR, {share} % of the fall, by {steps['cause']}."
        )
        return _found(steps, said, change=part)

    def _narrow(self, column: str, trail: str, *, needs: Sequence[str]) -> Found:
        steps = _steps(trail, needs)
        then, now = self._both(steps)
        before, after = _sums(then, column), _sums(now, column)
        change, value = min((after[key] - before[key], key) for key in {*before, *after})
        said = f"{column.capitalize()} {value}: {after[value]} EUR after {before[value]} EUR ({change:+})."
        return _found({**steps, column: value}, said, change=change)

    def _both(self, steps: Mapping[str, str]) -> tuple[list[Order], list[Order]]:
        """The orders that the trail leads to: those of the time before, those of its own."""
        fixed = {key: steps[key] for key in ("region", "customer", "product") if key in steps}
        found = [order for order in self._orders if all(order[key] == value for key, value in fixed.items())]
        then = [order for order in found if order[steps["period"]] == steps["before"]]
        now = [order for order in found if order[steps["period"]] == steps["during"]]
        if not then and not now:
            raise ValueError(f"the trail leads to no orders: {' '.join(f'{k}={v}' for k, v in steps.items())}")
        return then, now

    def _change(self, steps: Mapping[str, str]) -> Decimal:
        then, now = self._both(steps)
        return _amount(now) - _amount(then)


def _read(name: str) -> list[Order]:
    """The good orders of a file in `examples/data`, tidied, each once."""
    found: dict[tuple[str, ...], Order] = {}
    with (BUNDLED / name).open(encoding="utf-8", newline="") as file:
        for row in csv.DictReader(file):
            if None in row or None in row.values():
                continue
            values = {column: tidy(column, row[column]) for column in COLUMNS}
            if faults(values) or values["currency"] != "EUR":
                continue
            price = number(values["unit_price"]) or Decimal(0)
            pieces = int(values["quantity"])
            year, month = values["date"][:4], values["date"][5:7]
            when = {"month": f"{year}-{month}", "quarter": f"{year}-Q{(int(month) + 2) // 3}"}
            made = {**values, **when, "quantity": pieces, "amount": pieces * price}
            found.setdefault(tuple(values.values()), made)
    return list(found.values())


def _steps(trail: str, needs: Iterable[str]) -> dict[str, str]:
    """What a trail holds. Raises ValueError, in words for a model, when a step is missing."""
    steps = {key: value.strip('"') for key, value in _STEP.findall(trail)}
    if missing := [key for key in needs if key not in steps]:
        raise ValueError(
            f"the trail has no {', '.join(missing)}: call the steps in their order, each with the last trail"
        )
    return {key: steps[key] for key in needs}


def _found(steps: Mapping[str, str], said: str, *, change: Decimal) -> Found:
    trail = " ".join(f'{key}="{value}"' if " " in value else f"{key}={value}" for key, value in steps.items())
    return {"summary": said, "change_eur": float(change), "trail": trail}


def _sums(orders: Iterable[Order], column: str) -> defaultdict[str, Decimal]:
    sums: defaultdict[str, Decimal] = defaultdict(Decimal)
    for order in orders:
        sums[order[column]] += order["amount"]
    return sums


def _amount(orders: Sequence[Order]) -> Decimal:
    return sum((order["amount"] for order in orders), Decimal(0))


def _price(orders: Sequence[Order]) -> Decimal:
    """The average price of a piece."""
    return _amount(orders) / sum(order["quantity"] for order in orders)

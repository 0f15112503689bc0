"""One order: its columns tidied, its faults, and the totals of many."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from datetime import date, datetime
from decimal import Decimal, InvalidOperation
from typing import Any

COLUMNS = ("order_id", "date", "customer", "region", "product", "quantity", "unit_price", "currency")
REGIONS = ("North", "South", "East", "West")
CURRENCIES = ("EUR", "USD", "GBP")
_DATES = ("%Y-%m-%d", "%Y/%m/%d", "%d/%m/%Y", "%d.%m.%Y")


def _date(text: str) -> str:
    for form in _DATES:
        try:
            return datetime.strptime(text, form).date().isoformat()
        except ValueError:
            continue
    return text


def _price(text: str) -> str:
    bare = re.sub(r"^[€$£]\s*|\s*[€$£]$", "", text)
    found = number(re.sub(r"(?<=\d),(?=\d{3}\b)", "", bare))
    return text if found is None else f"{found:.2f}"


def _quantity(text: str) -> str:
    return str(int(text)) if re.fullmatch(r"[+-]?\d{1,9}", text) else text


def _name(text: str) -> str:
    return re.sub(r"\s+", " ", text)


def _capital(text: str) -> str:
    return _name(text).capitalize()


_TIDY: dict[str, Callable[[str], str]] = {
    "order_id": str.upper,
    "date": _date,
    "customer": _name,
    "region": _capital,
    "product": _capital,
    "quantity": _quantity,
    "unit_price": _price,
    "currency": str.upper,
}


def tidy(column: str, text: str) -> str:
    """The value of a column as it should be written; as it is when it can't be understood."""
    return _TIDY.get(column, str)(text.strip())


def number(text: str) -> Decimal | None:
    """A finite number, or None."""
    try:
        found = Decimal(text)
    except InvalidOperation:
        return None
    return found if found.is_finite() else None


def faults(values: Mapping[str, str]) -> list[str]:
    """What is wrong with a row; each reason begins with its column."""
    wrong = [f"{column} is missing" for column in COLUMNS if not values[column]]
    given = {column: values[column] for column in COLUMNS if values[column]}
    if "date" in given:
        try:
            date.fromisoformat(given["date"])
        except ValueError:
            wrong.append(f"date {given['date']!r} is not a date")
    if "quantity" in given and not re.fullmatch(r"-?\d+", given["quantity"]):
        wrong.append(f"quantity {given['quantity']!r} is not a whole number")
    elif "quantity" in given and int(given["quantity"]) < 1:
        wrong.append(f"quantity {given['quantity']} is not positive")
    if "unit_price" in given:
        price = number(given["unit_price"])
        if price is None:
            wrong.append(f"unit_price {given['unit_price']!r} is not a number")
        elif price <= 0:
            wrong.append(f"unit_price {given['unit_price']} is not positive")
    for column, known in (("region", REGIONS), ("currency", CURRENCIES)):
        if column in given and given[column] not in known:
            wrong.append(f"{column} {given[column]!r} is not one of {', '.join(known)}")
    return wrong


def totals(rows: Iterable[Mapping[str, str]], group_by: str) -> list[dict[str, Any]]:
    """Orders, pieces and amount for each group and currency, in alphabetical order."""
    sums: dict[tuple[str, str], list[Decimal]] = {}
    for row in rows:
        group = row["date"][:7] if group_by == "month" else row[group_by]
        found = sums.setdefault((group, row["currency"]), [Decimal(0)] * 3)
        for place, value in enumerate(("1", row["quantity"], row["amount"])):
            found[place] += Decimal(value)
    return [
        {"group": group, "currency": currency, "orders": int(count), "pieces": int(pieces), "amount": f"{amount:.2f}"}
        for (group, currency), (count, pieces, amount) in sorted(sums.items())
    ]

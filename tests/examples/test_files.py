"""The file pipeline on the bundled orders, and on files that are wrong."""

from __future__ import annotations

import csv
import json
from decimal import Decimal
from pathlib import Path

import pytest

from examples.tools.files import ingest, transform, validate, write
from examples.tools.folders import BUNDLED
from examples.tools.orders import tidy

HEAD = "order_id,date,customer,region,product,quantity,unit_price,currency\n"


def pipeline(question: str) -> dict[str, object]:
    """Each stage is told only what the stage before said."""
    said = question
    for stage in (ingest, transform, validate, write):
        result = stage(said)
        said = f"Here is what the stage before says: {result['summary']}"
    return result


def read(path: Path) -> list[dict[str, str]]:
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def test_every_row_of_the_bundled_orders_is_accounted_for(working_folder: Path) -> None:
    result = pipeline("Please process orders.csv")
    clean = read(working_folder / "out" / "orders.clean.csv")
    rejects = read(working_folder / "out" / "orders.rejects.csv")
    lines = [line for line in (BUNDLED / "orders.csv").read_text().splitlines()[1:] if line]
    assert len(clean) + len(rejects) == len(lines)
    assert (result["rows"], result["rejected"]) == (len(clean), len(rejects)) == (176, 20)
    assert result["files"] == ["out/orders.clean.csv", "out/orders.rejects.csv", "out/orders.totals.json"]
    originals = (BUNDLED / "orders.csv").read_text().splitlines()
    assert all(originals[int(row["line"]) - 1] == row["row"] for row in rejects)
    reasons = {int(row["line"]): row["reasons"] for row in rejects}
    assert reasons[47] == "6 fields, 8 expected"
    assert reasons[63] == "duplicate of line 14"
    assert reasons[67] == "date '2025-02-30' is not a date"
    assert reasons[103] == "order_id A1031 stands in line 32 already"
    assert reasons[180] == ("quantity -1 is not positive; region 'Nowhere' is not one of North, South, East, West")


def test_the_totals_are_those_of_the_clean_rows(working_folder: Path) -> None:
    result = pipeline("orders.csv")
    clean = read(working_folder / "out" / "orders.clean.csv")
    written = json.loads((working_folder / "out" / "orders.totals.json").read_text())
    assert written["totals"] == result["totals"]
    assert [item["group"] for item in written["totals"]] == ["East", "North", "South", "West"]
    for item in written["totals"]:
        rows = [row for row in clean if row["region"] == item["group"]]
        assert item["orders"] == len(rows)
        assert item["pieces"] == sum(int(row["quantity"]) for row in rows)
        assert Decimal(item["amount"]) == sum(int(row["quantity"]) * Decimal(row["unit_price"]) for row in rows)
    months = write("out/orders.3-validated.json", "month")["totals"]
    assert [item["group"] for item in months] == [f"2025-0{month}" for month in range(1, 7)]
    assert sum(item["orders"] for item in months) == len(clean)


@pytest.mark.parametrize(
    ("column", "text", "expected"),
    [
        ("region", " north ", "North"),
        ("date", "14/03/2025", "2025-03-14"),
        ("date", "2025/04/09", "2025-04-09"),
        ("date", "1.2.2025", "2025-02-01"),
        ("date", "30/02/2025", "30/02/2025"),
        ("unit_price", "1,290.00", "1290.00"),
        ("unit_price", "€34.5", "34.50"),
        ("unit_price", "n/a", "n/a"),
        ("unit_price", "NaN", "NaN"),
        ("quantity", " 012 ", "12"),
        ("quantity", "2.5", "2.5"),
        ("currency", "eur", "EUR"),
        ("customer", "  Leroy   SARL ", "Leroy SARL"),
        ("note", " as it is ", "as it is"),
    ],
)
def test_tidying(column: str, text: str, expected: str) -> None:
    assert tidy(column, text) == expected


def test_a_file_of_the_users_own(working_folder: Path) -> None:
    (working_folder / "data").mkdir()
    rows = "a1,2025-01-02,Müller,north,Desk,2,10.00,EUR\r\na2,2025-01-03,Ann,east,Desk,0,NaN,EUR\r\n"
    (working_folder / "data" / "my.csv").write_bytes(f"\ufeff{HEAD}{rows}".encode())
    first = ingest("data/my.csv", "results/today")
    assert first["batch"] == "results/today/my.1-ingested.json"
    result = write(validate(transform(first["batch"])["batch"])["batch"])
    assert (result["rows"], result["rejected"]) == (1, 1)
    (row,) = read(working_folder / "results/today/my.clean.csv")
    assert (row["customer"], row["amount"]) == ("Müller", "20.00")
    (reject,) = read(working_folder / "results/today/my.rejects.csv")
    assert reject["reasons"] == "quantity 0 is not positive; unit_price 'NaN' is not a number"


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "has no rows"),
        (HEAD.encode(), "has no rows"),
        (b"\xff\xfe\x00,b\n1,2\n", "not a CSV file in UTF-8"),
        (f'{HEAD}"open'.encode(), "not a CSV file in UTF-8"),
    ],
)
def test_a_file_that_is_no_csv(working_folder: Path, content: bytes, message: str) -> None:
    (working_folder / "bad.csv").write_bytes(content)
    with pytest.raises(ValueError, match=message):
        ingest("bad.csv")


def test_wrong_input_says_what_is_wrong(working_folder: Path) -> None:
    with pytest.raises(ValueError, match=r"no such CSV file: nothing\.csv"):
        ingest("nothing.csv")
    with pytest.raises(ValueError, match="files are written below that folder only"):
        ingest("orders.csv", "../elsewhere")
    (working_folder / "other.csv").write_text("a,b\n1,2\n")
    with pytest.raises(ValueError, match="has no column order_id, date"):
        transform(ingest("other.csv")["batch"])
    with pytest.raises(ValueError, match=r"no batch \*\.3-validated\.json is named in"):
        write(ingest("orders.csv")["batch"])

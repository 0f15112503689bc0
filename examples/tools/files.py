"""Tools of the file pipeline: a CSV of orders is read, tidied, checked, and written again with totals.

    ingest("orders.csv", "out")                  → out/orders.1-ingested.json
    transform("out/orders.1-ingested.json")      → out/orders.2-transformed.json
    validate("out/orders.2-transformed.json")    → out/orders.3-validated.json
    write("out/orders.3-validated.json")         → out/orders.clean.csv, .rejects.csv, .totals.json

Stages hand on the path of a batch, not its rows: a model can't be trusted to repeat hundreds of them. The `batch` of
the next stage may be that path or any text that names it, so the answer of one stage can be the message to the next.
A row that is no good leaves the batch with its line in the file and the reasons; nothing is dropped in silence.
Files are written below the working folder only.
"""

from __future__ import annotations

import csv
import json
import re
import textwrap
from collections import Counter
from collections.abc import Iterable
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field

from .folders import BUNDLED, find, inside, shown
from .orders import COLUMNS, faults, number, tidy, totals

BatchText = Annotated[
    str,
    Field(
        description="The batch that the stage before wrote: its path, or a text that names it.",
        examples=["out/orders.1-ingested.json"],
    ),
]
Batch = dict[str, Any]

MAX_BYTES = 10_000_000
MAX_ROWS = 100_000

_STAGES = ("ingested", "transformed", "validated")


def ingest(
    path: Annotated[
        str, Field(description="The CSV file, or a text that names it.", examples=["orders.csv", "data/orders.csv"])
    ],
    out: Annotated[str, Field(description="The folder for what the pipeline writes.")] = "out",
) -> Batch:
    """Read a CSV file of orders: the first stage. Rows with too few or too many fields are rejected."""
    source = _csv_in(path)
    if source.stat().st_size > MAX_BYTES:
        raise ValueError(f"{shown(source)} has {source.stat().st_size:,} bytes; the limit is {MAX_BYTES:,}")
    rows: list[dict[str, Any]] = []
    rejects: list[dict[str, Any]] = []
    try:
        with source.open(encoding="utf-8-sig", newline="") as file:
            reader = csv.reader(file, strict=True)
            columns = [column.strip() for column in next(reader, [])]
            for fields in reader:
                line = reader.line_num
                if len(rows) + len(rejects) >= MAX_ROWS:
                    raise ValueError(f"{shown(source)} has more than {MAX_ROWS:,} rows")
                if len(fields) == len(columns):
                    values = dict(zip(columns, fields, strict=True))
                    rows.append({"line": line, "row": ",".join(fields), "values": values})
                elif fields:  # an empty line is no row
                    rejects.append(_reject(line, [f"{len(fields)} fields, {len(columns)} expected"], ",".join(fields)))
    except (csv.Error, UnicodeDecodeError) as error:
        raise ValueError(f"{shown(source)} is not a CSV file in UTF-8: {error}") from None
    if not rows:
        raise ValueError(f"{shown(source)} has no rows")
    batch = {"stage": "ingested", "source": shown(source), "columns": columns, "rows": rows, "rejects": rejects}
    return _hand_on(batch, inside(out), source.stem, {})


def transform(batch: BatchText) -> Batch:
    """Tidy the rows of a batch: spaces, capitals, dates and numbers alike; amounts; exact duplicates are rejected.

    What can't be understood stays as it is: the next stage says what is wrong with it.
    """
    found, folder, stem = _load(batch, "ingested")
    if missing := [column for column in COLUMNS if column not in found["columns"]]:
        raise ValueError(f"{found['source']} has no column {', '.join(missing)}; it has {', '.join(found['columns'])}")
    kept: list[dict[str, Any]] = []
    seen: dict[tuple[str, ...], int] = {}
    changed = 0
    for row in found["rows"]:
        values = {column: tidy(column, value) for column, value in row["values"].items()}
        changed += values != row["values"]
        key = tuple(values.values())
        if key in seen:
            found["rejects"].append(_reject(row["line"], [f"duplicate of line {seen[key]}"], row["row"]))
            continue
        seen[key] = row["line"]
        quantity, price = number(values["quantity"]), number(values["unit_price"])
        amount = "" if quantity is None or price is None else f"{quantity * price:.2f}"
        kept.append(row | {"values": {**values, "amount": amount}})
    columns = [*found["columns"], "amount"]
    return _hand_on(
        found | {"stage": "transformed", "columns": columns, "rows": kept}, folder, stem, {"tidied": changed}
    )


def validate(batch: BatchText) -> Batch:
    """Check every row of a batch: required fields, dates, numbers, known regions and currencies, unique order ids.

    Faulty rows are rejected with all their reasons.
    """
    found, folder, stem = _load(batch, "transformed")
    kept: list[dict[str, Any]] = []
    seen: dict[str, int] = {}
    reasons: Counter[str] = Counter()
    for row in found["rows"]:
        values = row["values"]
        wrong = faults(values)
        order = values["order_id"]
        if order and order in seen:
            wrong.append(f"order_id {order} stands in line {seen[order]} already")
        elif order:
            seen[order] = row["line"]
        if wrong:
            reasons.update(reason.split(" ", 1)[0] for reason in wrong)
            found["rejects"].append(_reject(row["line"], wrong, row["row"]))
        else:
            kept.append(row)
    return _hand_on(found | {"stage": "validated", "rows": kept}, folder, stem, {"faults": dict(reasons.most_common())})


def write(
    batch: BatchText,
    group_by: Annotated[
        Literal["region", "product", "customer", "month"], Field(description="What the totals are for.")
    ] = "region",
) -> dict[str, Any]:
    """Write the result of the pipeline: the clean rows, the rejected ones with reasons, and totals for each group."""
    found, folder, stem = _load(batch, "validated")
    rows = [row["values"] for row in found["rows"]]
    rejects = sorted(found["rejects"], key=lambda item: item["line"])
    sums = totals(rows, group_by)
    files = {name: folder / f"{stem}.{name}" for name in ("clean.csv", "rejects.csv", "totals.json")}
    _write_csv(files["clean.csv"], found["columns"], ([row[name] for name in found["columns"]] for row in rows))
    lines = ([item["line"], "; ".join(item["reasons"]), item["row"]] for item in rejects)
    _write_csv(files["rejects.csv"], ["line", "reasons", "row"], lines)
    summary = {"source": found["source"], "rows": len(rows), "rejected": len(rejects), "totals": sums}
    files["totals.json"].write_text(json.dumps(summary, indent=2) + "\n", encoding="utf-8")
    listed = "; ".join(
        f"{item['group']}: {item['orders']} orders, {item['amount']} {item['currency']}" for item in sums
    )
    paths = [shown(path) for path in files.values()]
    return {
        "files": paths,
        "rows": len(rows),
        "rejected": len(rejects),
        "totals": sums,
        "summary": (
            f"written: {len(rows)} clean rows, {len(rejects)} rejected. Totals by {group_by}: {listed}."
            f" Files: {', '.join(paths)}"
        ),
    }


def _csv_in(text: str) -> Path:
    """The CSV file that `text` is or names; one of the bundled files when there is none. Raises ValueError."""
    words = re.findall(r"[^\s\"'`()<>]+\.csv\b", text, re.IGNORECASE)
    for name in (text.strip(), *words):
        for path in (find(name), BUNDLED / Path(name).name):
            if path is not None and path.suffix.casefold() == ".csv" and path.is_file():
                return path
    raise ValueError(f"no such CSV file: {textwrap.shorten(text, 80)}")


def _reject(line: int, reasons: list[str], row: str) -> dict[str, Any]:
    return {"line": line, "reasons": reasons, "row": row}


def _hand_on(batch: Batch, folder: Path, stem: str, more: dict[str, Any]) -> Batch:
    """Write a batch for the next stage, and say where it is and what happened."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{stem}.{_STAGES.index(batch['stage']) + 1}-{batch['stage']}.json"
    path.write_text(json.dumps(batch, ensure_ascii=False), encoding="utf-8")
    rows, rejected = len(batch["rows"]), len(batch["rejects"])
    said = f"{batch['stage']}: {rows} rows of {batch['source']}, {rejected} rejected so far. Batch: {shown(path)}"
    return {
        "stage": batch["stage"],
        "batch": shown(path),
        "rows": rows,
        "rejected": rejected,
        **more,
        "summary": said,
    }


def _load(text: str, stage: str) -> tuple[Batch, Path, str]:
    """The batch of a stage that `text` names, its folder, and the name its files begin with. Raises ValueError."""
    ending = f".{_STAGES.index(stage) + 1}-{stage}.json"
    names = re.findall(rf"[^\s\"'`()<>,]+{re.escape(ending)}", text)
    whole = [text.strip()] if text.strip().endswith(ending) else []  # a path with spaces
    for name in (*whole, *reversed(names)):
        if (path := find(name)) and path.is_file():
            folder = inside(str(path.parent))
            found: Batch = json.loads(path.read_text(encoding="utf-8"))
            return found, folder, path.name.removesuffix(ending)
    raise ValueError(f"no batch *{ending} is named in: {textwrap.shorten(text, 80)}")


def _write_csv(path: Path, columns: list[str], rows: Iterable[Iterable[Any]]) -> None:
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(columns)
        writer.writerows(rows)

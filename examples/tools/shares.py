"""Where the prices of shares come from, and what can be computed from a row of them."""

from __future__ import annotations

import csv
import functools
import math
import os
import re
import statistics
import textwrap
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import pairwise
from urllib.parse import quote

from .folders import BUNDLED
from .online import SAMPLE, fetch, wanted

SERVICE = "https://query1.finance.yahoo.com/v8/finance/chart"
TRADING_DAYS = 252  # a year


@dataclass(frozen=True)
class Series:
    """Closing prices of a share, oldest first."""

    symbol: str
    name: str
    currency: str
    dates: tuple[str, ...]
    closes: tuple[float, ...]
    source: str


@functools.cache
def companies() -> dict[str, dict[str, str]]:
    """The rows of `companies.csv` by symbol."""
    with (BUNDLED / "companies.csv").open(encoding="utf-8", newline="") as file:
        return {row["symbol"]: row for row in csv.DictReader(file)}


@functools.cache
def _prices() -> tuple[tuple[str, ...], dict[str, tuple[float, ...]]]:
    with (BUNDLED / "prices.csv").open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    dates = tuple(row["date"] for row in rows)
    return dates, {symbol: tuple(float(row[symbol]) for row in rows) for symbol in companies()}


def bundled(text: str) -> list[str]:
    """The symbols of the bundled companies that a text names, by symbol or name, in its order."""
    folded = text.casefold()
    places = {}
    for symbol, company in companies().items():
        names = (symbol, company["name"], company["name"].split()[0])
        found = [match.start() for name in names for match in re.finditer(rf"\b{name.casefold()}\b", folded)]
        if found:
            places[symbol] = min(found)
    return sorted(places, key=lambda symbol: places[symbol])


def series_of(text: str) -> Series:
    """The prices of the share that `text` names: a bundled company, else a live symbol. Raises ValueError."""
    if found := bundled(text):
        return sample(found[0])
    if wanted() and (words := re.findall(r"\b[A-Z][A-Z.]{0,9}\b", text) or text.split()[:1]):
        if series := _live(words[-1].upper()):
            return series
        raise ValueError(f"no live prices for {words[-1]!r}: unknown, or the service did not answer; {available()}")
    raise ValueError(f"no share {textwrap.shorten(text, 60)!r} in the bundled sample data; {available()}")


def available() -> str:
    """What can be asked for, for an error message."""
    names = ", ".join(f"{symbol} ({company['name']})" for symbol, company in companies().items())
    return f"bundled are {names}; EXAMPLES_ONLINE=1 asks for prices of real symbols"


def sample(symbol: str) -> Series:
    """The bundled prices of a bundled company."""
    dates, closes = _prices()
    return Series(symbol, companies()[symbol]["name"], "USD", dates, closes[symbol], SAMPLE)


def _live(symbol: str) -> Series | None:
    url = f"{os.environ.get('EXAMPLES_MARKET_URL') or SERVICE}/{quote(symbol, safe='')}"
    answer = fetch(url, {"range": "1y", "interval": "1d"})
    try:
        found = (answer or {})["chart"]["result"][0]
        meta, quotes = found["meta"], found["indicators"]["quote"][0]["close"]
        # A day without trade has no close.
        days = [(stamp, close) for stamp, close in zip(found["timestamp"], quotes, strict=True) if close]
        if len(days) < 2:
            return None
        dates = tuple(datetime.fromtimestamp(stamp, UTC).date().isoformat() for stamp, _ in days)
        closes = tuple(round(float(close), 4) for _, close in days)
        name = str(meta.get("longName") or symbol)
        return Series(symbol, name, str(meta.get("currency") or "USD"), dates, closes, "finance.yahoo.com")
    except (KeyError, IndexError, TypeError, ValueError):
        return None


def moving_average(closes: Sequence[float], days: int) -> float | None:
    """The mean of the last `days` closes; None when there are fewer."""
    return statistics.fmean(closes[-days:]) if len(closes) >= days else None


def volatility(closes: Sequence[float]) -> float:
    """The standard deviation of daily log returns, scaled to a year; 0 for fewer than three closes."""
    returns = [math.log(after / before) for before, after in pairwise(closes)]
    return statistics.stdev(returns) * math.sqrt(TRADING_DAYS) if len(returns) > 1 else 0.0


def max_drawdown(closes: Sequence[float]) -> float:
    """The largest fall from a peak to a later low, as a share of the peak: 0 or negative."""
    peak, worst = closes[0], 0.0
    for close in closes:
        peak = max(peak, close)
        worst = min(worst, close / peak - 1)
    return worst

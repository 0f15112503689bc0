"""Tools for shares: prices, indicators and ratios, computed from a bundled series or, for prices, from live data.

    stock_price("KITE")                     the last close and its change
    price_history("KITE", 30)               the last closes
    price_indicators("KITE", 250)           return, moving averages, volatility, drawdown
    financial_ratios("KITE")                P/E, P/B, margins, return on equity, debt
    compare("KITE, VOLT")                   all of that, side by side

The bundled companies are invented. `EXAMPLES_ONLINE=1` asks Yahoo Finance for the prices of real symbols; `source`
says where the prices come from.
"""

from __future__ import annotations

import re
import textwrap
from typing import Annotated, Any

from pydantic import Field

from .online import wanted
from .shares import Series, available, bundled, companies, max_drawdown, moving_average, sample, series_of, volatility

Symbol = Annotated[str, Field(description="The share: its ticker symbol or the company's name.", examples=["KITE"])]
Days = Annotated[int, Field(ge=1, le=260, description="How many trading days, the last one included.")]


def stock_price(symbol: Symbol) -> dict[str, Any]:
    """The last closing price of a share, and how it changed since the day before."""
    series = series_of(symbol)
    last, before = series.closes[-1], series.closes[-2]
    return _head(series) | {
        "date": series.dates[-1],
        "price": last,
        "change": round(last - before, 2),
        "change_percent": _percent(last / before - 1),
        "summary": (
            f"{series.name} ({series.symbol}) closed at {last:.2f} {series.currency} on {series.dates[-1]},"
            f" {last / before - 1:+.2%} on the day before ({series.source})."
        ),
    }


def price_history(symbol: Symbol, days: Days = 30) -> dict[str, Any]:
    """The closing prices of a share over the last trading days, with the highest and the lowest."""
    series = series_of(symbol)
    closes, dates = series.closes[-days:], series.dates[-days:]
    return _head(series) | {
        "prices": [{"date": date, "close": close} for date, close in zip(dates, closes, strict=True)],
        "highest": max(closes),
        "lowest": min(closes),
        "summary": (
            f"{series.name} ({series.symbol}), {len(closes)} days to {dates[-1]}: from {closes[0]:.2f} to"
            f" {closes[-1]:.2f} {series.currency}, highest {max(closes):.2f}, lowest {min(closes):.2f}"
            f" ({series.source})."
        ),
    }


def price_indicators(symbol: Symbol, days: Days = 250) -> dict[str, Any]:
    """Trend and risk of a share: return, moving averages of 20 and 50 days, yearly volatility, largest drawdown."""
    series = series_of(symbol)
    closes = series.closes[-days:]
    short, long = moving_average(series.closes, 20), moving_average(series.closes, 50)
    trend = "unknown"
    if short is not None and long is not None:
        trend = "upward" if closes[-1] > short > long else "downward" if closes[-1] < short < long else "sideways"
    measures = {
        "days": len(closes),
        "return_percent": _percent(closes[-1] / closes[0] - 1),
        "volatility_percent": _percent(volatility(closes)),
        "max_drawdown_percent": _percent(max_drawdown(closes)),
        "average_20": None if short is None else round(short, 2),
        "average_50": None if long is None else round(long, 2),
        "trend": trend,
    }
    averages = ", ".join(f"{size}-day average {value:.2f}" for size, value in ((20, short), (50, long)) if value)
    return _head(series) | {
        **measures,
        "summary": (
            f"{series.name} ({series.symbol}) over {len(closes)} days: return {closes[-1] / closes[0] - 1:+.1%},"
            f" volatility {volatility(closes):.1%} a year, largest drawdown {max_drawdown(closes):.1%},"
            f" {averages or 'too short for averages'}; trend {trend} ({series.source})."
        ),
    }


def financial_ratios(symbol: Symbol) -> dict[str, Any]:
    """Valuation, profitability and debt of a company: P/E, P/B, margins, return on equity, liquidity, dividend yield.

    From the bundled figures of the last business year and the last bundled price; only for the bundled companies.
    """
    found = bundled(symbol)
    if not found:
        raise ValueError(f"no business figures for {textwrap.shorten(symbol, 60)!r}; {available()}")
    company, series = companies()[found[0]], sample(found[0])
    name, sector = company["name"], company["sector"]
    figures = {key: float(value) for key, value in company.items() if key not in ("symbol", "name", "sector")}
    price = series.closes[-1]
    per_share = figures["net_income"] / figures["shares"]
    ratios = {
        "price_to_earnings": round(price / per_share, 2) if per_share > 0 else None,  # meaningless for a loss
        "price_to_book": round(price * figures["shares"] / figures["equity"], 2),
        "earnings_per_share": round(per_share, 2),
        "operating_margin_percent": _percent(figures["ebit"] / figures["revenue"]),
        "net_margin_percent": _percent(figures["net_income"] / figures["revenue"]),
        "return_on_equity_percent": _percent(figures["net_income"] / figures["equity"]),
        "return_on_assets_percent": _percent(figures["net_income"] / figures["total_assets"]),
        "debt_to_equity": round(figures["total_debt"] / figures["equity"], 2),
        "current_ratio": round(figures["current_assets"] / figures["current_liabilities"], 2),
        "dividend_yield_percent": _percent(figures["dividend_per_share"] / price),
    }
    multiple = ratios["price_to_earnings"]
    return _head(series) | {
        "sector": sector,
        "price": price,
        **ratios,
        "summary": (
            f"{name} ({series.symbol}, {sector}): P/E {_multiple(multiple)},"
            f" P/B {ratios['price_to_book']}, net margin {ratios['net_margin_percent']}%, return on equity"
            f" {ratios['return_on_equity_percent']}%, debt to equity {ratios['debt_to_equity']}, current ratio"
            f" {ratios['current_ratio']}, dividend yield {ratios['dividend_yield_percent']}% ({series.source})."
        ),
    }


def compare(
    symbols: Annotated[
        str, Field(description="The shares, separated by commas, or a text that names them.", examples=["KITE, VOLT"])
    ],
    days: Days = 250,
) -> dict[str, Any]:
    """Compare shares side by side: return, volatility, drawdown, P/E, return on equity, debt; who is best."""
    names = bundled(symbols)
    if wanted():
        known = {word.casefold() for name in names for word in (name, *companies()[name]["name"].split())}
        names += [word for word in re.findall(r"\b[A-Z][A-Z.]{0,9}\b", symbols) if word.casefold() not in known]
    if len(names) < 2:
        raise ValueError(f"two shares or more are needed, found {names or 'none'}; {available()}")
    keys = ("return_percent", "volatility_percent", "max_drawdown_percent")
    ratio_keys = ("price_to_earnings", "return_on_equity_percent", "debt_to_equity")
    rows: list[dict[str, Any]] = []
    for name in dict.fromkeys(names):
        indicators = price_indicators(name, days)
        ratios = financial_ratios(name) if name in companies() else {}
        row = {key: indicators[key] for key in ("symbol", "name", "source", *keys)}
        rows.append(row | {key: ratios.get(key) for key in ratio_keys})
    best = {}
    for key in (*keys, *ratio_keys):
        values = [(row[key], row["symbol"]) for row in rows if row[key] is not None]
        if values:
            highest = key in ("return_percent", "return_on_equity_percent", "max_drawdown_percent")  # drawdowns are < 0
            best[key] = (max if highest else min)(values)[1]
    lines = [
        f"- {row['symbol']}: return {row['return_percent']}%, volatility {row['volatility_percent']}%, drawdown"
        f" {row['max_drawdown_percent']}%, {_ratios(row)} ({row['source']})"
        for row in rows
    ]
    words = ", ".join(f"{key.removesuffix('_percent').replace('_', ' ')} {name}" for key, name in best.items())
    return {"companies": rows, "best": best, "summary": "\n".join([*lines, f"Best: {words}."])}


def _head(series: Series) -> dict[str, Any]:
    return {"symbol": series.symbol, "name": series.name, "currency": series.currency, "source": series.source}


def _percent(share: float) -> float:
    return round(share * 100, 2)


def _multiple(value: float | None) -> str:
    """A company that makes a loss has no price-earnings ratio."""
    return "none (loss)" if value is None else str(value)


def _ratios(row: dict[str, Any]) -> str:
    if row["debt_to_equity"] is None:
        return "no balance sheet"
    return (
        f"P/E {_multiple(row['price_to_earnings'])}, return on equity {row['return_on_equity_percent']}%,"
        f" debt to equity {row['debt_to_equity']}"
    )

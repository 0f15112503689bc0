"""Tools for the weather: bundled sample weather, or Open-Meteo with `EXAMPLES_ONLINE=1`; `source` says which.

current_weather("Paris")        temperature, condition, humidity, wind
forecast("Paris", 3)            the days from today on
"""

from __future__ import annotations

import csv
import functools
import os
from typing import Annotated, Any

from pydantic import Field

from .folders import BUNDLED
from .maps import City, city_of
from .online import SAMPLE, fetch

Place = Annotated[str, Field(description="The city.", examples=["Paris"])]

SERVICE = "https://api.open-meteo.com/v1/forecast"
_CONDITIONS = ((0, "sunny"), (2, "partly cloudy"), (3, "cloudy"), (48, "fog"), (57, "drizzle"), (61, "light rain"),
               (67, "rain"), (77, "snow"), (82, "rain"), (86, "snow"), (99, "thunderstorm"))  # fmt: skip


def current_weather(city: Place) -> dict[str, Any]:
    """The weather in a city now: condition, temperature in degrees Celsius, humidity, wind."""
    place = city_of(city)
    weather, source = _live_now(place), "open-meteo.com"
    if weather is None:
        today, source = _sample()[place.name][0], SAMPLE
        weather = {key: today[key] for key in ("condition", "temperature_c", "humidity_percent", "wind_kmh")}
    return {
        "city": place.name,
        "country": place.country,
        **weather,
        "source": source,
        "summary": (
            f"{place.name}: {weather['condition']}, {weather['temperature_c']} °C, humidity"
            f" {weather['humidity_percent']}%, wind {weather['wind_kmh']} km/h ({source})."
        ),
    }


def forecast(
    city: Place, days: Annotated[int, Field(ge=1, le=7, description="How many days, today included.")] = 3
) -> dict[str, Any]:
    """The weather in a city for the next days: condition, highest and lowest temperature, chance of rain."""
    place = city_of(city)
    found, source = _live_days(place, days), "open-meteo.com"
    if found is None:
        keys = ("day", "condition", "high_c", "low_c", "rain_chance_percent")
        found, source = [{key: day[key] for key in keys} for day in _sample()[place.name][:days]], SAMPLE
    lines = [
        f"day {day['day']}: {day['condition']}, {day['low_c']} to {day['high_c']} °C,"
        f" rain {day['rain_chance_percent']}%"
        for day in found
    ]
    return {
        "city": place.name,
        "country": place.country,
        "days": found,
        "source": source,
        "summary": f"{place.name}: {'; '.join(lines)} ({source}).",
    }


@functools.cache
def _sample() -> dict[str, list[dict[str, Any]]]:
    days: dict[str, list[dict[str, Any]]] = {}
    with (BUNDLED / "weather.csv").open(encoding="utf-8", newline="") as file:
        for row in csv.DictReader(file):
            text = ("city", "condition", "temperature_c")
            numbers = {key: int(value) for key, value in row.items() if key not in text}
            day = {"condition": row["condition"], "temperature_c": float(row["temperature_c"])} | numbers
            days.setdefault(row["city"], []).append(day)
    return days


def _service() -> str:
    return os.environ.get("EXAMPLES_WEATHER_URL") or SERVICE


def _live_now(city: City) -> dict[str, Any] | None:
    fields = "temperature_2m,relative_humidity_2m,wind_speed_10m,weather_code"
    answer = fetch(_service(), {"latitude": city.latitude, "longitude": city.longitude, "current": fields})
    try:
        now = (answer or {})["current"]
        return {
            "condition": _condition(now["weather_code"]),
            "temperature_c": now["temperature_2m"],
            "humidity_percent": now["relative_humidity_2m"],
            "wind_kmh": now["wind_speed_10m"],
        }
    except (KeyError, TypeError):
        return None


def _live_days(city: City, days: int) -> list[dict[str, Any]] | None:
    fields = "weather_code,temperature_2m_max,temperature_2m_min,precipitation_probability_max"
    place = {"latitude": city.latitude, "longitude": city.longitude}
    answer = fetch(_service(), place | {"daily": fields, "forecast_days": days, "timezone": "auto"})
    try:
        daily = (answer or {})["daily"]
        columns = zip(*(daily[field] for field in fields.split(",")), strict=True)
        return [
            {"day": day, "condition": _condition(code), "high_c": high, "low_c": low, "rain_chance_percent": rain}
            for day, (code, high, low, rain) in enumerate(columns, 1)
        ]
    except (KeyError, TypeError, ValueError):
        return None


def _condition(code: float) -> str:
    """The WMO weather code in words."""
    return next((words for last, words in _CONDITIONS if code <= last), "thunderstorm")

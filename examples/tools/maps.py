"""Tools for places: cities, distances, routes; from bundled coordinates, with no map service.

    find_city("from Berlin to NYC")         the cities that a text names
    distance("Berlin", "Lisbon")            in a straight line over the globe
    route("Berlin", "Lisbon")               by road over the bundled network, or by air

A city may be given inside a sentence: `origin` takes the first one named there, `destination` the last.
"""

from __future__ import annotations

import csv
import difflib
import functools
import heapq
import math
import re
import textwrap
from dataclasses import dataclass
from typing import Annotated, Any, Literal

from pydantic import Field

from .folders import BUNDLED
from .online import SAMPLE

Origin = Annotated[str, Field(description="The city to start from.", examples=["Berlin"])]
Destination = Annotated[str, Field(description="The city to go to.", examples=["Lisbon"])]

EARTH_RADIUS_KM = 6371.0
ROAD_FACTOR = 1.25  # roads are longer than the straight line
ROAD_KMH, AIR_KMH = 85.0, 800.0
AIR_EXTRA_HOURS = 1.0  # taxiing, climbing, landing


@dataclass(frozen=True)
class City:
    """A city: where it is (degrees), other names, and the cities that a main road leads to."""

    name: str
    country: str
    latitude: float
    longitude: float
    also: tuple[str, ...] = ()
    roads: tuple[str, ...] = ()


def find_city(
    text: Annotated[str, Field(description="A name, or a text that names cities.", examples=["the weather in Rome"])],
) -> dict[str, Any]:
    """Find the cities that a text names: country and coordinates of each, in the order of the text."""
    found = named(text) or [city_of(text)]
    return {
        "cities": [
            {"name": city.name, "country": city.country, "latitude": city.latitude, "longitude": city.longitude}
            for city in found
        ],
        "source": SAMPLE,
        "summary": "; ".join(
            f"{city.name}, {city.country} ({city.latitude:.2f}, {city.longitude:.2f})" for city in found
        )
        + f" ({SAMPLE})",
    }


def distance(origin: Origin, destination: Destination) -> dict[str, Any]:
    """The distance between two cities in a straight line (great circle), in kilometres and miles."""
    start, end = city_of(origin), city_of(destination, last=True)
    kilometres = great_circle(start, end)
    return {
        "origin": start.name,
        "destination": end.name,
        "kilometres": round(kilometres, 1),
        "miles": round(kilometres / 1.609344, 1),
        "source": SAMPLE,
        "summary": f"{start.name} to {end.name}: {kilometres:,.0f} km ({kilometres / 1.609344:,.0f} miles; {SAMPLE}).",
    }


def route(
    origin: Origin,
    destination: Destination,
    mode: Annotated[Literal["road", "air"], Field(description="How to travel.")] = "road",
) -> dict[str, Any]:
    """The shortest route between two cities: its stops, length and estimated hours.

    By air where no road of the bundled network leads there.
    """
    start, end = city_of(origin), city_of(destination, last=True)
    stops, kilometres = _shortest(start, end) if mode == "road" else (None, 0.0)
    if stops is None:
        stops, kilometres, used = [start, end], great_circle(start, end), "air"
        hours = kilometres / AIR_KMH + AIR_EXTRA_HOURS * (start != end)
        note = "" if mode == "air" else " No road of the bundled network leads there."
    else:
        used, hours, note = "road", kilometres / ROAD_KMH, ""
    names = [city.name for city in stops]
    return {
        "mode": used,
        "stops": names,
        "kilometres": round(kilometres),
        "hours": round(hours, 1),
        "source": f"{SAMPLE}; length and time are estimates",
        "summary": f"By {used}: {' - '.join(names)}, about {kilometres:,.0f} km, {hours:.1f} hours ({SAMPLE}).{note}",
    }


def great_circle(a: City, b: City) -> float:
    """Kilometres between two cities over the globe (haversine)."""
    latitudes = math.radians(b.latitude - a.latitude)
    longitudes = math.radians(b.longitude - a.longitude)
    cosines = math.cos(math.radians(a.latitude)) * math.cos(math.radians(b.latitude))
    chord = math.sin(latitudes / 2) ** 2 + cosines * math.sin(longitudes / 2) ** 2
    return 2 * EARTH_RADIUS_KM * math.asin(math.sqrt(chord))


@functools.cache
def cities() -> dict[str, City]:
    """All cities by name."""
    with (BUNDLED / "cities.csv").open(encoding="utf-8", newline="") as file:
        return {
            row["name"]: City(
                row["name"],
                row["country"],
                float(row["latitude"]),
                float(row["longitude"]),
                tuple(filter(None, row["also"].split("|"))),
                tuple(filter(None, row["roads"].split("|"))),
            )
            for row in csv.DictReader(file)
        }


@functools.cache
def _names() -> dict[str, City]:
    names = {city.name.casefold(): city for city in cities().values()}
    return names | {other.casefold(): city for city in cities().values() for other in city.also}


@functools.cache
def _pattern() -> re.Pattern[str]:
    longest_first = sorted(_names(), key=len, reverse=True)
    return re.compile(rf"(?<!\w)(?:{'|'.join(map(re.escape, longest_first))})(?!\w)")


def named(text: str) -> list[City]:
    """The cities named in `text`, in its order, each once."""
    return list(dict.fromkeys(_names()[match] for match in _pattern().findall(text.casefold())))


def city_of(text: str, *, last: bool = False) -> City:
    """The city that `text` is, nearly is, or names (the first, or the last). Raises ValueError."""
    if found := named(text):
        return found[-1 if last else 0]
    if near := difflib.get_close_matches(text.strip().casefold(), _names(), n=1, cutoff=0.82):
        return _names()[near[0]]
    some = ", ".join(list(cities())[:8])
    raise ValueError(f"no known city in {textwrap.shorten(text, 60)!r}; there are {len(cities())}, such as {some}")


def _shortest(start: City, end: City) -> tuple[list[City] | None, float]:
    """The shortest way by road (Dijkstra) and its kilometres; (None, 0) when there is none."""
    queue: list[tuple[float, str, tuple[str, ...]]] = [(0.0, start.name, (start.name,))]
    done: set[str] = set()
    while queue:
        kilometres, name, way = heapq.heappop(queue)
        if name == end.name:
            return [cities()[stop] for stop in way], kilometres
        if name in done:
            continue
        done.add(name)
        for other in cities()[name].roads:
            if other not in done:
                step = great_circle(cities()[name], cities()[other]) * ROAD_FACTOR
                heapq.heappush(queue, (kilometres + step, other, (*way, other)))
    return None, 0.0

"""Shares, weather and maps: computed from the bundled data, or from a service that answers."""

from __future__ import annotations

import json
import math
import statistics
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest

from examples.tools import maps, shares, weather
from examples.tools.maps import distance, find_city, route
from examples.tools.market import compare, financial_ratios, price_history, price_indicators, stock_price
from examples.tools.online import SAMPLE
from examples.tools.weather import current_weather, forecast


def test_the_last_price() -> None:
    closes = shares.sample("KITE").closes
    found = stock_price("KITE")
    assert (found["price"], found["date"], found["source"]) == (closes[-1], "2025-12-31", SAMPLE)
    assert found["change"] == round(closes[-1] - closes[-2], 2)
    assert stock_price("How is Kitehill Software doing?") == found
    assert SAMPLE in found["summary"]


def test_the_history() -> None:
    found = price_history("VOLT", 5)
    assert [item["close"] for item in found["prices"]] == list(shares.sample("VOLT").closes[-5:])
    assert found["highest"] == max(shares.sample("VOLT").closes[-5:])


def test_indicators_are_computed_from_the_series() -> None:
    closes = shares.sample("FERN").closes[-100:]
    found = price_indicators("FERN", 100)
    returns = [math.log(closes[day] / closes[day - 1]) for day in range(1, 100)]
    assert found["volatility_percent"] == pytest.approx(statistics.stdev(returns) * math.sqrt(252) * 100, abs=0.01)
    assert found["return_percent"] == pytest.approx((closes[-1] / closes[0] - 1) * 100, abs=0.01)
    assert found["average_20"] == pytest.approx(sum(closes[-20:]) / 20, abs=0.01)
    worst = min(closes[b] / closes[a] - 1 for a in range(100) for b in range(a, 100))
    assert found["max_drawdown_percent"] == pytest.approx(worst * 100, abs=0.01)


def test_the_arithmetic_by_hand() -> None:
    assert shares.max_drawdown([10, 20, 15, 25, 5, 30]) == pytest.approx(-0.8)
    assert shares.max_drawdown([1, 2, 3]) == 0
    assert shares.moving_average([1, 2, 3, 4], 2) == 3.5
    assert shares.moving_average([1], 2) is None
    assert shares.volatility([5, 5, 5, 5]) == 0


def test_ratios() -> None:
    found = financial_ratios("KITE")
    price = shares.sample("KITE").closes[-1]
    assert found["price_to_earnings"] == pytest.approx(price / (2980 / 355), abs=0.01)
    assert found["return_on_equity_percent"] == pytest.approx(2980 / 14800 * 100, abs=0.01)
    assert financial_ratios("VOLT")["price_to_earnings"] is None


def test_a_comparison_names_the_best() -> None:
    found = compare("Compare KITE, volt and Fernwood Foods")
    assert [row["symbol"] for row in found["companies"]] == ["KITE", "VOLT", "FERN"]
    returns = {row["symbol"]: row["return_percent"] for row in found["companies"]}
    assert found["best"]["return_percent"] == max(returns, key=lambda symbol: returns[symbol])
    assert found["best"]["debt_to_equity"] == "KITE"
    with pytest.raises(ValueError, match="two shares or more"):
        compare("KITE")


def test_an_unknown_share_says_what_there_is() -> None:
    with pytest.raises(ValueError, match=r"no share 'AAPL' in the bundled sample data; .* ALTA \(Alta Solar\)"):
        stock_price("AAPL")


@pytest.mark.parametrize(
    ("origin", "destination", "kilometres"),
    [("Berlin", "Paris", 878), ("New York", "London", 5570), ("Sydney", "Auckland", 2156), ("Rome", "Rome", 0)],
)
def test_distances(origin: str, destination: str, kilometres: int) -> None:
    assert distance(origin, destination)["kilometres"] == pytest.approx(kilometres, rel=0.01)
    assert distance(destination, origin)["kilometres"] == distance(origin, destination)["kilometres"]


def test_cities_are_found_in_a_sentence() -> None:
    question = "How far is it from München to NYC, and what about Rom?"
    assert [city["name"] for city in find_city(question)["cities"]] == ["Munich", "New York"]
    found = distance(question, question)
    assert (found["origin"], found["destination"]) == ("Munich", "New York")
    assert find_city("Amsterdm")["cities"][0]["name"] == "Amsterdam"
    with pytest.raises(ValueError, match="no known city in 'Atlantis'"):
        find_city("Atlantis")


def test_a_route_by_road_is_the_shortest() -> None:
    found = route("Berlin", "Lisbon")
    assert (found["stops"][0], found["stops"][-1], found["mode"]) == ("Berlin", "Lisbon", "road")
    for here, there in zip(found["stops"], found["stops"][1:], strict=False):
        assert there in maps.cities()[here].roads
    assert found["kilometres"] > distance("Berlin", "Lisbon")["kilometres"]
    assert found["kilometres"] <= sum(
        route(here, there)["kilometres"] for here, there in (("Berlin", "Munich"), ("Munich", "Lisbon"))
    )
    assert route("Berlin", "Berlin")["kilometres"] == 0


def test_where_no_road_leads_there_is_the_air() -> None:
    found = route("Berlin", "Tokyo")
    assert found["mode"] == "air"
    assert "No road" in found["summary"]
    assert "No road" not in route("Berlin", "Paris", "air")["summary"]


def test_roads_lead_both_ways_and_every_city_has_weather() -> None:
    for city in maps.cities().values():
        assert all(city.name in maps.cities()[other].roads for other in city.roads)
        assert len(forecast(city.name, 7)["days"]) == 7


def test_sample_weather() -> None:
    now = current_weather("What is the weather in Paris?")
    assert (now["city"], now["source"]) == ("Paris", SAMPLE)
    assert now == current_weather("Paris")
    days = forecast("Paris", 2)
    assert [day["day"] for day in days["days"]] == [1, 2]
    assert all(day["low_c"] < day["high_c"] for day in days["days"])
    assert SAMPLE in days["summary"]


@pytest.fixture
def service(monkeypatch: pytest.MonkeyPatch) -> Iterator[dict[str, Any]]:
    """A stand-in of the public services: `answer` makes the reply, `seen` collects the requests."""
    state: dict[str, Any] = {"seen": [], "answer": lambda path, query: (200, {})}

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            parts = urlsplit(self.path)
            query = {key: value[0] for key, value in parse_qs(parts.query).items()}
            state["seen"].append((parts.path, query))
            status, body = state["answer"](parts.path, query)
            self.send_response(status)
            self.end_headers()
            self.wfile.write(body if isinstance(body, bytes) else json.dumps(body).encode())

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    url = f"http://127.0.0.1:{server.server_address[1]}"
    monkeypatch.setenv("EXAMPLES_ONLINE", "1")
    monkeypatch.setenv("EXAMPLES_WEATHER_URL", f"{url}/forecast")
    monkeypatch.setenv("EXAMPLES_MARKET_URL", f"{url}/chart")
    yield state
    server.shutdown()
    thread.join()
    server.server_close()


def live_weather(path: str, query: dict[str, str]) -> tuple[int, dict[str, Any]]:
    days = int(query.get("forecast_days", 1))
    now = {"temperature_2m": 21.5, "relative_humidity_2m": 40, "wind_speed_10m": 9, "weather_code": 61}
    daily = {
        "weather_code": [95] * days,
        "temperature_2m_max": [20.0] * days,
        "temperature_2m_min": [10.0] * days,
        "precipitation_probability_max": [80] * days,
    }
    return 200, {"current": now, "daily": daily}


def test_live_weather_where_it_is_wanted(service: dict[str, Any]) -> None:
    service["answer"] = live_weather
    now = current_weather("Paris")
    assert (now["temperature_c"], now["condition"], now["source"]) == (21.5, "light rain", "open-meteo.com")
    assert service["seen"][0][1]["latitude"] == "48.86"
    days = forecast("Paris", 2)
    assert (len(days["days"]), days["days"][0]["condition"], days["source"]) == (2, "thunderstorm", "open-meteo.com")


def test_live_prices_of_a_real_symbol(service: dict[str, Any]) -> None:
    body = {
        "chart": {
            "result": [
                {
                    "meta": {"currency": "EUR", "longName": "Example SE"},
                    "timestamp": [1735689600 + 86400 * day for day in range(4)],
                    "indicators": {"quote": [{"close": [10.0, None, 12.0, 11.0]}]},
                }
            ]
        }
    }
    service["answer"] = lambda path, query: (200, body)
    found = stock_price("What is EXM worth?")
    assert (found["price"], found["change"], found["currency"]) == (11.0, -1.0, "EUR")
    assert found["source"] == "finance.yahoo.com"
    assert service["seen"][0][0] == "/chart/EXM"
    assert stock_price("KITE")["source"] == SAMPLE
    rows = compare("KITE and EXM")["companies"]
    assert [row["source"] for row in rows] == [SAMPLE, "finance.yahoo.com"]
    assert rows[1]["price_to_earnings"] is None


@pytest.mark.parametrize("answer", [(500, {}), (200, {}), (200, {"current": None}), (200, b"<html>"), (200, [1])])
def test_a_service_that_fails_leaves_the_sample_data(service: dict[str, Any], answer: tuple[int, Any]) -> None:
    service["answer"] = lambda path, query: answer
    assert current_weather("Paris")["source"] == SAMPLE
    assert forecast("Paris", 1)["source"] == SAMPLE
    with pytest.raises(ValueError, match="no live prices for 'EXM'"):
        stock_price("EXM")
    assert service["seen"]


def test_no_service_is_asked_unless_wanted(service: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EXAMPLES_ONLINE", "0")
    assert current_weather("Paris")["source"] == SAMPLE
    assert service["seen"] == []


@pytest.mark.parametrize(
    ("code", "words"), [(0, "sunny"), (1, "partly cloudy"), (63, "rain"), (75, "snow"), (120, "thunderstorm")]
)
def test_weather_codes(code: int, words: str) -> None:
    condition: Callable[[float], str] = weather._condition
    assert condition(code) == words

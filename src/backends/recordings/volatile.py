"""Texts that are the same but for what changes from run to run: ids, ports, temporary files, and the time.

same("run 6f1c…-… at 2026-11-21", then, "run 0a4e…-… at 2026-12-03", now)      True: both say today
same("due 2026-11-30", then, "due 2026-12-24", now)                           False: these dates are meant
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from datetime import UTC, datetime

#: Seconds that a date or time may be away from the clock to mean now: a day, and what time zones make of it.
NEAR = 36 * 3600.0
_MONTHS = [
    "January",
    "February",
    "March",
    "April",
    "May",
    "June",
    "July",
    "August",
    "September",
    "October",
    "November",
    "December",
]
_MONTH = f"(?:{'|'.join(f'{name}|{name[:3]}' for name in _MONTHS)})"
_DAY = "(?:Mon|Tues|Wednes|Thurs|Fri|Satur|Sun)day"
_KINDS = {
    "uuid": r"\b[0-9a-fA-F]{8}(?:-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}\b",
    "traceparent": r"\b00-[0-9a-f]{32}-[0-9a-f]{16}-0[01]\b",
    "time": r"\b\d{4}-\d\d-\d\d[T ]\d\d:\d\d(?::\d\d(?:[.,]\d+)?)?(?: ?Z| ?UTC|[+-]\d\d:?\d\d)?",
    "date": r"\b\d{4}-\d\d-\d\d\b",
    "words": rf"\b(?:{_DAY},? )?(?:\d{{1,2}} {_MONTH} \d{{4}}|{_MONTH} \d{{1,2}},? \d{{4}})\b",
    "id": r"\b(?=[0-9a-f]*[a-f])(?:[0-9a-f]{32}|[0-9a-f]{16})\b",
    "port": r"(?:\b127\.0\.0\.1|\blocalhost|\[::1\]):\d{2,5}\b",
    "temporary": r"\{tmp\}(?:/[^\s\"'`,;)\]}]+)?",
    "seconds": r"\b[12]\d{9}(?:\d{3}|\d{6}|\d{9})?(?:\.\d+)?\b",
}
_VOLATILE = re.compile("|".join(f"(?P<{kind}>{pattern})" for kind, pattern in _KINDS.items()))
_CLOCK = ("time", "date", "words", "seconds")


def shape(text: str) -> str:
    """The text with a word for each thing that may change: texts of different shapes are not the same."""
    return _VOLATILE.sub(lambda match: f"<{match.lastgroup}>", text)


def same(recorded: str, then: float, given: str, now: float) -> bool:
    """Whether the texts differ only in what changes by itself. `then` and `now` are Unix time, one for each text."""
    if recorded == given:
        return True
    if shape(recorded) != shape(given):
        return False
    pairs = zip(_VOLATILE.finditer(recorded), _VOLATILE.finditer(given), strict=True)
    return all(
        one[0] == other[0]
        or one.lastgroup not in _CLOCK
        or (_near(str(one.lastgroup), one[0], then) and _near(str(one.lastgroup), other[0], now))
        for one, other in pairs
    )


def _near(kind: str, text: str, clock: float) -> bool:
    return any(abs(at - clock) <= NEAR for at in _moments(kind, text))


def _moments(kind: str, text: str) -> Iterator[float]:
    """What moment is meant, Unix time; a date is its noon."""
    if kind == "seconds":
        digits = text.partition(".")[0]
        yield float(text) if "." in text else int(digits) / 10 ** (len(digits) - 10)
        return
    try:
        if kind == "words":
            bare = re.sub(rf"^{_DAY},? ", "", text).replace(",", "")
            day, month, year = bare.split() if bare[0].isdigit() else (bare.split()[i] for i in (1, 0, 2))
            number = next(at for at, name in enumerate(_MONTHS, 1) if name.startswith(month))
            yield datetime(int(year), number, int(day), 12, tzinfo=UTC).timestamp()
        elif kind == "date":
            yield datetime.fromisoformat(f"{text}T12:00:00+00:00").timestamp()
        else:
            bare = re.sub(r" ?(?:Z|UTC)$", "+00:00", text.replace(",", "."))
            found = datetime.fromisoformat(bare)
            yield (found if found.tzinfo else found.replace(tzinfo=UTC)).timestamp()
    except ValueError:
        return

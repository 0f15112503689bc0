"""What all benchmarks share: CPU of processes, medians over rounds, the line that says where it ran."""

from __future__ import annotations

import argparse
import os
import platform
import statistics
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path

_TICK = float(os.sysconf("SC_CLK_TCK"))


def options(doc: str | None, rounds: int) -> argparse.ArgumentParser:
    """A parser with `--rounds`; its help is the benchmark's docstring."""
    parser = argparse.ArgumentParser(description=doc, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=rounds, help="how often each is measured; medians are printed")
    return parser


def where(rounds: int) -> str:
    """The machine and how busy it is."""
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") >> 30
    return (
        f"{os.cpu_count()} cores, {memory} GiB, Linux {platform.release()}, Python {sys.version.split()[0]}, "
        f"load {os.getloadavg()[0]:.1f}, {rounds} rounds"
    )


def cpu(pids: Iterable[int]) -> float:
    """CPU seconds of living processes so far."""
    ticks = 0
    for pid in pids:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        ticks += int(fields[11]) + int(fields[12])
    return ticks / _TICK


def median(values: Iterable[float]) -> float:
    return statistics.median(list(values))


def percentile(values: Sequence[float], part: float) -> float:
    """The value below which that part of them lies."""
    found = sorted(values)
    return found[min(len(found) - 1, int(len(found) * part))]

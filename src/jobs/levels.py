"""The order in which agents start: callees before callers, level by level, and the cycle that makes it impossible."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

Edge = tuple[str, str]


def find_cycle(agents: Iterable[str], order: Sequence[Edge]) -> list[str] | None:
    """A cycle as the agents on it, the first one again at the end; None when there is none."""
    callees = _callees(order)
    done: set[str] = set()
    for start in agents:
        trail: list[str] = []
        stack: list[tuple[str, Iterator[str]]] = []
        node: str | None = start
        while node is not None:
            if node in trail:
                return [*trail[trail.index(node) :], node]
            if node not in done:
                trail.append(node)
                stack.append((node, iter(callees.get(node, ()))))
            node = None
            while stack and node is None:
                node = next(stack[-1][1], None)
                if node is None:
                    done.add(stack.pop()[0])
                    trail.pop()
    return None


def levels_of(agents: Sequence[str], order: Sequence[Edge]) -> tuple[tuple[str, ...], ...]:
    """Agents by level, callees before callers, in file order within a level. `order` must have no cycle."""
    callees = _callees(order)
    level: dict[str, int] = {}
    waiting = list(agents)
    while waiting:
        ready = [agent for agent in waiting if all(callee in level for callee in callees.get(agent, ()))]
        level.update({a: 1 + max((level[callee] for callee in callees.get(a, ())), default=-1) for a in ready})
        waiting = [agent for agent in waiting if agent not in level]
    depth = max(level.values(), default=-1) + 1
    return tuple(tuple(agent for agent in agents if level[agent] == number) for number in range(depth))


def _callees(order: Sequence[Edge]) -> dict[str, list[str]]:
    found: dict[str, list[str]] = {}
    for caller, callee in order:
        found.setdefault(caller, []).append(callee)
    return found

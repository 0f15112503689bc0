"""Looks at the outline of a large OTLP request before it is decoded.

Two bytes make an empty attribute or span, and a hundred times that in memory: without this, 16 MiB could take
gigabytes. Small requests can't do much harm and are not looked at: it costs as much as taking them in.
"""

from __future__ import annotations

LOOKED_AT = 1 << 20  # bytes
ITEMS_LIMIT = 400_000
_DEPTH = 64

# Which fields of a message hold messages again, and of what kind.
_ANY, _PAIR, _ARRAY, _PAIRS, _RESOURCE, _SCOPE, _EVENT, _LINK, _SPAN, _SPANS, _BLOCK, _REQUEST = range(12)
_INSIDE: dict[int, dict[int, int]] = {
    _REQUEST: {1: _BLOCK},
    _BLOCK: {1: _RESOURCE, 2: _SPANS},
    _RESOURCE: {1: _PAIR},
    _SPANS: {1: _SCOPE, 2: _SPAN},
    _SCOPE: {3: _PAIR},
    _SPAN: {9: _PAIR, 11: _EVENT, 13: _LINK},
    _EVENT: {3: _PAIR},
    _LINK: {4: _PAIR},
    _PAIR: {2: _ANY},
    _ANY: {5: _ARRAY, 6: _PAIRS},
    _ARRAY: {1: _ANY},
    _PAIRS: {1: _PAIR},
}


def items(body: bytes, limit: int = ITEMS_LIMIT) -> int:
    """How many messages there are in a request; counting ends above `limit`, and above five times as many fields.

    What is cut off or no protobuf is not noticed here: the decoder says so.
    """
    count = fields = 0
    waiting = [(0, len(body), _REQUEST, 0)]
    while waiting:
        at, end, kind, depth = waiting.pop()
        inside = _INSIDE[kind]
        while at < end:
            tag, at = _number(body, at, end)
            wire = tag & 7
            fields += 1
            if fields > 5 * limit:
                return limit + 1
            if tag < 8:
                break  # no field has the number 0: the decoder won't have it either
            if wire == 2:
                size, at = _number(body, at, end)
                below = inside.get(tag >> 3)
                if below is not None:
                    count += 1
                    if count > limit or depth > _DEPTH:
                        return limit + 1
                    waiting.append((at, min(at + size, end), below, depth + 1))
                at += size
            elif wire == 0:
                _, at = _number(body, at, end)
            elif wire in (1, 5):
                at += 8 if wire == 1 else 4
            else:
                break
    return count


def _number(data: bytes, at: int, end: int) -> tuple[int, int]:
    value = shift = 0
    while at < end and shift < 64:
        byte = data[at]
        at += 1
        value |= (byte & 127) << shift
        if byte < 128:
            break
        shift += 7
    return value, at

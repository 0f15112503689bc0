"""What an agent's code gives back, made an Answer that can travel: as UTF-8, JSON and protobuf."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from teamwright.backends.api import Answer, File, PeerAnswer
from teamwright.backends.parts import readable
from teamwright.errors import CodeError


def answer_from(result: Any) -> Answer:
    """What a function returned as an Answer: text, data, nothing, or one already."""
    if isinstance(result, Answer):
        return result
    if isinstance(result, PeerAnswer):
        return Answer(result.text, files=result.files, data=result.data)
    if isinstance(result, Mapping):
        return Answer("", data={str(key): value for key, value in result.items()})
    if isinstance(result, bytes | bytearray):
        return Answer(bytes(result).decode(errors="replace"))
    return Answer("" if result is None else str(result))


def fit(answer: Answer) -> Answer:
    """The same answer, its text without half surrogate pairs, its data as JSON has it (no NaN: null).

    Raises CodeError for what can't be an answer: data that is no mapping, a file without bytes or address.
    """
    text = answer.text if isinstance(answer.text, str) else answer_from(answer.text).text
    for file in answer.files:
        if not isinstance(file, File):
            raise CodeError(f"the files of an answer are File objects, not {type(file).__name__}")
        if not isinstance(file.data, bytes | None):
            raise CodeError(f"the data of file {file.name} must be bytes, not {type(file.data).__name__}")
    return replace(answer, text=readable(text), data=None if answer.data is None else _plain(answer.data))


def _plain(data: object) -> dict[str, Any]:
    if not isinstance(data, Mapping):
        raise CodeError(f"the data of an answer must be a mapping, not {type(data).__name__}")
    try:  # dates, models and the like as text
        written = readable(json.dumps(dict(data), default=str, ensure_ascii=False))
    except (TypeError, ValueError, RecursionError) as error:
        raise CodeError(f"the data of the answer can't be written as JSON: {error}") from error
    made: dict[str, Any] = json.loads(written, parse_constant=lambda _: None)
    return made

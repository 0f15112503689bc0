"""What a backend is given for one message, in one form for a recording and its replay: so they can be compared."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from typing import Any

from teamwright.backends.api import BackendConfig, File, Tool, Turn
from teamwright.backends.recordings.values import Asked
from teamwright.backends.recordings.washing import Washing
from teamwright.tracing.messages import to_json

#: Options that say how a model is reached, not what it is asked.
_TRANSPORT = frozenset(
    ("base_url", "headers", "key_variable", "retries", "timeout", "stream", "fallback_models", "idle")
)


def asked_of(config: BackendConfig, turn: Turn, washing: Washing) -> Asked:
    """The message with everything that goes to the model beside it. Results of tools come later."""
    schema = config.output_schema
    found: Asked = Asked(
        model=config.model,
        prompt=washing.out(config.prompt),
        text=washing.out(turn.text),
        model_options=washing.out(_plain(config.model_options)),
        options=washing.out(_plain({key: item for key, item in config.options.items() if key not in _TRANSPORT})),
        output_schema=washing.out(_plain(schema)) if schema is not None else None,
        tools=[washing.out(_offered(tool)) for tool in turn.tools],
        history=[{"role": word.role, "text": washing.out(word.text)} for word in turn.history],
        files=[_described(file) for file in turn.files],
    )
    return found


def _offered(tool: Tool) -> dict[str, Any]:
    """A tool as the model sees it. How Teamwright words its own is no matter of the job's."""
    if tool.source in ("peer", "builtin"):
        return {"name": tool.name}
    return {"name": tool.name, "description": tool.description, "parameters": _plain(tool.parameters)}


def _described(file: File) -> dict[str, Any]:
    digest = hashlib.sha256(file.data).hexdigest() if file.data is not None else None
    found = {"name": file.name, "media_type": file.media_type, "sha256": digest, "uri": file.uri}
    return {key: value for key, value in found.items() if value is not None}


def _plain(value: Mapping[str, Any]) -> dict[str, Any]:
    """As JSON has it, so that what comes back from a file is equal."""
    made: dict[str, Any] = json.loads(to_json(dict(value)))
    return made

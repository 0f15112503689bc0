"""What of a job is recorded: its file's `tracing:` and the environment of whoever starts it; the stricter counts."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

from teamwright.errors import UserError
from teamwright.jobs.schema import Tracing
from teamwright.settings import REDACT, TRACING, TRACING_CONTENT
from teamwright.tracing.content import Content
from teamwright.tracing.redaction import RULES_LIMIT, Rule, check

_STRICTER: tuple[Content, ...] = ("full", "redacted", "off")
_ON, _OFF = ("1", "true", "yes", "on"), ("0", "false", "no", "off")


def recording(tracing: Tracing, environ: Mapping[str, str], cwd: Path) -> tuple[bool, Content, tuple[Rule, ...]]:
    """Whether spans are recorded, what of the content, and the rules of what is masked. Raises UserError."""
    text = (environ.get(TRACING.env) or "on").lower()
    if text not in (*_ON, *_OFF):
        raise UserError(f"{TRACING.env}={text!r} is neither on nor off", hint=TRACING.help)
    content = environ.get(TRACING_CONTENT.env) or "full"
    if content not in _STRICTER:
        raise UserError(f"{TRACING_CONTENT.env}={content!r} is none of {', '.join(_STRICTER)}")
    rules = [(rule.name, rule.pattern) for rule in tracing.redact]
    if rules:
        content = max(content, "redacted", key=_STRICTER.index)
    if file := environ.get(REDACT.env):
        rules += _rules(cwd / Path(file).expanduser())
        content = max(content, "redacted", key=_STRICTER.index)
    return tracing.enabled and text in _ON, max(content, tracing.content, key=_STRICTER.index), tuple(rules)


def _rules(file: Path) -> list[Rule]:
    """`name: pattern` in YAML."""
    try:
        found: Any = yaml.safe_load(file.read_text())
    except OSError as error:
        raise UserError(f"{REDACT.env}: {file} can't be read: {error.strerror}") from None
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise UserError(f"{file} is not YAML: {' '.join(str(error).split())}") from None
    if not isinstance(found, dict) or not all(isinstance(text, str) for pair in found.items() for text in pair):
        raise UserError(f"{file} is not a list of `name: pattern`", hint=REDACT.help)
    if len(found) > RULES_LIMIT:
        raise UserError(f"{file} has more than {RULES_LIMIT} rules")
    rules = list(found.items())
    try:
        check(rules)
    except UserError as error:
        raise UserError(f"{file}: {error.message}") from None
    return rules

"""Write what follows from the models of the job file: the table of all keys, and the JSON Schema for editors.

uv run scripts/reference.py            docs/job-file.md (between its two marks) and docs/job.schema.json
uv run scripts/reference.py --check    exit 1 when they are not what the models say
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from teamwright.jobs.schema import json_schema
from teamwright.jobs.unbuilt import TABLE

ROOT = Path(__file__).resolve().parent.parent
PAGE, SCHEMA = ROOT / "docs" / "job-file.md", ROOT / "docs" / "job.schema.json"
BEGIN, END = "<!-- begin: made by scripts/reference.py -->\n", "<!-- end -->\n"


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--check", action="store_true", help="change nothing; exit 1 when something would change")
    check = parser.parse_args().check
    wanted = {PAGE: page(PAGE.read_text()), SCHEMA: schema_text()}
    stale = [file for file, text in wanted.items() if not file.exists() or file.read_text() != text]
    if check and stale:
        names = ", ".join(str(file.relative_to(ROOT)) for file in stale)
        print(f"{names}: not what the models say; run `uv run scripts/reference.py`", file=sys.stderr)
        return 1
    for file in stale:
        file.write_text(wanted[file])
        print(f"{file.relative_to(ROOT)}: written")
    return 0


def schema_text() -> str:
    """The JSON Schema as it is stored."""
    return json.dumps(json_schema(), indent=1, ensure_ascii=False) + "\n"


def page(text: str) -> str:
    """The page with its table as the models have it."""
    head, begin, rest = text.partition(BEGIN)
    _, end, tail = rest.partition(END)
    if not begin or not end:
        raise SystemExit(f"{PAGE}: the marks {BEGIN.strip()} and {END.strip()} are missing")
    return head + begin + table(json_schema()) + end + tail


def table(schema: Mapping[str, Any]) -> str:
    """All keys: where they stand, what they are, what they take, what they are without."""
    lines = ["| key | what it is | takes | without it |", "|---|---|---|---|"]
    lines += [
        f"| `{path}` | {what} | {takes} | {default} |" for path, what, takes, default in _rows(schema, schema, "")
    ]
    return "\n".join(lines) + "\n"


def _rows(node: Mapping[str, Any], schema: Mapping[str, Any], path: str) -> Iterator[tuple[str, str, str, str]]:
    required = node.get("required", ())
    for name, value in sorted(node.get("properties", {}).items(), key=lambda item: item[0] != "id"):
        here = f"{path}{name}"
        what = (value.get("description") or _resolved(value, schema)["description"]) + _not_built(here)
        if here == "defaults":  # the keys of an agent, once more
            yield here, what, "mapping", "-"
            continue
        found = _resolved(value, schema)
        yield here, what, _takes(value, schema), "must be given" if name in required else _default(value)
        inner = found
        if found.get("type") == "array":
            inner, here = _resolved(found.get("items", {}), schema), f"{here}[]"
        elif isinstance(found.get("additionalProperties"), dict):
            inner, here = _resolved(found["additionalProperties"], schema), f"{here}.NAME"
        if inner.get("properties"):
            yield from _rows(inner, schema, f"{here}.")


def _not_built(path: str) -> str:
    """A word on what this version can't do yet."""
    rows = [row for row in TABLE if row.key.replace("agent.", "agents[].", 1) == path]
    words = ("Not built yet" if row.always else f"{row.what[0].upper()}{row.what[1:]}" for row in rows)
    return "".join(f" *{word}.*" for word in words)


def _resolved(node: Mapping[str, Any], schema: Mapping[str, Any]) -> Mapping[str, Any]:
    """What a node stands for: behind its reference, and without the null of an optional one."""
    if "$ref" in node:
        return _resolved(schema["$defs"][node["$ref"].rpartition("/")[2]], schema)
    choices = [item for item in _choices(node) if item.get("type") != "null"]
    objects = [found for item in choices if (found := _resolved(item, schema)).get("properties")]
    return objects[0] if objects else _resolved(choices[0], schema) if len(choices) == 1 else node


def _choices(node: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    return [*node.get("anyOf", ()), *node.get("oneOf", ()), *node.get("allOf", ())]


def _takes(node: Mapping[str, Any], schema: Mapping[str, Any]) -> str:
    if "$ref" in node:
        return _takes(schema["$defs"][node["$ref"].rpartition("/")[2]], schema)
    if choices := [item for item in _choices(node) if item.get("type") != "null"]:
        return " or ".join(dict.fromkeys(_takes(item, schema) for item in choices))
    if "enum" in node or "const" in node:
        return ", ".join(f"`{item}`" for item in node.get("enum", [node.get("const")]))
    kind = node.get("type", "anything")
    if isinstance(kind, list):
        examples = ", ".join(f"`{item}`" for item in node.get("examples", ()))
        return " or ".join(str(_NAMES.get(item, item)) for item in kind) + (f", such as {examples}" if examples else "")
    if kind == "array":
        inner = _takes(node.get("items", {}), schema)
        return f"list of ({inner})" if " or " in inner else f"list of {inner}"
    least = node.get("minimum", node.get("exclusiveMinimum"))
    bound = f", at least {least}" if "minimum" in node else f", more than {least}" if least is not None else ""
    return _NAMES.get(kind, str(kind)) + bound


_NAMES = {"string": "text", "object": "mapping", "boolean": "`true` or `false`", "integer": "whole number"}


def _default(node: Mapping[str, Any]) -> str:
    default = node.get("default")
    if default is None or default == "" or isinstance(default, dict | list):
        return "-"
    return f"`{json.dumps(default) if not isinstance(default, str) else default}`"


if __name__ == "__main__":
    sys.exit(main())

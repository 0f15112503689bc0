"""A job file as plain data in which every key path knows its file and line."""

from __future__ import annotations

from collections.abc import Mapping as Variables
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from teamwright.errors import JobFileError, Problem, UserError
from teamwright.jobs.expansion import Expansion, expand
from teamwright.jobs.names import nearest
from teamwright.jobs.nodes import Mapping, Node, Scalar, Sequence, compose, scalar_value

SIZE_LIMIT = 1_000_000
VALUE_LIMIT = 50_000
CHARACTER_LIMIT = 4_000_000
SMALLEST = "the smallest job: agents: [{id: lead, backend: offline, prompt: You answer briefly.}]"

KeyPath = tuple[str | int, ...]


@dataclass(frozen=True, slots=True)
class Mark:
    """Where a value stands: a file and line, or `--set PATH=VALUE` and no line."""

    file: str
    line: int | None


@dataclass
class Source:
    """What was read. `texts` holds numbers, booleans and nulls as written; `variables` who used which `${VAR}`.

    `problems` are those found while reading; the values concerned are left as they were written.
    """

    file: str
    path: Path
    data: dict[str, Any] = field(default_factory=dict)
    marks: dict[KeyPath, Mark] = field(default_factory=dict)
    texts: dict[KeyPath, str] = field(default_factory=dict)
    variables: dict[KeyPath, tuple[str, ...]] = field(default_factory=dict)
    problems: list[tuple[KeyPath, Problem]] = field(default_factory=list)

    def mark(self, path: KeyPath) -> Mark:
        """Where `path` stands, or the nearest key above it."""
        for length in range(len(path), -1, -1):
            if found := self.marks.get(path[:length]):
                return found
        return Mark(self.file, None)

    def problem(self, path: KeyPath, message: str, hint: str | None = None) -> Problem:
        """A problem at `path`; an agent's id stands in the message."""
        mark = self.mark(path)
        return Problem(self._named(path, message), mark.file, mark.line, key_text(path) or None, hint)

    def name_agents(self) -> None:
        """Put the agents' ids into the problems found while reading, which came before the ids were known."""
        self.problems = [
            (path, replace(problem, message=self._named(path, problem.message))) for path, problem in self.problems
        ]

    def _named(self, path: KeyPath, message: str) -> str:
        agent = self.agent_id(path[1]) if len(path) > 2 and path[0] == "agents" else None
        return f"agent {agent!r}: {message}" if agent else message

    def agent_id(self, index: object) -> str | None:
        """The id of the agent at that place in the file, where it has one."""
        agents = self.data.get("agents")
        if isinstance(agents, list) and isinstance(index, int) and 0 <= index < len(agents):
            agent = agents[index]
            if isinstance(agent, dict) and isinstance(agent.get("id"), str):
                return str(agent["id"])
        return None

    def forget(self, path: KeyPath) -> None:
        """Drop what is known of `path` and everything below it."""
        size = len(path)
        for table in (self.marks, self.texts, self.variables):
            for known in [known for known in table if known[:size] == path]:
                del table[known]
        self.problems = [(where, problem) for where, problem in self.problems if where[:size] != path]


def key_text(path: KeyPath) -> str:
    """`("agents", 1, "restart", "max")` as `agents[1].restart.max`."""
    text = ""
    for part in path:
        text += f"[{part}]" if isinstance(part, int) else f".{part}" if text else str(part)
    return text


def read(path: Path, variables: Variables[str, str], *, shown: str | None = None) -> Source:
    """Read a job file and expand its variables. `shown` is what messages call the file.

    Raises UserError when it can't be read, JobFileError when it isn't YAML with a mapping at its top.
    Missing variables and keys written twice are in `Source.problems`.
    """
    file = shown or str(path)
    return parse(_text(path, file), variables, path=path, file=file)


def parse(text: str, variables: Variables[str, str], *, path: Path, file: str) -> Source:
    """The same for text that has been read."""
    source = Source(file, path)
    root = compose(text, file)
    if root is None:
        raise JobFileError([Problem("the file is empty", file, hint=SMALLEST)])
    if not isinstance(root, Mapping):
        kind = "a list" if isinstance(root, Sequence) else "one value"
        hint = "put the list under `agents:`" if isinstance(root, Sequence) else SMALLEST
        raise JobFileError([Problem(f"a job file is a mapping, this is {kind}", file, root.line, hint=hint)])
    source.data = _Builder(source, variables).mapping(root, ())
    source.name_agents()
    return source


def value_of(text: str, file: str) -> Any:
    """What a piece of YAML stands for, `${VAR}` left as it is. Raises JobFileError."""
    node = compose(text, file)
    source = Source(file, Path())
    value = _Builder(source, None).value(node, ()) if node is not None else None
    if source.problems:
        raise JobFileError([problem for _, problem in source.problems])
    return value


def _text(path: Path, file: str) -> str:
    try:
        if path.is_dir():
            raise UserError(f"{file} is a folder, not a job file", hint=_others(path))
        if path.stat().st_size > SIZE_LIMIT:
            raise JobFileError([Problem(f"larger than {SIZE_LIMIT // 1_000_000} MB: not a job file", file)])
        raw = path.read_bytes()
    except FileNotFoundError:
        raise UserError(f"no file {file}", hint=_similar(path)) from None
    except OSError as error:
        raise UserError(f"can't read {file}: {error.strerror}") from None
    if b"\0" in raw:
        raise JobFileError([Problem("a binary file, not YAML", file)])
    try:
        return raw.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = raw.count(b"\n", 0, error.start) + 1
        raise JobFileError([Problem("not text in UTF-8", file, line, hint="save it as UTF-8")]) from None


def _others(folder: Path) -> str | None:
    found = sorted(item.name for item in folder.glob("*.y*ml"))[:5]
    return f"in it: {', '.join(found)}" if found else None


def _similar(path: Path) -> str | None:
    folder = path.parent
    names = [item.name for item in folder.glob("*.y*ml")] if folder.is_dir() else []
    if close := nearest(path.name, names):
        return f"did you mean {folder / close}?"
    return None


class _Builder:
    def __init__(self, source: Source, variables: Variables[str, str] | None) -> None:
        self._source = source
        self._variables = variables
        self._count = 0
        self._characters = 0

    def value(self, node: Node, path: KeyPath) -> Any:
        self._count += 1
        self._characters += len(node.text) if isinstance(node, Scalar) else 0
        if self._count > VALUE_LIMIT or self._characters > CHARACTER_LIMIT:
            message = f"its aliases expand to more than {VALUE_LIMIT:,} values or {CHARACTER_LIMIT:,} characters"
            raise JobFileError([Problem(message, self._source.file, node.line, hint="use fewer nested aliases")])
        if isinstance(node, Mapping):
            return self.mapping(node, path)
        if isinstance(node, Sequence):
            made = []
            for index, item in enumerate(node.items):
                self._source.marks[*path, index] = Mark(self._source.file, item.line)
                made.append(self.value(item, (*path, index)))
            return made
        return self._scalar(node, path)

    def mapping(self, node: Mapping, path: KeyPath) -> dict[str, Any]:
        made: dict[str, Any] = {}
        lines: dict[str, int] = {}
        merged: list[Node] = []
        for key, item in node.items:
            if key.text == "<<" and key.plain:
                merged.extend(item.items if isinstance(item, Sequence) else [item])
                continue
            where = (*path, key.text)
            if key.text in lines:
                self._add(where, key.line, "written twice", f"first at line {lines[key.text]}: keep one of them")
                continue
            lines[key.text] = key.line
            self._source.marks[where] = Mark(self._source.file, key.line)
            made[key.text] = self.value(item, where)
        for base in merged:
            if not isinstance(base, Mapping):
                self._add((*path, "<<"), base.line, "merges something that is not a mapping", "write <<: *name")
                continue
            for key, item in base.items:
                if key.text not in made and key.text != "<<":
                    self._source.marks[*path, key.text] = Mark(self._source.file, key.line)
                    made[key.text] = self.value(item, (*path, key.text))
        return made

    def _scalar(self, node: Scalar, path: KeyPath) -> Any:
        result = Expansion(node.text) if self._variables is None else expand(node.text, self._variables)
        if result.used:
            self._source.variables[path] = result.used
        for name in result.missing:
            hint = f"export {name}=…, write it into .env beside the file, or give a default: ${{{name}:-…}}"
            self._add(path, node.line, f"the variable {name} is not set", hint)
        for text in result.broken:
            hint = "write ${NAME} or ${NAME:-default}; $${ stands for a plain ${"
            self._add(path, node.line, f"can't make out {text[:40]!r}", hint)
        if not node.plain or (result.changed and not result.text):
            return result.text
        value = scalar_value(result.text)
        if not isinstance(value, str):
            self._source.texts[path] = result.text
        return value

    def _add(self, path: KeyPath, line: int, message: str, hint: str) -> None:
        self._source.problems.append((path, Problem(message, self._source.file, line, key_text(path), hint)))

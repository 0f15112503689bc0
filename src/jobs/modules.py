"""Finds the user's modules by path and reads what they define, without importing any of them."""

from __future__ import annotations

import ast
import importlib.util
import sys
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from teamwright.jobs.examples import BUNDLED
from teamwright.jobs.names import suggestion

FILE_LIMIT = 500


@dataclass(frozen=True, slots=True)
class Fault:
    """What is wrong with a reference to code. `file` and `line` only where the code itself is at fault."""

    message: str
    hint: str | None = None
    file: str | None = None
    line: int | None = None


@dataclass(frozen=True, slots=True)
class Code:
    """A module's names at its top level. `open`: it may define more (star import, `__getattr__`, not Python)."""

    file: Path | None
    classes: tuple[str, ...] = ()
    names: tuple[str, ...] = ()
    open: bool = False


def search_path(folder: Path, cwd: Path) -> tuple[str, ...]:
    """Where modules are looked for: the job's folder, its nearest parent with a pyproject.toml, the current folder."""
    parents = (folder, *folder.parents)
    project = next((parent for parent in parents if (parent / "pyproject.toml").is_file() or parent == BUNDLED), None)
    return tuple(dict.fromkeys(str(path) for path in (folder, project, cwd) if path is not None))


def check_class(module: str, name: str, roots: Sequence[str]) -> tuple[Fault | None, Fault | None]:
    """What is wrong with `module`, and with the class `name` in it."""
    code, fault = inspect_module(module, roots)
    if code is None or code.open or name in code.classes:
        return fault, None
    if name in code.names:
        return None, None if name in _imported(code.file) else Fault(f"{module}.{name} is not a class")
    return None, Fault(f"no class {name} in {module}", suggestion(name, code.classes, kind="classes"))


def check_function(reference: str, roots: Sequence[str]) -> Fault | None:
    """What is wrong with `package.module:name` (or `package.module:Class.method`)."""
    module, _, path = reference.partition(":")
    name = path.split(".")[0]
    code, fault = inspect_module(module, roots)
    if code is None or code.open or name in code.names:
        return fault
    return Fault(f"no {name} in {module}", suggestion(name, code.names, kind="it has"))


def hosts_executor(module: str, name: str | None, roots: Sequence[str]) -> bool:
    """Whether the class `name` (None = any) of a module, or one it derives from there, has an `executor =`."""
    file = find(module, roots)
    if file is None or file.suffix != ".py":
        return False
    try:
        tree = ast.parse(file.read_bytes())
    except (OSError, SyntaxError, ValueError):
        return False
    classes = {item.name: item for item in tree.body if isinstance(item, ast.ClassDef)}
    waiting = list(classes) if name is None else [name]
    seen: set[str] = set()
    while waiting:
        if (found := classes.get(key := waiting.pop())) is None or key in seen:
            continue
        seen.add(key)
        if (own := _executor_of(found)) is True:
            return True
        waiting += [base.id for base in found.bases if isinstance(base, ast.Name) and own is None]
    return False


def inspect_module(module: str, roots: Sequence[str]) -> tuple[Code | None, Fault | None]:
    """What a module defines, or why it can't be used."""
    file = find(module, roots)
    if file is None:
        return None, Fault(f"no module {module}", _module_hint(module, roots))
    if file.suffix != ".py":
        return Code(None, open=not file.is_dir()), None
    try:
        tree = ast.parse(file.read_bytes(), str(file))
    except SyntaxError as error:
        return None, Fault(f"syntax error in module {module}: {error.msg}", None, str(file), error.lineno)
    except (OSError, ValueError) as error:
        return None, Fault(f"can't read module {module}: {error}", None, str(file))
    classes, names, more = _defined(tree.body)
    return Code(file, tuple(classes), tuple(names), more), None


def find(module: str, roots: Sequence[str]) -> Path | None:
    """The file of a module (a package's `__init__.py`, or its folder without one); None when there is none."""
    parts = module.split(".")
    for root in roots:
        if found := _below(Path(root), parts):
            return found
    if (file := getattr(sys.modules.get(module), "__file__", None)) is not None:
        return Path(file)
    try:
        spec = importlib.util.find_spec(parts[0])
    except (ImportError, ValueError):
        return None
    if spec is None:
        return None
    if len(parts) == 1:
        return Path(spec.origin) if spec.origin and Path(spec.origin).exists() else Path(parts[0])
    for folder in spec.submodule_search_locations or ():
        if found := _below(Path(folder), parts[1:]):
            return found
    return None


def closure(files: Iterable[Path], roots: Sequence[str]) -> list[Path]:
    """`files` and every file below `roots` that they import, directly or not; at most FILE_LIMIT of them."""
    found: dict[Path, None] = {}
    waiting = list(files)
    while waiting and len(found) < FILE_LIMIT:
        file = waiting.pop()
        if file in found or file.suffix != ".py":
            continue
        found[file] = None
        waiting.extend(_imports(file, roots))
    return list(found)


def _executor_of(code: ast.ClassDef) -> bool | None:
    """Whether a class names an executor; None when it says nothing of one."""
    said: bool | None = None
    for item in code.body:
        targets = (
            item.targets if isinstance(item, ast.Assign) else [item.target] if isinstance(item, ast.AnnAssign) else []
        )
        if any(isinstance(target, ast.Name) and target.id == "executor" for target in targets):
            said = isinstance(getattr(item, "value", None), ast.Name | ast.Attribute | ast.Call)
    return said


def _below(folder: Path, parts: Sequence[str]) -> Path | None:
    *parents, last = parts
    place = folder.joinpath(*parents)
    for candidate in (place / last / "__init__.py", place / f"{last}.py"):
        if candidate.is_file():
            return candidate
    native = next(place.glob(f"{last}.*.so"), None) if place.is_dir() else None
    if native is not None:
        return native
    return place / last if (place / last).is_dir() else None


def _module_hint(module: str, roots: Sequence[str]) -> str:
    parts = module.split(".")
    siblings: list[str] = []
    for root in roots:
        parent = Path(root).joinpath(*parts[:-1])
        if parent.is_dir():
            siblings += [".".join((*parts[:-1], name)) for name in _modules_in(parent)]
    close = suggestion(module, siblings, kind="there are") if siblings else None
    return close or f"looked in {', '.join(roots)}"


def _modules_in(folder: Path) -> Iterator[str]:
    for item in sorted(folder.iterdir()):
        if item.suffix == ".py" and item.stem.isidentifier() and item.stem != "__init__":
            yield item.stem
        elif item.name.isidentifier() and item.is_dir() and (item / "__init__.py").is_file():
            yield item.name


def _defined(body: Sequence[ast.stmt]) -> tuple[list[str], list[str], bool]:
    classes: list[str] = []
    names: list[str] = []
    more = False
    for statement in body:
        match statement:
            case ast.ClassDef(name=name):
                classes.append(name)
                names.append(name)
            case ast.FunctionDef(name=name) | ast.AsyncFunctionDef(name=name):
                names.append(name)
                more = more or name == "__getattr__"
            case ast.Import(names=aliases) | ast.ImportFrom(names=aliases):
                more = more or any(alias.name == "*" for alias in aliases)
                names.extend(alias.asname or alias.name.split(".")[0] for alias in aliases)
            case ast.Assign() | ast.AnnAssign():
                targets = statement.targets if isinstance(statement, ast.Assign) else [statement.target]
                names.extend(node.id for target in targets for node in ast.walk(target) if isinstance(node, ast.Name))
            case ast.If() | ast.Try() | ast.With():
                blocks = [getattr(statement, part, []) for part in ("body", "orelse", "finalbody")]
                blocks += [handler.body for handler in getattr(statement, "handlers", [])]
                for block in blocks:
                    inner = _defined(block)
                    classes, names, more = classes + inner[0], names + inner[1], more or inner[2]
    return classes, names, more


@cache
def _imported(file: Path | None) -> frozenset[str]:
    """Names that a module got from elsewhere or assigned: they may well be classes."""
    if file is None:
        return frozenset()
    functions = (ast.FunctionDef, ast.AsyncFunctionDef)
    _, names, _ = _defined([item for item in ast.parse(file.read_bytes()).body if not isinstance(item, functions)])
    return frozenset(names)


def _imports(file: Path, roots: Sequence[str]) -> Iterator[Path]:
    try:
        tree = ast.parse(file.read_bytes())
    except (SyntaxError, ValueError, OSError):
        return
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            wanted = [(alias.name.split("."), roots) for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            base = node.module.split(".") if node.module else []
            start = [str(file.parents[node.level - 1])] if node.level and node.level <= len(file.parents) else roots
            wanted = [(base, start)] if base else []
            wanted += [([*base, alias.name], start) for alias in node.names if alias.name != "*"]
        else:
            continue
        for parts, places in wanted:
            for place in places:
                if found := _below(Path(place), parts):
                    yield found
                    break

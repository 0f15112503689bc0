"""`@tool`: functions that a model may call, their schemas read from the type hints.

    @tool                                        a method of an Agent, or a function named "pkg.mod:func" in a job file
    @tool(tags=["weather"], timeout=10)          seconds; `name`, `description` and `after` go here as well

A parameter annotated `Turn` gets the turn being handled and is not shown to the model.
Sync functions run in threads; async ones in the agent's loop.
"""

from __future__ import annotations

import inspect
import typing
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar, overload

from pydantic import BaseModel, ConfigDict, Field, ValidationError, create_model
from pydantic.errors import PydanticUserError

from teamwright.agents.loading import load
from teamwright.backends.api import Tool, Turn
from teamwright.backends.threads import in_thread
from teamwright.errors import ToolError, UserError

F = TypeVar("F", bound=Callable[..., Any])

_MARK = "__teamwright_tool__"


@dataclass(frozen=True, slots=True)
class ToolOptions:
    """What `@tool(...)` was given; empty fields are filled from the function."""

    name: str = ""
    description: str = ""
    tags: tuple[str, ...] = ()
    timeout: float | None = None
    after: tuple[str, ...] = ()


@overload
def tool(function: F, /) -> F: ...
@overload
def tool(
    *,
    name: str = "",
    description: str = "",
    tags: Sequence[str] = (),
    timeout: float | None = None,
    after: Sequence[str] = (),
) -> Callable[[F], F]: ...
def tool(
    function: F | None = None,
    /,
    *,
    name: str = "",
    description: str = "",
    tags: Sequence[str] = (),
    timeout: float | None = None,
    after: Sequence[str] = (),
) -> F | Callable[[F], F]:
    """Offer a method or function to the model. `timeout` is in seconds; `after` names tools whose result it needs.

    @tool(tags=["weather"], timeout=10)
    async def get_weather(self, city: str, units: Literal["c", "f"] = "c") -> str:
        "Current weather in a city."
    """
    options = ToolOptions(name, description, tuple(tags), timeout, tuple(after))

    def mark(target: F) -> F:
        setattr(target, _MARK, options)
        return target

    return mark if function is None else mark(function)


def tools_of(agent: object) -> list[Tool]:
    """The `@tool` methods of an agent, base classes' first, in the order they are written."""
    found: dict[str, Tool] = {}
    for base in reversed(type(agent).__mro__):
        for name, value in vars(base).items():
            inner = value.__func__ if isinstance(value, staticmethod | classmethod) else value
            if isinstance(getattr(inner, _MARK, None), ToolOptions):
                made = as_tool(getattr(agent, name))
                found[made.name] = made
    return list(found.values())


def load_tools(paths: Sequence[str]) -> list[Tool]:
    """The tools at "pkg.mod:func" paths. Raises UserError naming the path and what is wrong with it."""
    return [as_tool(load(path)) for path in paths]


def as_tool(function: Callable[..., Any]) -> Tool:
    """A Tool from a function or bound method, marked with `@tool` or not. Raises UserError when it can't be one."""
    if not callable(function):
        raise UserError(f"{function!r} is not a function, so it can't be a tool")
    options = getattr(function, _MARK, None)
    if not isinstance(options, ToolOptions):
        options = ToolOptions()
    name = options.name or getattr(function, "__name__", type(function).__name__)
    arguments = _Arguments(name, function)
    return Tool(
        name=name,
        description=options.description or inspect.getdoc(function) or name.replace("_", " "),
        parameters=arguments.schema,
        call=_Call(function, arguments),
        tags=options.tags,
        timeout=options.timeout,
        after=options.after,
    )


class _Arguments:
    """A function's parameters: their JSON schema, and a check of what the model sends against it."""

    def __init__(self, tool_name: str, function: Callable[..., Any]) -> None:
        self.turn_parameter: str | None = None
        fields: dict[str, Any] = {}
        self._names: dict[str, str] = {}
        try:
            hints = typing.get_type_hints(function, include_extras=True)
        except (NameError, TypeError) as error:
            raise UserError(f"tool {tool_name}: its type hints can't be read: {error}") from None
        for parameter in inspect.signature(function).parameters.values():
            if parameter.kind in (parameter.VAR_POSITIONAL, parameter.VAR_KEYWORD, parameter.POSITIONAL_ONLY):
                raise UserError(f"tool {tool_name}: parameter {parameter} can't be described to a model")
            hint = hints.get(parameter.name, str)
            if hint is Turn:
                self.turn_parameter = parameter.name
                continue
            default = ... if parameter.default is parameter.empty else parameter.default
            # Field names of our own: a parameter may be called `schema` or `_x`, a pydantic field may not.
            field = f"p{len(fields)}"
            fields[field] = (hint, Field(default, alias=parameter.name))
            self._names[field] = parameter.name
        try:
            self._model: type[BaseModel] = create_model(
                tool_name, __config__=ConfigDict(extra="forbid", arbitrary_types_allowed=False), **fields
            )
            schema = self._model.model_json_schema()
        except (PydanticUserError, TypeError) as error:
            message = str(error).splitlines()[0]
            raise UserError(f"tool {tool_name}: its type hints have no JSON schema: {message}") from None
        self.schema: Mapping[str, Any] = _plain(schema)

    def check(self, given: Mapping[str, Any]) -> dict[str, Any]:
        """Keyword arguments for the function. Raises ToolError with one line that a model can act on."""
        try:
            model = self._model.model_validate(dict(given))
        except ValidationError as error:
            wrong = "; ".join(
                f"{'.'.join(str(part) for part in item['loc']) or 'arguments'}: {item['msg']}"
                for item in error.errors(include_url=False, include_input=False)
            )
            raise ToolError(f"wrong arguments: {wrong}") from None
        return {self._names[field]: getattr(model, field) for field in model.model_fields_set}


@dataclass(frozen=True, slots=True)
class _Call:
    """What `Tool.call` is: arguments checked, then the function awaited or run in a thread."""

    function: Callable[..., Any]
    arguments: _Arguments

    async def __call__(self, given: Mapping[str, Any], turn: Turn) -> Any:
        values = self.arguments.check(given)
        if self.arguments.turn_parameter is not None:
            values[self.arguments.turn_parameter] = turn
        if inspect.iscoroutinefunction(self.function):
            return await self.function(**values)
        result = await in_thread(self.function, **values)
        return await result if inspect.isawaitable(result) else result


def _plain(schema: Any) -> Any:
    """A schema without the titles that pydantic derives from names: they only cost tokens."""
    if isinstance(schema, list):
        return [_plain(item) for item in schema]
    if not isinstance(schema, dict):
        return schema
    made = {}
    for key, value in schema.items():
        if key == "title" and isinstance(value, str):
            continue
        if key in ("properties", "$defs") and isinstance(value, dict):
            made[key] = {name: _plain(item) for name, item in value.items()}
        else:
            made[key] = value if key in ("default", "enum", "const", "examples") else _plain(value)
    return made

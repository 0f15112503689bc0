"""google-genai: each request for content is a model call, each function that it calls by itself a tool call.

Functions that the user's own code calls are known by what it sends back: from when the model asked to then.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterator
from typing import Any

from . import scope as runs
from .gemini_words import Reply, message_of, text_of
from .scope import Scope, failure, safely
from .wrapping import wrap

_NAME = "google-genai"
_transformers: Any = None


def models(module: Any) -> None:
    """google.genai.models is there."""
    global _transformers
    _transformers = getattr(module, "t", None)
    wrap(module.Models, "_generate_content", _whole)
    wrap(module.Models, "_generate_content_stream", _stream)
    wrap(module.AsyncModels, "_generate_content", _awaited)
    wrap(module.AsyncModels, "_generate_content_stream", _awaited_stream)


def functions(module: Any) -> None:
    """google.genai._extra_utils is there: it calls the functions given as tools."""
    wrap(module, "invoke_function_from_dict_args", _called)
    wrap(module, "invoke_function_from_dict_args_async", _awaited_call)
    adapter = getattr(module, "McpToGenAiToolAdapter", None)
    if isinstance(adapter, type):
        wrap(adapter, "call_tool", _mcp_call)


class _Call:
    """One request, if somebody wants to know of it."""

    def __init__(self, models: Any, given: dict[str, Any]) -> None:
        self._scope = runs.current()
        self._number = 0
        self._said = Reply()
        if self._scope is not None:
            with safely(_NAME):
                self._begin(self._scope, models, given)
        runs.check()

    def _begin(self, scope: Scope, models: Any, given: dict[str, Any]) -> None:
        contents = [message_of(one) for one in _contents(given.get("contents"))]
        _results(scope, contents)
        config = given.get("config")
        system = config.get("system_instruction") if isinstance(config, dict) else _system(config)
        vertex = getattr(getattr(models, "_api_client", None), "vertexai", False)
        self._number = scope.begin(
            "model",
            model=str(given.get("model") or "").rpartition("models/")[2],
            provider="gcp.vertex_ai" if vertex else "gcp.gemini",
            messages=contents,
            system=text_of(system) or None,
        )
        scope.left[self._number] = lambda error: self.end(error or GeneratorExit())

    def add(self, chunk: Any, *, streamed: bool) -> None:
        """A piece of the answer, or all of it."""
        if self._scope is not None and self._number:
            with safely(_NAME):
                begun, known = self._said.begun, len(self._said.asked)
                self._said.add(chunk)
                self._scope.asked(self._said.asked[known:])  # the SDK calls them before the stream is through
                if streamed and self._said.begun and not begun:
                    self._scope.note(self._number, "first token")

    def end(self, error: BaseException | None = None) -> None:
        """It is over; leaving a stream early is no error."""
        if self._scope is None or not self._number:
            return
        with safely(_NAME):
            number, self._number = self._number, 0
            self._scope.left.pop(number, None)
            early = isinstance(error, GeneratorExit)
            failed = failure(error) if error is not None and not early else None if early else self._said.fault
            self._scope.end(number, **self._said.told(), error=failed, early=early or None)


def _whole(original: Callable[..., Any]) -> Callable[..., Any]:
    def call(self: Any, *args: Any, **given: Any) -> Any:
        seen = _Call(self, given)
        try:
            answer = original(self, *args, **given)
        except BaseException as error:
            seen.end(error)
            raise
        seen.add(answer, streamed=False)
        seen.end()
        return answer

    return call


def _stream(original: Callable[..., Any]) -> Callable[..., Any]:
    def call(self: Any, *args: Any, **given: Any) -> Iterator[Any]:
        seen = _Call(self, given)
        try:
            for chunk in original(self, *args, **given):
                seen.add(chunk, streamed=True)
                yield chunk
        except BaseException as error:
            seen.end(error)
            raise
        seen.end()

    return call


def _awaited(original: Callable[..., Any]) -> Callable[..., Any]:
    async def call(self: Any, *args: Any, **given: Any) -> Any:
        seen = _Call(self, given)
        try:
            answer = await original(self, *args, **given)
        except BaseException as error:
            seen.end(error)
            raise
        seen.add(answer, streamed=False)
        seen.end()
        return answer

    return call


def _awaited_stream(original: Callable[..., Any]) -> Callable[..., Any]:
    async def call(self: Any, *args: Any, **given: Any) -> Any:
        seen = _Call(self, given)
        try:
            stream = await original(self, *args, **given)
        except BaseException as error:
            seen.end(error)
            raise
        return _watched(stream, seen)

    return call


async def _watched(stream: Any, seen: _Call) -> AsyncIterator[Any]:
    try:
        async for chunk in stream:
            seen.add(chunk, streamed=True)
            yield chunk
    except BaseException as error:
        seen.end(error)
        close = getattr(stream, "aclose", None)
        if isinstance(error, GeneratorExit) and close is not None:
            await close()
        raise
    seen.end()


class _Tool:
    """One call of a function, if somebody wants to know of it: code in `with` runs inside its span."""

    def __init__(self, name: str, arguments: Any, source: str) -> None:
        self._scope = runs.current()
        self._number = 0
        self._inside: Any = None
        self._result: Any = None
        if self._scope is not None:
            with safely(_NAME):
                asked = self._scope.take(name, arguments)
                self._number = self._scope.begin(
                    "tool", name=name, call_id=asked.call_id if asked else None, arguments=arguments, source=source
                )

    def result(self, value: Any) -> Any:
        self._result = {"value": value}
        return value

    def __enter__(self) -> _Tool:
        if self._scope is not None and self._number:
            self._inside = self._scope.inside(self._number)
            self._inside.__enter__()
        return self

    def __exit__(self, kind: Any, error: BaseException | None, trace: Any) -> None:
        if self._inside is not None:
            self._inside.__exit__(None, None, None)
        if self._scope is None or not self._number:
            return
        with safely(_NAME):
            if error is not None:
                real = error.__cause__ or error.__context__ or error
                failed = {**failure(real), "reason": "tool_failed"} if isinstance(error, Exception) else failure(error)
                self._scope.end(self._number, error=failed, result=failed["text"])
            else:
                value = self._result["value"] if self._result is not None else None
                self._scope.end(self._number, result=value if value is not None else "")


def _called(original: Callable[..., Any]) -> Callable[..., Any]:
    def call(args: Any, function_to_invoke: Any) -> Any:
        with _Tool(getattr(function_to_invoke, "__name__", "function"), args, "local") as seen:
            return seen.result(original(args, function_to_invoke))

    return call


def _awaited_call(original: Callable[..., Any]) -> Callable[..., Any]:
    async def call(args: Any, function_to_invoke: Any) -> Any:
        with _Tool(getattr(function_to_invoke, "__name__", "function"), args, "local") as seen:
            return seen.result(await original(args, function_to_invoke))

    return call


def _mcp_call(original: Callable[..., Any]) -> Callable[..., Any]:
    async def call(self: Any, function_call: Any) -> Any:
        with _Tool(str(function_call.name), function_call.args or {}, "mcp") as seen:
            return seen.result(await original(self, function_call))

    return call


def _system(config: Any) -> Any:
    return getattr(config, "system_instruction", None)


def _contents(given: Any) -> list[Any]:
    """What is sent, as the SDK has it: a list of Content."""
    if _transformers is not None:
        return list(_transformers.t_contents(given))
    return list(given) if isinstance(given, (list, tuple)) else [given]


def _results(scope: Scope, contents: list[dict[str, Any]]) -> None:
    """Results of functions that nobody but the user's own code can have called."""
    for one in contents[-1:]:
        for part in one["parts"]:
            if part["type"] != "tool_call_response":
                continue
            asked = scope.take(part["name"], None, part.get("id"))
            if asked is not None:
                number = scope.begin(
                    "tool", at=asked.at, name=asked.name, call_id=asked.call_id, arguments=asked.arguments
                )
                scope.end(number, result=part["response"])
    for one in contents:
        for part in one["parts"]:
            if part["type"] == "tool_call_response":
                part.pop("name", None)

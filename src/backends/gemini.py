"""The gemini backend: Google's google-genai SDK for the calls, our own loop around them.

The SDK's automatic function calling, its retries and its MCP sessions are off: what they do can't be seen.
"""

from __future__ import annotations

import json
import os
from collections.abc import AsyncGenerator, Callable, Mapping, Sequence
from contextlib import aclosing
from typing import TYPE_CHECKING, Any, ClassVar, cast

import httpx
from pydantic import ValidationError

from teamwright.backends import gemini_wire as wire
from teamwright.backends import loop
from teamwright.backends.api import Account, Answer, BackendConfig, Turn, Usage
from teamwright.backends.calls import Calling, ModelError, broken, guessed_tokens, is_local, new_client, note, refused
from teamwright.backends.catalog import CATALOG
from teamwright.backends.loop import Entry, Reply
from teamwright.backends.options import OWN_KEYS, Options
from teamwright.tracing.cost import price
from teamwright.tracing.messages import to_json
from teamwright.tracing.spans import ModelSpan

if TYPE_CHECKING:
    from google.genai import Client, errors, types

_WHO = "Gemini"
#: Names that other backends have for the same options.
_NAMES = {"max_tokens": "max_output_tokens", "stop": "stop_sequences"}
_KEYS = ("GEMINI_API_KEY", "GOOGLE_API_KEY")
#: The variable with the server's address: of the Gemini API, of Vertex AI.
_ADDRESSES = ("GOOGLE_GEMINI_BASE_URL", "GOOGLE_VERTEX_BASE_URL")


class GeminiBackend:
    """Thinks with a Gemini model."""

    name: ClassVar[str] = "gemini"

    async def open(self, config: BackendConfig) -> None:
        """Read the options and make the client; nothing is asked of the server yet. Raises UserError."""
        # 0.8 s and 56 MB, so only where it is used
        from google.auth.exceptions import GoogleAuthError
        from google.genai import errors, types

        self._types: Any = types
        self._no_access = GoogleAuthError
        self._failures = (
            httpx.HTTPError, ModelError, errors.APIError, errors.UnknownApiResponseError, GoogleAuthError,
        )  # fmt: skip
        options = Options(self.name, config.options, CATALOG[self.name].options or ())
        self._config = config
        self._calling = Calling.of(config, options)
        self._thoughts = options.flag("thoughts", True)
        self._refuses: set[str] = set()
        self._generation = _generation(config.model_options, options, types.GenerateContentConfig)
        self._most: int = self._generation.max_output_tokens or 0
        vertex = options.flag("vertex", os.environ.get("GOOGLE_GENAI_USE_VERTEXAI", "").lower() in ("1", "true"))
        self._project = options.text("project") or os.environ.get("GOOGLE_CLOUD_PROJECT")
        base = options.address("base_url") or os.environ.get(_ADDRESSES[vertex]) or None
        self._base = base
        self._provider = "gcp.vertex_ai" if vertex else "gcp.gemini"
        local = base is not None and is_local(httpx.URL(base).host)
        self._key = next(filter(None, map(os.environ.get, _KEYS)), None)
        if not vertex and self._key is None and not local:
            hint = "export it before `deploy start`, or write it into .env beside the job file"
            raise options.wrong(f"no {_KEYS[0]} is set", hint=hint)
        self._http = new_client("", self._calling.timeout, headers={}, local=local, tls=not local)
        http_options = types.HttpOptions(
            base_url=base, timeout=int(self._calling.timeout * 1000), httpx_async_client=self._http
        )
        self._client = self._connect(options, http_options, vertex=vertex)

    def _connect(self, options: Options, http_options: Any, *, vertex: bool) -> Client:
        """The SDK's client. For Vertex AI a project with the machine's Google credentials, else a key ("express")."""
        from google.genai import Client

        location = options.text("location") or os.environ.get("GOOGLE_CLOUD_LOCATION") or "global"
        if not vertex:
            return Client(api_key=self._key or "none", vertexai=False, http_options=http_options)
        if self._project is None and self._key is not None:
            return Client(vertexai=True, api_key=self._key, http_options=http_options)
        try:
            # Given here, they count beside a base URL too; from the environment the SDK would drop them then.
            return Client(vertexai=True, project=self._project, location=location, http_options=http_options)
        except (self._no_access, ValueError) as error:
            hint = "set project in backend_options, and GOOGLE_APPLICATION_CREDENTIALS or `gcloud auth`"
            raise options.wrong(f"Vertex AI: {' '.join(str(error).split())}", hint=hint) from None

    async def close(self) -> None:
        await self._http.aclose()
        self._client.close()

    async def run(self, turn: Turn) -> Answer:
        """Model and tools in turn until it answers."""

        place = self._base or self._project or _WHO
        account = Account(self._provider, self._key or place)

        async def step(entries: Sequence[Entry]) -> Reply:
            contents = wire.contents(entries)
            shown = loop.to_messages(entries)
            read = guessed_tokens(to_json(shown) + self._config.system)

            async def once(model: str, attempt: int) -> Reply:
                with turn.tracer.model_call(
                    model=model,
                    provider=self._provider,
                    messages=shown,
                    system=self._config.system or None,
                    attempt=attempt,
                ) as span:
                    return await self._call(turn, model, contents, read, span)

            def cost(model: str) -> float | None:
                return self._dollars(model, {"input_tokens": read, "output_tokens": self._most})

            return await self._calling.make(turn, once, cost, account)

        return await loop.run(turn, step, output_schema=self._config.output_schema)

    async def _call(self, turn: Turn, model: str, contents: list[dict[str, Any]], read: int, span: ModelSpan) -> Reply:
        said = wire.Gathered()
        speaks = self._config.output_schema is None
        try:
            stream = await self._client.aio.models.generate_content_stream(
                model=model.removeprefix("gemini/"),
                contents=contents,
                config=self._request(turn, model),
            )
            # It is a generator, whatever its annotation says: left half read it would keep its connection.
            async with aclosing(cast("AsyncGenerator[types.GenerateContentResponse]", stream)) as chunks:
                async for chunk in chunks:
                    waiting = not said.begun
                    words = said.add(chunk)
                    if waiting and said.begun:
                        span.first_token()
                    if words and speaks:
                        await turn.stream(words)
            return self._reply(said, model, read, span)
        except self._failures as problem:
            error = self._as_error(problem)
            note(span, error)
            if said.begun:
                span.answer(loop.reply_message(said.text, said.calls, thinking=said.thinking, finish_reason="error"))
            if said.text and speaks:
                error.passing = False  # the words are out: making the call again would say them twice
            raise error from None

    def _request(self, turn: Turn, model: str) -> Any:
        types = self._types
        config = self._generation.model_copy()
        config.system_instruction = self._config.system or None
        config.automatic_function_calling = types.AutomaticFunctionCallingConfig(disable=True)
        if turn.tools:
            config.tools = [types.Tool.model_validate({"function_declarations": wire.declarations(turn.tools)})]
        elif self._config.output_schema is not None and "response" not in self._refuses:
            config.response_mime_type = "application/json"
            config.response_json_schema = dict(self._config.output_schema)
        if config.thinking_config is None and self._shows_thoughts(model):
            config.thinking_config = types.ThinkingConfig(include_thoughts=True)
        return config

    def _shows_thoughts(self, model: str) -> bool:
        return self._thoughts and wire.thinks(model) and "thinking" not in self._refuses

    def _as_error(self, problem: Exception) -> ModelError:
        if isinstance(problem, ModelError):
            return problem
        if isinstance(problem, self._no_access):
            return ModelError(f"Vertex AI gives no access: {problem.args[0]}", reason="bad_key")
        if isinstance(problem, httpx.HTTPError):
            return broken(problem, _WHO, self._calling.timeout)
        if not hasattr(problem, "details"):
            return ModelError(f"{_WHO} sent no JSON: {problem}", reason="bad_answer", passing=True)
        answer = cast("errors.APIError", problem)
        body = json.dumps(answer.details)
        error = refused(_WHO, answer.code or 500, body, _headers(answer), secret=self._key)
        if "API_KEY_INVALID" in body or "API key not valid" in body:
            error.reason = "bad_key"
        elif error.reason == "bad_request":
            for key in ("thinking", "response"):
                if key in error.message.lower() and key not in self._refuses:
                    self._refuses.add(key)  # it can do without, so the next attempt leaves it out
                    error.passing, error.retry_after = True, 0.0
        return error

    def _dollars(self, model: str, tokens: Mapping[str, int | None]) -> float | None:
        return price(
            model.removeprefix("gemini/").removeprefix("models/"),
            self._provider,
            input_tokens=tokens["input_tokens"],
            output_tokens=tokens["output_tokens"],
            cache_read_tokens=tokens.get("cache_read_tokens"),
        )

    def _reply(self, said: wire.Gathered, model: str, read: int, span: ModelSpan) -> Reply:
        tokens, guessed = said.tokens(read)
        cost = self._dollars(model, tokens)
        if said.blocked is None and said.finish is not None:
            message = loop.reply_message(
                said.text, said.calls, thinking=said.thinking, finish_reason=said.finish_reason
            )
            span.answer(message, finish_reason=said.finish_reason, model=said.model, response_id=said.id)
            span.usage(**tokens, cost_usd=cost, estimated=True, tokens_estimated=guessed)
        said.check(_WHO)
        usage = Usage(
            input_tokens=tokens["input_tokens"] or 0,
            output_tokens=tokens["output_tokens"] or 0,
            cost_usd=cost,
            estimated=True,
        )
        return Reply(said.text, said.calls, usage, said.parts, tuple(said.files))


def _generation(given: Mapping[str, Any], options: Options, made: Callable[..., Any]) -> Any:
    """`model_options` as the SDK has them, by its own class. Raises UserError naming the one that it doesn't take."""
    for key in given:
        if key in OWN_KEYS["gemini"]:
            raise options.wrong(f"model_options.{key} can't be set: it is the backend's own")
    try:
        return made(**{_NAMES.get(key, key): value for key, value in given.items()})
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        place = ".".join(str(part) for part in first["loc"])
        raise options.wrong(f"model_options.{place}: {first['msg']}") from None


def _headers(problem: errors.APIError) -> dict[str, str]:
    """The response's headers, with the pause that Google names in the body as Retry-After."""
    made = dict(getattr(problem.response, "headers", None) or {})
    details = problem.details.get("error", {}) if isinstance(problem.details, dict) else {}
    for item in details.get("details") or [] if isinstance(details, dict) else []:
        delay = item.get("retryDelay") if isinstance(item, dict) else None
        if isinstance(delay, str) and delay.endswith("s"):
            made.setdefault("retry-after", delay[:-1])
    return made


def create() -> GeminiBackend:
    """What the loader calls."""
    return GeminiBackend()

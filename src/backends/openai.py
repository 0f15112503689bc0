"""The openai backend: any server with OpenAI's chat completions, by plain HTTP.

OpenAI itself, and Ollama, vLLM, llama.cpp, LM Studio, OpenRouter … by `backend_options: {base_url: …}`. A server on
this machine needs no key.
"""

from __future__ import annotations

import os
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar, Self

import httpx

from teamwright.backends import chat_wire as wire
from teamwright.backends import loop
from teamwright.backends.api import Account, Answer, BackendConfig, Turn, Usage
from teamwright.backends.calls import Calling, ModelError, broken, guessed_tokens, is_local, new_client, note, refused
from teamwright.backends.catalog import CATALOG, HOSTS
from teamwright.backends.loop import Entry, Reply
from teamwright.backends.options import OWN_KEYS, Options
from teamwright.tracing.cost import price
from teamwright.tracing.messages import to_json
from teamwright.tracing.spans import ModelSpan

OFFICIAL = "https://api.openai.com/v1"


@dataclass(frozen=True, slots=True)
class Server:
    """Where the models are. `local`: on this machine."""

    base_url: str
    key: str | None = field(repr=False)
    provider: str
    local: bool

    @classmethod
    def of(cls, options: Options, environ: Mapping[str, str]) -> Self:
        """From `base_url` and `key_variable`, else OpenAI's variables. Raises UserError."""
        base = options.address("base_url") or environ.get("OPENAI_BASE_URL") or OFFICIAL
        try:
            url = httpx.URL(base)
        except httpx.InvalidURL as error:
            raise options.wrong(f"base_url {base!r}: {error}") from None
        if url.scheme not in ("http", "https") or not url.host:
            raise options.wrong(f"base_url must be like http://127.0.0.1:11434/v1, not {base!r}")
        variable = options.text("key_variable") or "OPENAI_API_KEY"
        key = environ.get(variable) or None
        if key is None and (url.scheme == "https" or options.text("key_variable")):
            hint = f"export it before `deploy start`; a name of your own also goes under env: [{variable}]"
            raise options.wrong(f"no {variable} is set for {url.host}", hint=hint)
        return cls(base.rstrip("/"), key, HOSTS.get(url.host, "openai"), is_local(url.host))

    @property
    def official(self) -> bool:
        return self.base_url == OFFICIAL

    @property
    def account(self) -> Account:
        """Whose limits its calls count against."""
        return Account(self.provider, self.key or self.base_url)

    @property
    def headers(self) -> dict[str, str]:
        return {"authorization": f"Bearer {self.key}"} if self.key else {}

    def dollars(self, model: str, tokens: Mapping[str, int | None]) -> float | None:
        """By the list; a model that isn't in it costs nothing on this machine, and elsewhere nobody knows what."""
        name, provider, _ = asked(model, self.base_url)
        found = price(
            name,
            provider,
            input_tokens=tokens.get("input_tokens"),
            output_tokens=tokens.get("output_tokens"),
            cache_read_tokens=tokens.get("cache_read_tokens"),
        )
        return 0.0 if found is None and self.local else found


class OpenAIBackend:
    """Thinks with a model behind chat completions."""

    name: ClassVar[str] = "openai"

    async def open(self, config: BackendConfig) -> None:
        """Read the options and make the client; nothing is asked of the server yet. Raises UserError."""
        options = Options(self.name, config.options, CATALOG[self.name].options or ())
        for key in config.model_options:
            if key in OWN_KEYS[self.name]:
                raise options.wrong(f"model_options.{key} can't be set: it is the backend's own")
        self._config = config
        self._calling = Calling.of(config, options)
        self._server = Server.of(options, os.environ)
        self._stream = options.flag("stream", True)
        self._refuses: set[str] = set()
        self._client = new_client(
            self._server.base_url,
            self._calling.timeout,
            headers={**self._server.headers, **_account(self._server), **options.mapping("headers")},
            local=self._server.local,
            tls=self._server.base_url.startswith("https:"),
        )

    async def close(self) -> None:
        await self._client.aclose()

    async def run(self, turn: Turn) -> Answer:
        """Model and tools in turn until it answers."""

        async def step(entries: Sequence[Entry]) -> Reply:
            return await self.ask(
                turn,
                wire.messages(self._config.system, entries),
                loop.to_messages(entries),
                self._config.system,
                wire.functions(turn.tools),
                speaks=self._config.output_schema is None,
            )

        return await loop.run(turn, step, output_schema=self._config.output_schema)

    async def ask(
        self,
        turn: Turn,
        messages: list[dict[str, Any]],
        shown: Sequence[Mapping[str, Any]],
        system: str,
        functions: Sequence[Mapping[str, Any]],
        *,
        speaks: bool,
    ) -> Reply:
        """One model call with its retries, a `chat` span each. `shown` and `system` are what the spans tell.

        `speaks`: its words are the answer's, and go out as they come. Raises ModelError, LimitReached.
        """
        read = guessed_tokens(to_json(shown) + system)

        async def once(model: str, attempt: int) -> Reply:
            with turn.tracer.model_call(
                model=model, provider=self._server.provider, messages=shown, system=system or None, attempt=attempt
            ) as span:
                body = self._body(functions, model, messages)
                return await self._call(turn, model, body, read, span, speaks=speaks)

        def cost(model: str) -> float | None:
            most = self._config.model_options
            written = most.get("max_completion_tokens") or most.get("max_tokens") or 0
            return self._server.dollars(model, {"input_tokens": read, "output_tokens": written})

        return await self._calling.make(turn, once, cost, self._server.account)

    async def _call(
        self, turn: Turn, model: str, body: Mapping[str, Any], read: int, span: ModelSpan, *, speaks: bool
    ) -> Reply:
        said = wire.Gathered()
        try:
            async with self._client.stream("POST", "chat/completions", json=body) as response:
                if response.status_code >= 400:
                    await self._refusal(response)
                async for chunk in _chunks(response):
                    waiting = not said.begun
                    words = said.add(chunk)
                    if waiting and said.begun:
                        span.first_token()
                    if words and speaks:
                        await turn.stream(words)
            if (words := said.rest()) and speaks:
                await turn.stream(words)
            return self._reply(said, model, read, span)
        except (httpx.HTTPError, ModelError) as problem:
            error = problem if isinstance(problem, ModelError) else broken(problem, self._who, self._calling.timeout)
            note(span, error)
            if said.begun:
                span.answer(loop.reply_message(said.text, said.calls, thinking=said.thinking, finish_reason="error"))
            if said.text and speaks:
                error.passing = False  # the words are out: making the call again would say them twice
            raise error from None

    @property
    def _who(self) -> str:
        return "OpenAI" if self._server.official else f"the model server at {self._server.base_url}"

    def _body(
        self, functions: Sequence[Mapping[str, Any]], model: str, messages: list[dict[str, Any]]
    ) -> dict[str, Any]:
        name = model.removeprefix("openai/") if self._server.official else model
        body: dict[str, Any] = {"model": name, "messages": messages, **self._config.model_options}
        if self._server.official and "max_tokens" in body:
            body["max_completion_tokens"] = body.pop("max_tokens")
        if functions:
            body["tools"] = list(functions)
        if self._stream:
            body["stream"] = True
            body["stream_options"] = {"include_usage": True}
        schema = self._config.output_schema
        # Servers that hold a model to a shape by a grammar don't let it call tools then.
        if schema is not None and (self._server.official or not functions):
            shape = {"name": "answer", "schema": dict(schema)}
            body["response_format"] = {"type": "json_schema", "json_schema": shape}
        return {key: value for key, value in body.items() if key not in self._refuses}

    async def _refusal(self, response: httpx.Response) -> None:
        text = (await response.aread()).decode(errors="replace")
        error = refused(self._who, response.status_code, text, response.headers, secret=self._server.key)
        if error.reason == "bad_request":
            for key in ("stream_options", "response_format"):
                if key in text and key not in self._refuses:
                    self._refuses.add(key)  # it can do without, so the next attempt leaves it out
                    error.passing, error.retry_after = True, 0.0
        raise error

    def _reply(self, said: wire.Gathered, model: str, read: int, span: ModelSpan) -> Reply:
        if said.finish is None and not said.done:
            raise ModelError(f"the answer of {self._who} broke off", reason="cut", passing=True)
        calls = said.calls
        tokens, dollars, guessed = wire.tokens(said, read)
        cost = self._server.dollars(model, tokens) if dollars is None else dollars
        message = loop.reply_message(said.text, calls, thinking=said.thinking, finish_reason=said.finish_reason)
        span.answer(message, finish_reason=said.finish_reason, model=said.model, response_id=said.id)
        span.usage(**tokens, cost_usd=cost, estimated=dollars is None and bool(cost), tokens_estimated=guessed)
        if not said.text and not calls and said.finish_reason in ("length", "content_filter"):
            raise _nothing_said(said.finish_reason, self._who)
        usage = Usage(
            input_tokens=tokens["input_tokens"] or 0,
            output_tokens=tokens["output_tokens"] or 0,
            cost_usd=cost,
            estimated=guessed or (dollars is None and bool(cost)),
        )
        return Reply(said.text, calls, usage, said.raw(calls))


def asked(model: str, base_url: str) -> tuple[str, str, bool]:
    """Who answers for a model there: its name and provider in the price list, and whether it is on this machine."""
    host = httpx.URL(base_url or OFFICIAL).host
    provider = HOSTS.get(host, "openai")
    if provider == "openrouter" and "/" in model:
        provider, _, model = model.partition("/")
    return model.removeprefix("openai/"), provider, is_local(host)


async def _chunks(response: httpx.Response) -> AsyncIterator[Mapping[str, Any]]:
    """The chunks of a stream; the one reply of a server that doesn't stream."""
    if "json" in response.headers.get("content-type", ""):
        yield wire.parsed((await response.aread()).decode(errors="replace"))
        return
    async for chunk in wire.events(response):
        yield chunk


def _nothing_said(finish: str, who: str) -> ModelError:
    if finish == "length":
        hint = "raise model_options.max_tokens"
        return ModelError("the model used all its tokens before it said anything", reason="length", hint=hint)
    return ModelError(f"{who} held the answer back (content filter)", reason="blocked")


def _account(server: Server) -> dict[str, str]:
    if not server.official:
        return {}
    names = {"OPENAI_ORG_ID": "openai-organization", "OPENAI_PROJECT_ID": "openai-project"}
    return {header: os.environ[name] for name, header in names.items() if os.environ.get(name)}


def create() -> OpenAIBackend:
    """What the loader calls."""
    return OpenAIBackend()

"""The backend `claude`: Claude through its Agent SDK and the CLI that comes with it, one process a conversation."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, ClassVar

from teamwright.backends import structured
from teamwright.backends.api import Answer, BackendConfig, Tool, Turn
from teamwright.backends.asking import ASK_USER, ask_user_tool
from teamwright.backends.claude import options
from teamwright.backends.claude.connection import Connection
from teamwright.backends.claude.content import content_of, shown_of
from teamwright.backends.claude.exchange import Exchange
from teamwright.backends.claude.sessions import Sessions
from teamwright.backends.claude.settings import Settings, account_of
from teamwright.errors import TeamwrightError


class ClaudeBackend:
    """Thinks with Claude."""

    name: ClassVar[str] = "claude"

    def __init__(self) -> None:
        self._sessions: Sessions | None = None
        self._config = BackendConfig("", "", None, {}, {}, ".")
        self._folder: tempfile.TemporaryDirectory[str] | None = None

    async def open(self, config: BackendConfig) -> None:
        """Check the options and make the folders; a CLI starts with the first message. Raises UserError."""
        read = options.read(config.options, config.model_options, config.folder)
        if not config.state:
            self._folder = tempfile.TemporaryDirectory(prefix="teamwright-claude-")
            config = replace(config, state=self._folder.name)
        self._config = config
        self._sessions = Sessions(Settings.make(config, read, os.environ))

    async def close(self) -> None:
        """End all CLI processes."""
        if self._sessions is not None:
            await self._sessions.close()
        if self._folder is not None:
            self._folder.cleanup()

    async def forget(self, conversation: str) -> None:
        """Forget it, in memory and on disk. Raises BackendError while somebody talks in it."""
        if self._sessions is not None:
            await self._sessions.forget(conversation)

    async def run(self, turn: Turn) -> Answer:
        """One message. With an output schema, an answer that doesn't fit is sent back once."""
        if self._sessions is None:
            raise TeamwrightError("the backend claude is not open")
        tools = list(turn.tools)
        if not any(tool.name == ASK_USER for tool in tools):
            tools.append(ask_user_tool())
        schema = self._config.output_schema
        async with self._sessions.talk(turn, tools) as (connection, knows):
            content = content_of(turn, earlier=not knows)
            answer = await self._exchange(turn, connection, tools, content, shown_of(turn), stream=schema is None)
            if schema is None:
                return answer
            try:
                return structured.conform(answer, schema)
            except structured.Unfit as error:
                again = f"{error.message}. {structured.instruction(schema)}"
            mended = await self._exchange(
                turn, connection, tools, [{"type": "text", "text": again}], again, stream=False
            )
            return structured.conform(replace(mended, files=(*answer.files, *mended.files)), schema)

    async def _exchange(
        self,
        turn: Turn,
        connection: Connection,
        tools: Sequence[Tool],
        content: Sequence[Mapping[str, Any]],
        shown: str,
        *,
        stream: bool,
    ) -> Answer:
        model, system = self._config.model, self._config.system
        exchange = Exchange(turn, connection, tools, model, system, account_of(self._config, os.environ))
        text = await exchange.run(content, shown, stream=stream)
        return Answer(text, tuple(exchange.files))

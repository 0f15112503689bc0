"""How the CLI is started: its options, its environment, its folders. Here nothing of the user's gets in unasked."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import claude_agent_sdk as sdk

from teamwright.backends.api import Account, BackendConfig, Limits
from teamwright.backends.claude import written
from teamwright.backends.claude.options import Options, tool_of
from teamwright.errors import UserError

#: The in-process MCP server that has the agent's own tools.
SERVER = "team"
#: Whose models they are, as traces have it.
PROVIDER = "anthropic"
#: Any of these lets the CLI call the model without a login.
KEYS = ("ANTHROPIC_API_KEY", "ANTHROPIC_AUTH_TOKEN", "CLAUDE_CODE_OAUTH_TOKEN")
_SOCKETS = "cc-socks"
_WEEK_MS = 7 * 24 * 3600 * 1000
_MESSAGE_LIMIT = 32 * 2**20
#: The CLI speaks to nobody but the model's API, and one message has one answer: nothing runs on behind it.
_QUIET = {
    "CLAUDE_CODE_DISABLE_NONESSENTIAL_TRAFFIC": "1",
    "DISABLE_AUTOUPDATER": "1",
    "DISABLE_TELEMETRY": "1",
    "DISABLE_ERROR_REPORTING": "1",
    "CLAUDE_CODE_ENABLE_TELEMETRY": "0",
    "CLAUDE_CODE_DISABLE_BACKGROUND_TASKS": "1",
}


@dataclass(frozen=True, slots=True)
class Settings:
    """What all CLI processes of an agent have in common."""

    config: BackendConfig
    options: Options
    state: Path
    cwd: Path
    environment: Mapping[str, str]

    @classmethod
    def make(cls, config: BackendConfig, options: Options, environ: Mapping[str, str]) -> Settings:
        """Make the folders. Raises UserError when there is no key and no login."""
        if not config.login and not any(environ.get(name) for name in KEYS):
            raise UserError(
                f"Claude needs a key: {KEYS[0]} is not set", hint=f"export {KEYS[0]}=…, or write auth: login"
            )
        state = Path(config.state)
        cwd = Path(options.cwd) if options.cwd is not None else state / "work"
        for folder in (state, state / "cache", state / "run", cwd):
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        for socket in (state / "run" / _SOCKETS).glob("*.sock"):
            if not Path("/proc", socket.stem).exists():  # its CLI was killed, and this agent with it
                socket.unlink(missing_ok=True)
        return cls(config, options, state, cwd, _environment(config, options, state))

    def session_id(self, conversation: str) -> str:
        """The CLI's id of a conversation: the same after every restart."""
        return written.session_id(conversation)

    def sweep(self, pid: int) -> None:
        """Remove the socket that a CLI process which is gone has left: by itself it does so only when it ends well."""
        for folder in (self.state / "run" / _SOCKETS, Path(f"/tmp/{_SOCKETS}-{os.getuid()}")):
            (folder / f"{pid}.sock").unlink(missing_ok=True)

    def known(self, session_id: str) -> bool:
        """Whether the CLI has written that session down."""
        return bool(written.transcripts(self._folder, session_id))

    def forget(self, session_id: str) -> None:
        """Remove what the CLI has written of that session."""
        written.forget(self._folder, session_id)

    @property
    def _folder(self) -> Path:
        return Path(self.environment.get("CLAUDE_CONFIG_DIR") or os.environ.get("CLAUDE_CONFIG_DIR") or _own())

    def sdk_options(
        self, tools: Sequence[str], server: Any, limits: Limits, session_id: str, *, resume: bool, **more: Any
    ) -> Any:
        """Options for one client. `tools` are the names that `server` offers; `more` are hooks and the like."""
        options = self.options
        builtin = list(dict.fromkeys(tool_of(rule) for rule in options.builtin_tools))
        thinking = options.thinking
        return sdk.ClaudeAgentOptions(
            model=self.config.model,
            fallback_model=",".join(options.fallback_models) or None,
            system_prompt=self.config.system,
            tools=builtin,
            allowed_tools=[*(f"mcp__{SERVER}__{name}" for name in tools), *options.builtin_tools],
            disallowed_tools=list(options.deny),
            mcp_servers={SERVER: server},
            strict_mcp_config=True,
            setting_sources=list(options.setting_sources),
            skills=None if "Skill" in builtin else [],
            permission_mode="dontAsk",
            max_turns=limits.turns or None,
            cwd=self.cwd,
            env=dict(self.environment),
            include_partial_messages=True,
            forward_subagent_text=True,
            # `/clear` and `@/etc/passwd` in somebody's message are words, not commands.
            verbatim_prompts=True,
            max_buffer_size=_MESSAGE_LIMIT,
            effort=options.effort,
            thinking=None
            if thinking is None
            else {"type": "disabled"}
            if thinking is False
            else {"type": "adaptive"}
            if thinking is True
            else {"type": "enabled", "budget_tokens": thinking},
            **({"resume": session_id} if resume else {"session_id": session_id}),
            **more,
        )


def account_of(config: BackendConfig, environ: Mapping[str, str]) -> Account:
    """Whose limits the CLI's calls count against: its key, or the account that somebody has logged in with."""
    login = f"login {environ.get('CLAUDE_CONFIG_DIR') or _own()}"
    key = None if config.login else next(filter(None, (environ.get(name) for name in KEYS)), None)
    return Account(PROVIDER, key or login)


def _environment(config: BackendConfig, options: Options, state: Path) -> dict[str, str]:
    made = {
        **_QUIET,
        "XDG_CACHE_HOME": str(state / "cache"),
        # Where it listens for other sessions of the same person: not where those are. (Where the path of a socket
        # would be too long it takes one of its own below /tmp.)
        "XDG_RUNTIME_DIR": str(state / "run"),
        "CLAUDE_CODE_MAX_RETRIES": str(options.retries),
        # Our tools have time limits of their own, and a person may take long to answer a question.
        "MCP_TOOL_TIMEOUT": str(_WEEK_MS),
        "MAX_MCP_OUTPUT_TOKENS": "250000",
        # The model sees our tools by the names that prompts and traces have, not as mcp__team__NAME.
        "CLAUDE_AGENT_SDK_MCP_NO_PREFIX": "1",
    }
    if options.max_tokens is not None:
        made["CLAUDE_CODE_MAX_OUTPUT_TOKENS"] = str(options.max_tokens)
    if config.login:
        # What is inherited can't be taken away, but an empty key counts as none.
        made.update({"ANTHROPIC_API_KEY": "", "ANTHROPIC_AUTH_TOKEN": ""})
    else:
        made["CLAUDE_CONFIG_DIR"] = str(state / "config")
    return made


def _own() -> Path:
    return Path.home() / ".claude"

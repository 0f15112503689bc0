"""The tracer: what agents, backends and the engine make spans with.

>>> tracer = Tracer("searcher", "research", incarnation, Spool.create(home.spool_dir, "research", "searcher", "1"))
>>> with tracer.agent(message="Hello", run=run, parent=extract(headers, metadata)):
...     with tracer.model_call(model="m", messages="Hello") as call:
...         call.answer("Hi", finish_reason="stop")

The OpenTelemetry SDK works underneath, with a provider of its own: spans of other instrumentation join in by
context, and are exported too after `install()`. Build it after a fork. Nothing here raises into its caller,
unless it was built with `strict`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Unpack

from opentelemetry.trace import SpanKind

from teamwright.tracing import vocabulary as v
from teamwright.tracing.messages import Messages, encode, to_json
from teamwright.tracing.runs import RunContext
from teamwright.tracing.spans import (
    ActiveSpan,
    AgentSpan,
    ModelSpan,
    PeerSpan,
    QuerySpan,
    ToolSpan,
)
from teamwright.tracing.starter import Given, Starter


class Tracer(Starter):
    """Makes the spans of one process: `service` is the agent, `namespace` its job.

    `sink` is a spool, or a function that gets each ended span as OTLP bytes. `content` says how much of
    people's words is kept, `rules` what else is masked, `files` where large texts go. With `enabled` false ids are
    made and passed on, but nothing is recorded.
    `name` is the agent's display name; `now` and `ids` are for tests.
    """

    # --- queries and agents -------------------------------------------------------------------------

    def query(
        self,
        job: str,
        *,
        text: Messages | None = None,
        user: str | None = None,
        session: str | None = None,
        labels: Mapping[str, str] | None = None,
        revision: str | None = None,
        run: RunContext | None = None,
        **given: Unpack[Given],
    ) -> QuerySpan:
        """The root span of a query to `job`: a new trace, unless a (trusted) `parent` is given."""
        return self._start(
            QuerySpan,
            v.span_name(v.OP_QUERY, job),
            SpanKind.INTERNAL,
            {
                v.OPERATION: v.OP_QUERY,
                v.OPENINFERENCE_KIND: "CHAIN",
                v.WORKFLOW: job,
                v.JOB: job,
                v.REVISION: revision,
                v.INPUT_MESSAGES: encode(text) if text else None,
                v.USER_ID: user,
                v.CONVERSATION: session,
                v.SESSION_ID: session,
                v.RUN_ID: run.run_id if run else None,
                v.ENTRY: given.get("parent") is not None or None,
                **{v.LABEL_PREFIX + key: value for key, value in (labels or {}).items()},
            },
            root=given.get("parent") is None,
            **given,
        )

    def agent(
        self,
        *,
        message: Messages | None = None,
        session: str | None = None,
        run: RunContext | None = None,
        task_id: str | None = None,
        root: bool = False,
        entry: bool = False,
        **given: Unpack[Given],
    ) -> AgentSpan:
        """SERVER `invoke_agent`: this agent handles a message. Inside `with`, `run` is the current run.

        `root` makes a new trace although a span is current (a stranger's context goes into `links`).
        `entry` says that the `parent` is an outside client's, whose spans this home will never see.
        """
        session = session or (run.session if run else None)
        span = self._start(
            AgentSpan,
            v.span_name(v.OP_AGENT, self.service),
            SpanKind.SERVER,
            {
                v.OPERATION: v.OP_AGENT,
                v.OPENINFERENCE_KIND: "AGENT",
                v.AGENT_NAME: self.name,
                v.AGENT_ID: f"{self.namespace}.{self.service}" if self.namespace else self.service,
                v.AGENT: self.service,
                v.JOB: self.namespace or None,
                v.INPUT_MESSAGES: encode(message) if message else None,
                v.CONVERSATION: session,
                v.TASK_ID: task_id,
                v.ENTRY: entry or None,
                **_run_attributes(run),
            },
            root=root,
            run=run,
            **given,
        )
        return span

    def peer_call(
        self,
        *,
        target: str,
        target_id: str | None = None,
        message: Messages | None = None,
        session: str | None = None,
        method: str | None = None,
        history_length: int | None = None,
        **given: Unpack[Given],
    ) -> PeerSpan:
        """CLIENT `invoke_agent`: this agent calls another. `target` is its name, `target_id` its id."""
        return self._start(
            PeerSpan,
            v.span_name(v.OP_AGENT, target_id or target),
            SpanKind.CLIENT,
            {
                v.OPERATION: v.OP_AGENT,
                v.OPENINFERENCE_KIND: "AGENT",
                v.AGENT_NAME: target,
                v.CALLER: self.service,
                v.TARGET: target,
                v.TARGET_ID: target_id,
                v.CALL: f"{self.name}->{target}",
                v.INPUT_MESSAGES: encode(message) if message else None,
                v.CONTEXT_ID: session,
                v.A2A_METHOD: method,
                v.HISTORY_LENGTH: history_length,
            },
            **given,
        )

    # --- models and tools ---------------------------------------------------------------------------

    def model_call(
        self,
        *,
        model: str | None,
        provider: str | None = None,
        messages: Messages | None = None,
        system: str | None = None,
        attempt: int | None = None,
        **given: Unpack[Given],
    ) -> ModelSpan:
        """CLIENT `chat`: one call of a model; a retry is a call of its own, with its `attempt` from 1."""
        call = self._start(
            ModelSpan,
            v.span_name(v.OP_MODEL, model),
            SpanKind.CLIENT,
            {
                v.OPERATION: v.OP_MODEL,
                v.OPENINFERENCE_KIND: "LLM",
                v.PROVIDER: provider,
                v.REQUEST_MODEL: model,
                v.INPUT_MESSAGES: encode(messages) if messages else None,
                v.SYSTEM_INSTRUCTIONS: to_json([{"type": "text", "content": system}]) if system else None,
                v.ATTEMPT: attempt,
            },
            **given,
        )
        call.model, call.provider = model, provider
        return call

    def tool_call(
        self,
        *,
        name: str,
        call_id: str | None = None,
        arguments: Any = None,
        source: str | None = None,
        server: str | None = None,
        **given: Unpack[Given],
    ) -> ToolSpan:
        """INTERNAL `execute_tool`. `source` is local, peer, mcp or builtin; `server` the MCP server's name."""
        return self._start(
            ToolSpan,
            v.span_name(v.OP_TOOL, name),
            SpanKind.INTERNAL,
            {
                v.OPERATION: v.OP_TOOL,
                v.OPENINFERENCE_KIND: "TOOL",
                v.TOOL_NAME: name,
                v.TOOL_TYPE: "extension" if source == "mcp" else "function",
                v.TOOL_CALL_ID: call_id,
                v.TOOL_ARGUMENTS: None if arguments is None else to_json(arguments),
                v.TOOL_SOURCE: source,
                v.MCP_SERVER: server,
            },
            **given,
        )

    def queued(
        self,
        *,
        waiting: int | None = None,
        **given: Unpack[Given],
    ) -> ActiveSpan:
        """INTERNAL `queued`: a message waits for its turn; `waiting` is how many wait before it."""
        fixed = {v.OPERATION: v.OP_QUEUED, v.OPENINFERENCE_KIND: "CHAIN", v.QUEUE_LENGTH: waiting}
        return self._start(ActiveSpan, v.OP_QUEUED, SpanKind.INTERNAL, fixed, **given)

    # --- deployments --------------------------------------------------------------------------------

    def deployment(
        self,
        job: str,
        *,
        agents: Sequence[str] = (),
        levels: Sequence[Sequence[str]] = (),
        strategy: str | None = None,
        revision: str | None = None,
        **given: Unpack[Given],
    ) -> ActiveSpan:
        """The root span of a deployment: a new trace, unless a `parent` is given."""
        fixed = {
            v.OPERATION: v.OP_DEPLOY,
            v.OPENINFERENCE_KIND: "CHAIN",
            v.JOB: job,
            v.AGENTS: list(agents) or None,
            v.LEVELS: [list(level) for level in levels] or None,
            v.STRATEGY: strategy,
            v.REVISION: revision,
        }
        name = v.span_name(v.OP_DEPLOY, job)
        return self._start(ActiveSpan, name, SpanKind.INTERNAL, fixed, root=given.get("parent") is None, **given)

    def start_agent(self, id: str, **options: Any) -> ActiveSpan:
        """INTERNAL `start_agent`: from launch to ready. Options: job, level, parent, links, start_ns, attributes."""
        return self._life_cycle(v.OP_START_AGENT, id, **options)

    def stop_agent(self, id: str, **options: Any) -> ActiveSpan:
        """INTERNAL `stop_agent`: until its process is gone. Options as for `start_agent`."""
        return self._life_cycle(v.OP_STOP_AGENT, id, **options)

    def _life_cycle(
        self,
        operation: str,
        agent: str,
        *,
        job: str | None = None,
        level: int | None = None,
        **given: Unpack[Given],
    ) -> ActiveSpan:
        fixed = {
            v.OPERATION: operation,
            v.OPENINFERENCE_KIND: "CHAIN",
            v.AGENT: agent,
            v.JOB: job,
            v.LEVEL: level,
        }
        return self._start(ActiveSpan, v.span_name(operation, agent), SpanKind.INTERNAL, fixed, **given)


def _run_attributes(run: RunContext | None) -> dict[str, Any]:
    if run is None:
        return {}
    return {
        v.RUN_ID: run.run_id,
        v.PARENT_RUN_ID: run.parent_run_id,
        v.ROOT_RUN_ID: run.root,
        v.DEPTH: run.depth,
        v.SESSION_ID: run.session,
        v.USER_ID: run.user,
        **{v.LABEL_PREFIX + key: value for key, value in run.labels.items()},
    }

"""Every name that a trace may hold: spans, attributes, events, values.

Names follow the OpenTelemetry conventions for GenAI, A2A and MCP where they have one; the rest is `teamwright.*`.
Nobody writes such a name anywhere else.
"""

from __future__ import annotations

from typing import Final

# --- resource -----------------------------------------------------------------------------------
SERVICE_NAME: Final = "service.name"  # the agent; `engine`, `host` for our own processes
SERVICE_NAMESPACE: Final = "service.namespace"  # the job
SERVICE_INSTANCE: Final = "service.instance.id"  # the incarnation
SERVICE_VERSION: Final = "service.version"
SCOPE: Final = "teamwright"

# --- operations, the first word of a span's name ----------------------------------------------------
OP_QUERY: Final = "invoke_workflow"
OP_AGENT: Final = "invoke_agent"
OP_MODEL: Final = "chat"
OP_TOOL: Final = "execute_tool"
OP_QUEUED: Final = "queued"
OP_DEPLOY: Final = "deploy"
OP_START_AGENT: Final = "start_agent"
OP_STOP_AGENT: Final = "stop_agent"
OP_CHECK_AGENT: Final = "check_agent"  # a `url:` agent that became unhealthy, or healthy again
OP_PUSH: Final = "push"  # a push notification that was sent after its run had ended
OPERATIONS: Final = (
    OP_QUERY, OP_AGENT, OP_MODEL, OP_TOOL, OP_QUEUED, OP_DEPLOY, OP_START_AGENT, OP_STOP_AGENT, OP_CHECK_AGENT, OP_PUSH,
)  # fmt: skip

# --- GenAI ------------------------------------------------------------------------------------------
OPERATION: Final = "gen_ai.operation.name"
PROVIDER: Final = "gen_ai.provider.name"
WORKFLOW: Final = "gen_ai.workflow.name"
AGENT_ID: Final = "gen_ai.agent.id"
AGENT_NAME: Final = "gen_ai.agent.name"
CONVERSATION: Final = "gen_ai.conversation.id"
REQUEST_MODEL: Final = "gen_ai.request.model"
RESPONSE_MODEL: Final = "gen_ai.response.model"
RESPONSE_ID: Final = "gen_ai.response.id"
FINISH_REASONS: Final = "gen_ai.response.finish_reasons"
FIRST_TOKEN: Final = "gen_ai.response.time_to_first_chunk"  # seconds after the start
INPUT_MESSAGES: Final = "gen_ai.input.messages"
OUTPUT_MESSAGES: Final = "gen_ai.output.messages"
SYSTEM_INSTRUCTIONS: Final = "gen_ai.system_instructions"
INPUT_TOKENS: Final = "gen_ai.usage.input_tokens"
OUTPUT_TOKENS: Final = "gen_ai.usage.output_tokens"
CACHE_READ_TOKENS: Final = "gen_ai.usage.cache_read.input_tokens"
CACHE_WRITE_TOKENS: Final = "gen_ai.usage.cache_write.input_tokens"
REASONING_TOKENS: Final = "gen_ai.usage.reasoning.output_tokens"
TOOL_NAME: Final = "gen_ai.tool.name"
TOOL_TYPE: Final = "gen_ai.tool.type"
TOOL_CALL_ID: Final = "gen_ai.tool.call.id"
TOOL_ARGUMENTS: Final = "gen_ai.tool.call.arguments"
TOOL_RESULT: Final = "gen_ai.tool.call.result"

# --- A2A and MCP --------------------------------------------------------------------------------------
TASK_ID: Final = "a2a.task.id"
TASK_STATE: Final = "a2a.task.state"
A2A_METHOD: Final = "a2a.method.name"
A2A_MESSAGE_ID: Final = "a2a.message.id"
MCP_METHOD: Final = "mcp.method.name"
MCP_SESSION: Final = "mcp.session.id"
MCP_VERSION: Final = "mcp.protocol.version"

# --- shared with other conventions --------------------------------------------------------------
ERROR_TYPE: Final = "error.type"
SESSION_ID: Final = "session.id"
USER_ID: Final = "user.id"
OPENINFERENCE_KIND: Final = "openinference.span.kind"  # what Phoenix shows a span as

# --- added to what is sent on to others (outward.py) --------------------------------------------------
OI_INPUT: Final = "input.value"
OI_INPUT_TYPE: Final = "input.mime_type"
OI_OUTPUT: Final = "output.value"
OI_OUTPUT_TYPE: Final = "output.mime_type"
OI_CACHE_WRITE_TOKENS: Final = "llm.token_count.prompt_details.cache_write"
OI_REASONING_TOKENS: Final = "llm.token_count.completion_details.reasoning"
OI_COST: Final = "llm.cost.total"

# --- ours: who and which run --------------------------------------------------------------------
JOB: Final = "teamwright.job"
REVISION: Final = "teamwright.job.revision"
AGENT: Final = "teamwright.agent"
REPLICA: Final = "teamwright.replica"
RUN_ID: Final = "teamwright.run.id"
PARENT_RUN_ID: Final = "teamwright.run.parent_id"
ROOT_RUN_ID: Final = "teamwright.run.root_id"
DEPTH: Final = "teamwright.run.depth"
ENTRY: Final = "teamwright.entry"  # the top of what this home sees of a trace begun elsewhere
LABEL_PREFIX: Final = "teamwright.label."

# --- ours: queries, calls between agents, tools ---------------------------------------------------
CALLER: Final = "teamwright.caller"
TARGET: Final = "teamwright.target"
TARGET_ID: Final = "teamwright.target.id"
CALL: Final = "teamwright.call"  # Caller->Target
CONTEXT_ID: Final = "teamwright.a2a.context_id"
HISTORY_LENGTH: Final = "teamwright.a2a.history_length"
PUSH_TO: Final = "teamwright.a2a.push_to"  # without query and password
TOOL_SOURCE: Final = "teamwright.tool.source"
MCP_SERVER: Final = "teamwright.mcp.server"
NETWORK_TRANSPORT: Final = "network.transport"
SERVER_ADDRESS: Final = "server.address"
SERVER_PORT: Final = "server.port"
ATTEMPT: Final = "teamwright.attempt"
REASON: Final = "teamwright.reason"
COST_USD: Final = "teamwright.cost_usd"
COST_ESTIMATED: Final = "teamwright.cost_estimated"
TOKENS_ESTIMATED: Final = "teamwright.tokens_estimated"  # the server did not say, they were guessed from the text
MODEL_CALLS: Final = "teamwright.usage.model_calls"
TOOL_CALLS: Final = "teamwright.usage.tool_calls"
PEER_CALLS: Final = "teamwright.usage.peer_calls"
PARTIAL: Final = "teamwright.usage.partial"  # somebody below told nothing of what it used
AGENTS_FOUND: Final = "teamwright.agents.found"
IN_PLACE_OF: Final = "teamwright.in_place_of"
QUEUE_LENGTH: Final = "teamwright.queue.length"
RETRY_AFTER: Final = "teamwright.retry_after_s"
LIMIT: Final = "teamwright.limit"  # its key in the job file
RULE: Final = "teamwright.rule"  # what forbade it
REPLAY: Final = "teamwright.replay"  # which recorded message or exchange answered
RECORDED_COST_USD: Final = "teamwright.replay.recorded_cost_usd"
RECORDED_DURATION: Final = "teamwright.replay.recorded_duration_s"
TOKENS_BEFORE: Final = "teamwright.compaction.tokens_before"
TOKENS_AFTER: Final = "teamwright.compaction.tokens_after"
ARTIFACT: Final = "teamwright.a2a.artifact_id"
PIECES: Final = "teamwright.a2a.pieces"
ENDED_EARLY: Final = "teamwright.ended_early"  # the reader of a stream went away

# --- ours: deployments and processes --------------------------------------------------------------
LEVEL: Final = "teamwright.deploy.level"
LEVELS: Final = "teamwright.deploy.levels"
AGENTS: Final = "teamwright.deploy.agents"
STRATEGY: Final = "teamwright.deploy.strategy"
PID: Final = "process.pid"
EXIT_CODE: Final = "process.exit.code"
EXIT_SIGNAL: Final = "teamwright.exit.signal"
SYNTHETIC: Final = "teamwright.synthetic"  # written by the engine for a lost process
TRACING_US: Final = "teamwright.tracing.us"  # microseconds that making and writing its spans took in this process
DROPPED_SPANS: Final = "teamwright.dropped.spans"

# --- events -------------------------------------------------------------------------------------
EVENT_EXCEPTION: Final = "exception"
EXCEPTION_TYPE: Final = "exception.type"
EXCEPTION_MESSAGE: Final = "exception.message"
EXCEPTION_STACKTRACE: Final = "exception.stacktrace"
EVENT_FIRST_TOKEN: Final = "first token"
EVENT_STATUS: Final = "status update"
EVENT_ARTIFACT: Final = "artifact update"
EVENT_CANCEL: Final = "cancel"
EVENT_DENIED: Final = "denied"
EVENT_LIMIT: Final = "limit reached"
EVENT_RETRY: Final = "retry"
EVENT_RATE_LIMIT: Final = "rate limit"
EVENT_COMPACTION: Final = "compaction"
EVENT_SUBSCRIBED: Final = "subscribed again"
EVENT_RESUMED: Final = "resumed"
EVENT_TAKEN_UP: Final = "taken up"
EVENT_THROUGH: Final = "through"
EVENT_PUSH: Final = "push delivery"
EVENT_UNHEALTHY: Final = "unhealthy"
EVENT_RECOVERED: Final = "recovered"
EVENT_RESTART: Final = "restart"
EVENT_CRASH: Final = "crash"
EVENT_HALT: Final = "halt"
EVENT_WATCHER: Final = "watcher tripped"
EVENT_AGENT_LOST: Final = "agent lost"
EVENTS: Final = (
    EVENT_EXCEPTION, EVENT_FIRST_TOKEN, EVENT_STATUS, EVENT_ARTIFACT, EVENT_CANCEL, EVENT_DENIED, EVENT_LIMIT,
    EVENT_RETRY, EVENT_RATE_LIMIT, EVENT_COMPACTION, EVENT_RESUMED, EVENT_TAKEN_UP, EVENT_THROUGH, EVENT_SUBSCRIBED,
    EVENT_PUSH, EVENT_UNHEALTHY, EVENT_RECOVERED, EVENT_RESTART, EVENT_CRASH, EVENT_HALT, EVENT_WATCHER,
    EVENT_AGENT_LOST,
)  # fmt: skip

# --- values -------------------------------------------------------------------------------------
PROCESS_LOST: Final = "process_lost"
STACK_LIMIT: Final = 16_000  # characters of a stack trace, its end
DROPPED_NOTE: Final = "teamwright.dropped"  # the name of the record that counts spans a full disk cost

#: Attributes that hold what people and models said; the content policy decides about them.
CONTENT: Final = frozenset(
    [
        INPUT_MESSAGES,
        OUTPUT_MESSAGES,
        SYSTEM_INSTRUCTIONS,
        TOOL_ARGUMENTS,
        TOOL_RESULT,
    ]
)
#: Attributes with ids, numbers and names that come from plans and model servers, not from what somebody said:
#: there is nothing to mask in them.
NEVER_SECRET: Final = frozenset(
    [
        OPERATION, PROVIDER, WORKFLOW, AGENT_ID, REQUEST_MODEL, RESPONSE_MODEL, FINISH_REASONS, FIRST_TOKEN,
        INPUT_TOKENS, OUTPUT_TOKENS, CACHE_READ_TOKENS, CACHE_WRITE_TOKENS, REASONING_TOKENS, TOOL_TYPE, JOB, REVISION,
        AGENT, REPLICA, RUN_ID, PARENT_RUN_ID, ROOT_RUN_ID, DEPTH, ENTRY, TASK_ID, TASK_STATE, ATTEMPT, COST_USD,
        COST_ESTIMATED, TOKENS_ESTIMATED, MODEL_CALLS, TOOL_CALLS, PEER_CALLS, PARTIAL, OPENINFERENCE_KIND,
    ]
)  # fmt: skip
#: The beginnings of content attributes of other people's instrumentation.
CONTENT_PREFIXES: Final = (
    "gen_ai.prompt",
    "gen_ai.completion",
    "input.value",
    "output.value",
    "llm.input_messages",
    "llm.output_messages",
)


def span_name(operation: str, subject: str | None = None) -> str:
    """`chat claude-sonnet-4-5`, `queued`: the name of a span."""
    return f"{operation} {subject}" if subject else operation

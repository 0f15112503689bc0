"""Read-only views over spans.db for people who like SQL: documented in docs/tracing.md, stable names.

sqlite3 -readonly logs/spans.db "select model, count(*), sum(cost_usd) from model_calls group by model"
"""

from __future__ import annotations

_WHERE = "lower(hex(trace)) as trace_id, lower(hex(span)) as span_id, job, agent, run as run_id, session"
_WHEN = (
    "start as start_ns, case when state = 0 then null else (end - start) / 1e6 end as duration_ms, "
    "case state when 0 then 'running' when 1 then 'lost' else case status when 2 then 'error' else 'ok' end end "
    "as status, json_extract(facts, '$.error') as error"
)


def _fact(*names: str) -> str:
    return ", ".join(f"json_extract(facts, '$.{name}') as {name}" for name in names)


FIRST_VIEWS = f"""
    create view queries as select
        lower(hex(trace)) as trace_id, job, query as question, user, session, run as run_id, labels, revision,
        start as start_ns, (end - start) / 1e6 as duration_ms,
        case when root_state is null or root_state = 0 then 'running' when root_state = 1 then 'lost'
             when root_status = 2 then 'error' else 'ok' end as status,
        spans, errors, agents, input_tokens, output_tokens,
        case when root_cost is not null then root_cost when unpriced > 0 then null else cost end as cost_usd,
        estimated
        from trace where kind = 'query';
    create view model_calls as select {_WHERE}, {_WHEN},
        {
    _fact(
        "model",
        "provider",
        "input_tokens",
        "output_tokens",
        "cache_read_tokens",
        "cache_write_tokens",
        "reasoning_tokens",
        "first_token_s",
        "attempt",
        "cost_usd",
        "estimated",
    )
}
        from span where op = 'chat';
    create view tool_calls as select {_WHERE}, {_WHEN}, {_fact("tool", "source", "server", "call_id")}
        from span where op = 'execute_tool';
    create view a2a_calls as select {_WHERE}, {_WHEN}, agent as caller, {_fact("target", "task_id", "task_state")}
        from span where op = 'invoke_agent' and kind = 3;
    create view runs as select {_WHERE}, {_WHEN}, {_fact("parent_run_id", "root_run_id", "depth", "user", "task_state")}
        from span where op = 'invoke_agent' and kind = 2;
"""

#: Since the fifth step: a trace of which only losses are known is lost, as the lists say.
QUERIES = """
    drop view queries;
    create view queries as select
        lower(hex(trace)) as trace_id, job, query as question, user, session, run as run_id, labels, revision,
        start as start_ns, case when end > 0 then (end - start) / 1e6 end as duration_ms,
        case when root_state = 1 or (root_state is null and dropped > 0) then 'lost'
             when root_state is null or root_state = 0 then 'running'
             when root_status = 2 then 'error' else 'ok' end as status,
        spans, errors, agents, input_tokens, output_tokens,
        case when dropped > 0 or synthetic > (root_state is 1) then null when root_cost is not null then root_cost
             when unpriced > 0 then null else cost end as cost_usd,
        estimated
        from trace where kind = 'query';
"""

#: Since the third step: what a run was asked, for whom, and what it used with everything below it.
VIEWS = f"""
    drop view runs;
    create view runs as select {_WHERE}, {_WHEN},
        {
    _fact(
        "parent_run_id",
        "root_run_id",
        "depth",
        "user",
        "task_id",
        "task_state",
        "question",
        "labels",
        "input_tokens",
        "output_tokens",
        "cost_usd",
        "estimated",
    )
}
        from span where op = 'invoke_agent' and kind = 2;
"""

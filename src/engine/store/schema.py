"""The tables of engine.db. A change is one more step at the end; steps that have been released never change."""

STEPS = (
    """
    create table meta(key text primary key, value text not null) without rowid;

    create table jobs(
        name text primary key, plan text not null, phase text not null, file text not null, revision text not null,
        entry_point text not null, created_ns integer not null, ended_ns integer, error text,
        trace_id text, span_id text
    );
    create table agents(
        job text not null, agent text not null, port integer, wanted integer not null, state text not null,
        primary key(job, agent)
    ) without rowid;

    create table tasks(
        span_id text primary key, trace_id text not null, parent_id text, run_id text not null, job text not null,
        agent text not null, task_id text, context_id text, query text not null, user text, labels text not null,
        revision text not null, started_ns integer not null
    ) without rowid;
    create table runs(
        run_id text primary key, span_id text not null, trace_id text not null, job text not null,
        agent text not null, task_id text, context_id text, query text not null, user text, labels text not null,
        revision text not null, status text not null, state text not null, usage text not null,
        started_ns integer not null, ended_ns integer not null
    ) without rowid;
    create index runs_by_start on runs(started_ns);

    create table tokens(
        jti text primary key, subject text not null, audience text not null, role text not null, job text,
        created real not null, expires real not null, revoked real
    ) without rowid;
    create table halts(
        scope text primary key, reason text not null, ordered_by text not null, at_ns integer not null
    ) without rowid;
    """,
    "create index runs_by_task on runs(task_id)",
    """
    create table revisions(
        job text not null, revision text not null, plan text not null, first_ns integer not null,
        last_ns integer not null, primary key(job, revision)
    ) without rowid;
    insert into revisions select name, revision, plan, created_ns, created_ns from jobs where revision <> '';
    """,
    "alter table tasks add column link text",
    """
    create table events(
        id integer primary key, at_ns integer not null, kind text not null, job text, agent text, actor text,
        data text not null
    );
    create index events_by_time on events(at_ns);
    """,
)

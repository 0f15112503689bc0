"""`deploy start FILE`: from a job file to a running team."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from teamwright.cli.app import Call, command, port_option
from teamwright.cli.job_file import job_file, load
from teamwright.cli.receivers import otlp_options, send_to, wanted

if TYPE_CHECKING:
    from teamwright.cli.following import LogFile
    from teamwright.client.client import Client


@command("start")
@job_file
@click.option("--attach", is_flag=True, help="Show the agents' logs; Ctrl-C stops the job.")
@click.option("--reload", is_flag=True, help="Apply the file again whenever it or its code changes; Ctrl-C stops it.")
@click.option("--record", type=click.Path(path_type=Path), metavar="DIR", help="Write every model exchange there.")
@click.option("--replay", metavar="DIR", help="Answer from a recording: no network, no key; example:NAME comes along.")
@otlp_options
@port_option
@click.pass_obj
def start(
    call: Call,
    file: Path,
    name: str | None,
    sets: Sequence[str],
    attach: bool,
    reload: bool,
    record: Path | None,
    replay: str | None,
    otlp: Sequence[str],
    otlp_content: bool,
    port: int | None,
) -> None:
    """Start a job. Ctrl-C before it is up leaves nothing running.

    \b
    deploy start team.yaml
    deploy start team.yaml --name nightly --attach
    deploy start team.yaml --reload     for those who develop: changes are applied as they are saved
    """
    from teamwright.cli.connection import connected
    from teamwright.cli.output import note
    from teamwright.cli.starting import follow_start, stop_again
    from teamwright.errors import UserError
    from teamwright.jobs.replaying import located, recording_to

    if attach and reload:
        raise UserError("either --attach or --reload", hint="deploy logs -f shows the logs in another terminal")
    place = located(replay, call.cwd) if replay is not None else None
    made = (call.cwd / record.expanduser()).resolve() if record is not None else None
    read = partial(load, call, file, name=name, sets=sets, starting=True, record=made, replay=place)
    loaded = read()
    plan = loaded.plan
    receivers = wanted(call.environ, otlp, otlp_content)
    if not call.json:
        for line in plan.notes:
            note(line)
    with connected(call, start=True, port=port, host=True) as client:
        send_to(client, receivers)
        earlier = _earlier_logs(call, plan.job) if attach else {}
        with recording_to(made, plan):
            started = follow_start(call, client, plan.job, len(plan.levels), client.start(plan, loaded.secrets))
        try:
            _tell(call, client, started.view, plan.query if started.by_us else None, by_us=started.by_us)
            if attach:
                _attach(call, plan.job, earlier)
            elif reload:
                from teamwright.cli.reloading import Reload, tell

                tell(f"watching the files of {plan.job}; Ctrl-C stops it")
                Reload(call, client, read).run(plan, tell)
        except KeyboardInterrupt:
            if started.by_us or attach or reload:
                stop_again(client, plan.job)
            raise


def _tell(call: Call, client: Client, view: dict[str, Any], query: str | None, *, by_us: bool) -> None:
    """Print the running job, and the answer to the query that its file asks once."""
    if call.json:
        asked = client.query(view["job"], query).to_dict() if query else None
        call.emit(view if asked is None else {**view, "query": asked})
        return
    from teamwright.cli.output import say_agents

    job = view["job"]
    click.echo(f"{job} is running" + ("" if by_us else " already, and nothing in its file has changed"))
    say_agents(view)
    if link := view.get("dashboard") or view.get("url"):
        click.echo(f"{'dashboard' if view.get('dashboard') else 'front door'}: {link}")
    if query:
        from teamwright.cli.asking import ask_and_print

        click.echo(f"\n> {query}")
        ask_and_print(call, client, job, query)
    click.echo("next: " + call.next(f"query {job} 'your question'"))


def _earlier_logs(call: Call, job: str) -> dict[Path, LogFile]:
    """The logs that the job's agents have before it is started, read to their ends."""
    from teamwright.cli.following import LogFile

    found = {path: LogFile(path.stem, path) for path in call.home.agent_log(job, "any").parent.glob("*.log")}
    for file in found.values():
        file.last(0)
    return found


def _attach(call: Call, job: str, earlier: Mapping[Path, LogFile]) -> None:
    """Show what is logged from this start on, until somebody else stops the job."""
    from teamwright.cli.following import LogFile, follow_logs
    from teamwright.cli.log_lines import Parser, in_order, printer
    from teamwright.cli.output import note
    from teamwright.engine.store.state import StateReader

    with StateReader(call.home) as reader:
        view = reader.job(job)
        agents = [agent["id"] for agent in view["agents"]] if view else []
        paths = {agent: call.home.agent_log(job, agent) for agent in agents}
        files = [earlier.get(path) or LogFile(agent, path) for agent, path in paths.items()]
        parsers = {agent: Parser(job, agent) for agent in agents}
        show = printer(call, [(job, agent) for agent in agents])

        def ended() -> bool:
            found = reader.job(job)
            return found is None or found["status"] in ("stopped", "failed", "lost")

        if not call.json:
            note(f"logs of {job}; Ctrl-C stops it")
        for line in in_order([parsers[file.agent].line(text) for file in files for text in file.more()]):
            show(line)
        follow_logs(files, lambda agent, text: show(parsers[agent].line(text)), until=ended)
    if not call.json:
        note(f"{job} has been stopped")

"""`deploy doctor`: which extras, keys, programs and ports there are, and the command for each that is missing."""

from __future__ import annotations

import dataclasses

import click

from teamwright.cli.app import Call, command


@command("doctor")
@click.pass_obj
def doctor(call: Call) -> None:
    """Show what there is to work with, and how to add what is missing.

    Exit code 1 where nothing could be started as it is; what is only missing is optional.

    \b
    deploy doctor
    """
    from teamwright.client.doctor import examine

    findings = examine(call.home, call.environ, call.cwd)
    broken = any(finding.state == "broken" for finding in findings)
    if call.json:
        call.emit({"ok": not broken, "findings": [dataclasses.asdict(finding) for finding in findings]})
    else:
        from teamwright.cli.output import console, table

        rows = [(one.kind, one.name, one.state, one.detail, one.command or "-") for one in findings]
        console().print(table(("WHAT", "NAME", "STATE", "DETAIL", "COMMAND"), rows))
    if broken:
        raise SystemExit(1)

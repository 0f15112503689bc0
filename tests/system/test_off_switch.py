"""Tracing switched off: queries, sessions and runs work on, nothing is recorded, and the result says so."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tests.system.conftest import Deploy

HELLO = "examples/jobs/hello.yaml"


def test_off(deploy: Deploy) -> None:
    deploy.environment["TEAMWRIGHT_TRACING"] = "off"
    deploy("start", HELLO).ok()
    asked = deploy("query", "hello", "Say hello to Ada", "--json").ok().json
    assert (asked["status"], asked["traced"]) == ("ok", False) and asked["answer"] and asked["run_id"]
    told = deploy("query", "hello", "And to Bo").ok()
    assert "-- not traced" in told.err and "trace show" not in told.err
    assert deploy("trace", "list", "--json").ok().json["traces"] == []
    assert deploy("trace", "list", "--deployments", "--json").ok().json["traces"] == []
    assert deploy("trace", "show").code == 2
    assert len(deploy("runs", "list", "--json").ok().json["runs"]) == 2
    assert not list(deploy.home.glob("jobs/hello/traces/*"))
    assert not [file for file in deploy.home.glob("spool/hello.*.spool") if file.stat().st_size]
    deploy("stop", "--all").ok()

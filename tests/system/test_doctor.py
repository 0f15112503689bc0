"""`deploy doctor` through the real command: without an engine, without the values of keys."""

from __future__ import annotations

import socket
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from tests.system.conftest import Deploy


def found(data: Any, kind: str) -> dict[str, dict[str, Any]]:
    return {item["name"]: item for item in data["findings"] if item["kind"] == kind}


def test_what_is_there_and_what_adds_the_rest(deploy: Deploy, tmp_path: Path) -> None:
    (tmp_path / ".env").write_text("GEMINI_API_KEY=g-secret\n")
    (tmp_path / "bin").mkdir()
    deploy.environment |= {"OPENAI_API_KEY": "o-secret", "PATH": str(tmp_path / "bin")}
    done = deploy("doctor", "--json", folder=tmp_path).ok()
    assert done.json["ok"] is True
    keys = found(done.json, "key")
    assert keys["openai"]["detail"] == "OPENAI_API_KEY (shell)"
    assert keys["gemini"]["detail"].startswith("GEMINI_API_KEY (")
    assert (keys["claude"]["state"], keys["claude"]["command"]) == ("missing", "export ANTHROPIC_API_KEY=…")
    extras = found(done.json, "extra")
    assert {"claude", "gemini", "crewai", "mcp", "otlp-grpc", "parquet"} == set(extras)
    assert (extras["mcp"]["state"], extras["mcp"]["command"]) == ("ok", None)
    assert extras["mcp"]["detail"].startswith("mcp 1.")
    for name, extra in extras.items():
        assert (extra["state"] == "ok") == (extra["command"] is None)
        assert extra["command"] in (None, f"uv sync --extra {name}")
    programs = found(done.json, "cli")
    assert (programs["uvx"]["state"], programs["uvx"]["command"]) == ("missing", "pip install uv")
    shown = deploy("doctor", folder=tmp_path).ok()
    assert "uv sync --extra" in shown.out or all(extra["state"] == "ok" for extra in extras.values())
    assert "secret" not in done.out + done.err + shown.out + shown.err
    assert not deploy.home.exists()


def test_what_is_broken_ends_with_1(deploy: Deploy, tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        ports = f"{port}-{port}"
        done = deploy("doctor", "--json", environment={"TEAMWRIGHT_PORT": port, "TEAMWRIGHT_PORTS": ports})
    assert done.code == 1
    assert done.json["ok"] is False
    found_ports = found(done.json, "port")
    assert "is taken by" in found_ports["engine"]["detail"]
    assert found_ports["engine"]["command"] == "unset TEAMWRIGHT_PORT"
    assert found_ports["agents"]["detail"].startswith("0 of 1 are free")
    wrong = deploy("doctor", "--json", environment={"TEAMWRIGHT_PORTS": "many"})
    assert (wrong.code, found(wrong.json, "port")["agents"]["state"]) == (1, "broken")

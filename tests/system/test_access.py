"""Who may call whom, and what our processes know: tokens, callers, epochs, environments, secrets."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import httpx
import psutil
import pytest

from teamwright.home import Home
from teamwright.safety.epochs import EpochFile
from teamwright.safety.tokens import Issuer
from teamwright.settings import ALLOWED_ENVIRONMENT, PASSED_SETTINGS

if TYPE_CHECKING:
    from tests.system.conftest import Deploy

SECRET = "sk-this-must-not-be-seen-4711"
JOB = """
job: {name: guarded}
environment: {COLOUR: blue}
defaults: {module: restless, type: Restless, env: [MY_KEY]}
agents:
  - {id: front}
  - {id: back}
  - {id: aside, backend: offline}
topology: {type: dag, connections: [{from: front, to: back}, {from: aside, to: back}]}
execution: {entry_point: front}
"""
CARD = "/.well-known/agent-card.json"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A job with a secret from the shell."""
    folder = tmp_path / "job"
    folder.mkdir()
    (folder / "guarded.yaml").write_text(JOB)
    (folder / "restless.py").write_text((Path(__file__).parent / "team" / "restless.py").read_text())
    return folder


@pytest.fixture(params=["zygote", "subprocess"])
def guarded(request: pytest.FixtureRequest, deploy: Deploy, folder: Path) -> Iterator[Deploy]:
    deploy.environment |= {"MY_KEY": SECRET, "STRANGE_VARIABLE": "from the shell", "TEAMWRIGHT_SPAWN": request.param}
    deploy("start", folder / "guarded.yaml").ok()
    yield deploy
    deploy("stop", "--all").ok()


def send(url: str, token: str | None) -> httpx.Response:
    message = {"messageId": "m-1", "role": "ROLE_USER", "parts": [{"text": "hello"}]}
    body = {"jsonrpc": "2.0", "id": 1, "method": "SendMessage", "params": {"message": message}}
    headers = {"A2A-Version": "1.0"} | ({"Authorization": f"Bearer {token}"} if token else {})
    return httpx.post(url, json=body, headers=headers, timeout=60, trust_env=False)


def test_who_may_call(guarded: Deploy) -> None:
    home = Home(guarded.home)
    issuer = Issuer.load(home)
    view = guarded("ps", "guarded", "--json").ok().json
    urls = {agent["id"]: agent["url"] for agent in view["agents"]}
    back = urls["back"]

    def of(agent: str, audience: str = "guarded/back", job: str = "guarded", **more: Any) -> str:
        return issuer.mint(f"{job}/{agent}", audience, job=job, agent=agent, role="agent", **more)

    assert httpx.get(back + CARD, trust_env=False, timeout=60).json()["name"] == "back"
    assert send(back, of("front")).json()["result"]

    refused = {
        "no token": send(back, None),
        "nonsense": send(back, "nonsense"),
        "another home's": send(back, of("front")[:-8] + "AAAAAAAA"),
        "expired": send(back, of("front", now=time.time() - 7200)),
        "for somebody else": send(back, of("front", audience="guarded/aside")),
        "not in the topology": send(urls["front"], of("back", audience="guarded/front")),
        "another job": send(back, of("front", job="stranger")),
    }
    for why, response in refused.items():
        assert response.status_code in (401, 403), (why, response.status_code, response.text)
        assert "result" not in response.json(), why

    early = of("front")
    epochs = EpochFile.open(home.epoch_file)
    epochs.bump("agent:guarded/front")
    assert send(back, early).status_code in (401, 403)
    home.epoch_file.rename(home.epoch_file.with_suffix(".away"))
    assert send(back, early).status_code in (401, 403)
    assert httpx.get(back + CARD, trust_env=False, timeout=60).status_code == 200


def test_what_processes_know(guarded: Deploy, folder: Path) -> None:
    assert guarded("query", "guarded", "ask back hello", "--json").ok().json["status"] == "ok"
    processes = guarded("engine", "status", "--json").ok().json["processes"]
    if guarded.environment["TEAMWRIGHT_SPAWN"] == "subprocess":
        assert processes.pop("zygote") is None
    agents = {agent["id"]: agent["pid"] for agent in guarded("ps", "guarded", "--json").ok().json["agents"]}
    allowed = ALLOWED_ENVIRONMENT | {setting.env for setting in PASSED_SETTINGS} | {"TEAMWRIGHT_MARK"}
    for name, pid in {**processes, **agents}.items():
        environ = psutil.Process(pid).environ()
        strange = {key for key in environ if key not in allowed and not key.startswith("LC_")}
        assert not strange, (name, strange)
        assert SECRET not in " ".join(psutil.Process(pid).cmdline()), name
    said = [
        guarded(*command).ok().out
        for command in (
            ("ps", "guarded", "--json"),
            ("ps", "--json"),
            ("plan", folder / "guarded.yaml", "--json"),
            ("trace", "show", "--json"),
            ("trace", "list", "--json"),
            ("logs", "guarded"),
        )
    ]
    assert "MY_KEY" in said[2]
    assert SECRET not in "\n".join(said)
    home = Home(guarded.home)
    for path in guarded.home.rglob("*"):
        if not path.is_file():
            continue
        if SECRET.encode() in path.read_bytes():
            assert path == home.secrets_file, path
            assert path.stat().st_mode & 0o777 == 0o600
    assert SECRET in json.dumps(json.loads(home.secrets_file.read_text()))

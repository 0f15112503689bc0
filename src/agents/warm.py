"""Warming up the zygote: everything an agent needs is imported and used once, so that forks start warm.

Three real requests (card, SendMessage, SendStreamingMessage) go to a throwaway agent in this process, in a loop that
is closed again. Nothing remains but memory: no thread, no loop, no socket, no file, no changed environment.
"""

from __future__ import annotations

import asyncio
import logging
import shutil
import socket
import tempfile
from contextlib import suppress
from pathlib import Path
from uuid import uuid4


def warm() -> None:
    """Do it; called once, before the zygote freezes its memory. Raises RuntimeError when a thread remains."""
    from teamwright.agents.main import quiet_sdk
    from teamwright.lean import import_httpx

    quiet_sdk()
    import_httpx()
    import uvloop  # noqa: F401  (only imported, see below)
    from opentelemetry import trace

    from teamwright.agents.calling.transport import tls_context

    tls_context()
    noisy = logging.getLogger("teamwright")
    level, noisy.level = noisy.level, logging.CRITICAL
    folder = Path(tempfile.mkdtemp(prefix="teamwright-warm-"))
    try:
        # Not uvloop's loop: libuv keeps a pipe for signals that a fork's closing of descriptors would break.
        with asyncio.Runner() as runner:
            runner.run(_requests(folder))
    finally:
        noisy.level = level
        shutil.rmtree(folder, ignore_errors=True)
    # The throwaway agent's tracer must not be the default of all agents to come.
    trace._TRACER_PROVIDER = None
    trace._TRACER_PROVIDER_SET_ONCE = type(trace._TRACER_PROVIDER_SET_ONCE)()
    tasks = len(list(Path("/proc/self/task").iterdir())) if Path("/proc/self/task").exists() else 1
    if tasks != 1:
        raise RuntimeError(f"{tasks} threads after warming up; a process with threads must not fork")


async def _requests(folder: Path) -> None:
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

    from teamwright.agents.runtime import Runtime
    from teamwright.agents.spec import AgentSpec
    from teamwright.safety.epochs import EpochFile
    from teamwright.safety.tokens import Issuer
    from teamwright.serving import server as new_server

    epochs = EpochFile.create(folder / "epochs")
    issuer = Issuer(Ed25519PrivateKey.generate(), "warm", epochs)
    sock = socket.create_server(("127.0.0.1", 0))
    url = f"http://127.0.0.1:{sock.getsockname()[1]}/"
    spec = AgentSpec(
        job="warm",
        agent="warm",
        incarnation="0",
        home=str(folder),
        home_id="warm",
        job_folder=str(folder),
        kind="declared",
        url=url,
        engine_url="http://127.0.0.1:9",
        public_key=issuer.public_key,
        epoch_file=str(epochs.path),
        spool_dir=str(folder / "spool"),
        callers=("front-door", "warm/warm"),
    )
    runtime = await Runtime.open(spec)
    server = new_server(runtime.app)
    serving = asyncio.create_task(server.serve(sockets=[sock]))
    person = issuer.mint("warm", "warm/warm", job="warm", role="front-door")
    agent = issuer.mint("warm/warm", "warm/warm", job="warm", agent="warm", role="agent")
    try:
        (await runtime.http.get(f"{url}.well-known/agent-card.json")).raise_for_status()
        for method, token in (("SendMessage", agent), ("SendMessage", person), ("SendStreamingMessage", person)):
            message = {"messageId": str(uuid4()), "role": "ROLE_USER", "parts": [{"text": "warm up"}]}
            body = {"jsonrpc": "2.0", "id": 1, "method": method, "params": {"message": message}}
            headers = {"a2a-version": "1.0", "authorization": f"Bearer {token}"}
            async with runtime.http.stream("POST", url, json=body, headers=headers, timeout=10.0) as response:
                answer = await response.aread()
            if b'"error"' in answer or b"warm up" not in answer:
                raise RuntimeError(f"the throwaway agent answered {answer[:300]!r}")
    finally:
        server.should_exit = True
        with suppress(asyncio.CancelledError):
            await serving
        await runtime.close()
        epochs.close()

"""An agent's process: `serve` for the zygote's children, `python -I -m teamwright.agents.main SOCK_FD SPEC_FD` else."""

from __future__ import annotations

import asyncio
import faulthandler
import json
import logging
import os
import signal
import socket
import sys
from typing import TYPE_CHECKING, Any, NoReturn

from teamwright.agents.spec import REGISTRY_TOKEN, AgentSpec
from teamwright.errors import TeamwrightError

if TYPE_CHECKING:
    from teamwright.agents.runtime import Runtime
    from teamwright.serving import Server

log = logging.getLogger("teamwright.agent")

MARK = "TEAMWRIGHT_MARK"

#: Seconds. Runs may end by themselves so long after SIGTERM; connections may stay open so long.
_RUNS_END = 1.0
_CONNECTIONS_END = 3.0

_QUIET = ("httpx", "httpcore", "uvicorn", "uvicorn.error", "a2a", "asyncio", "mcp", "opentelemetry")


def serve(spec: AgentSpec, sock: socket.socket) -> None:
    """Be that agent, on that listening socket, until SIGTERM. Owns the process: environment, folder, logging, signals.

    Raises SystemExit when the agent can't start, after one line in the log: 2 for the user's mistakes, 1 otherwise.
    """
    prepare(spec)
    try:
        import uvloop

        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            try:
                runner.run(_serve(spec, sock))
            except (SystemExit, KeyboardInterrupt) as error:
                _end_at_once(error)
    except TeamwrightError as error:
        hint = f" ({error.hint})" if error.hint else ""
        log.error("can't start: %s%s", error.message, hint)
        raise SystemExit(error.exit_code) from None
    except asyncio.CancelledError:
        raise SystemExit(0) from None


def _end_at_once(error: BaseException) -> NoReturn:
    """A task of the user's own raised it through the loop, whose other tasks may not end by themselves any more."""
    log.error("ending: the agent's own code asked for it: %s: %s", type(error).__name__, error, exc_info=error)
    for handler in logging.getLogger().handlers:
        handler.flush()
    os._exit(1)  # also where it wanted 0: nobody has ordered the agent to stop, so it counts as a failure


def prepare(spec: AgentSpec) -> None:
    """Make the process the agent's own: variables, folder, search path, log."""
    os.environ.update({**spec.environment, **spec.secrets})
    os.environ.pop(REGISTRY_TOKEN, None)  # ours alone: tools and programs that the agent starts don't get it
    os.environ[MARK] = f"{spec.home_id}:{spec.job}/{spec.process}:{spec.incarnation}"
    quiet_sdk()
    start_log(spec.log_level)
    try:
        os.chdir(spec.job_folder)
    except OSError as error:
        log.error("can't start: the job's folder %s: %s", spec.job_folder, error.strerror)
        raise SystemExit(2) from None
    from teamwright.agents.loading import add_search_path

    add_search_path(spec.search_path)


def quiet_sdk() -> None:
    """Keep the A2A SDK from making spans of its own, 35 to 56 for each request. It reads this when imported."""
    os.environ["OTEL_INSTRUMENTATION_A2A_SDK_ENABLED"] = "false"


def start_log(level: str) -> None:
    """Log to stderr, each line with its run and trace, third-party loggers included."""
    from teamwright.tracing.logs import handler

    faulthandler.enable()
    root = logging.getLogger()
    root.handlers[:] = [handler()]
    root.setLevel(level.upper() if level.upper() in logging.getLevelNamesMapping() else logging.INFO)
    for name in _QUIET:
        logging.getLogger(name).setLevel(max(root.level, logging.WARNING))
    logging.captureWarnings(True)


async def _serve(spec: AgentSpec, sock: socket.socket) -> None:
    from teamwright import serving
    from teamwright.agents.aside import Aside
    from teamwright.agents.runtime import Runtime

    serving.allow_files()
    loop = asyncio.get_running_loop()
    main = asyncio.current_task()
    if main is not None:
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, main.cancel)
    runtime = await Runtime.open(spec)
    try:
        server = serving.server(runtime.app, grace=_CONNECTIONS_END)
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, _stop, server, runtime, loop)
        Aside(server, runtime, sock).listen(loop)
        tools = [tool.name for tool in runtime.tools]
        log.info(
            "ready: %s at %s (backend %s, tools: %s)",
            runtime.agent.name, spec.url, runtime.backend.name, ", ".join(tools) or "none",
        )  # fmt: skip
        await server.serve(sockets=[sock])
    finally:
        await runtime.close()


def _stop(server: Server, runtime: Runtime, loop: asyncio.AbstractEventLoop) -> None:
    if server.should_exit:
        server.force_exit = True
    server.should_exit = True
    loop.call_later(_RUNS_END, runtime.runner.stop, "stopping")


def main(arguments: list[str]) -> None:
    """Read the spec from a pipe, take over the listening socket, serve."""
    sock = socket.socket(fileno=int(arguments[0]))
    with os.fdopen(int(arguments[1]), "rb") as pipe:
        data: dict[str, Any] = json.load(pipe)
    serve(AgentSpec.from_dict(data), sock)


if __name__ == "__main__":
    main(sys.argv[1:])

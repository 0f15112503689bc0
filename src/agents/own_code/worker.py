"""Runs one function of the user's in an interpreter of its own: the other end of `interpreters.py`.

Started as a file, by any Python from 3.8 on and with nothing of ours installed there: this file, those beside it,
and the standard library only.

    python worker.py PARENT DESCRIPTOR      the agent's pid, and a socket to talk over

A frame is four bytes of length and a JSON object. In: the order {run, search_path, instrument}; {call: …}, one at a
time; {cancel: true}; {reply: n, …} to a question; {heard: n, stop} to a model call. Out: {ready: …} or {unusable: …};
{stream: text}; {ask: n, …}; {seen: record} of `backends/inside/scope.py`; and for each call one of {done: result},
{failed: …}, {cancelled: true}.
"""

from __future__ import annotations

import sys

if __name__ == "__main__":
    here = __file__.rpartition("/")[0]
    sys.path[:] = [here, *(folder for folder in sys.path if folder != here)]
    import worker_inside as looking  # type: ignore[import-not-found]
    import worker_turns as turns  # type: ignore[import-not-found]

    # Python looks into this file's folder first: our neighbours here would stand in for the user's modules.
    del sys.path[0], sys.modules["worker_turns"], sys.modules["worker_inside"]
else:
    from teamwright.agents.own_code import worker_inside as looking
    from teamwright.agents.own_code import worker_turns as turns

import asyncio
import contextlib
import importlib
import inspect
import json
import logging
import os
import queue
import signal
import socket
import struct
import threading
import traceback
from collections.abc import Callable
from typing import Any

_PR_SET_PDEATHSIG = 1
#: As in tracing/logs.py.
LOG_FORMAT = "%(asctime)s %(levelname)s [run=%(run_id)s trace=%(trace_id)s] %(name)s: %(message)s"


class Cancelled(BaseException):
    """Raised in a function that is no longer wanted, so that its `finally` blocks run."""


def wants_turn(function: Callable[..., Any]) -> bool:
    """Whether a function is called with (text, turn): it needs a second argument, or has one called `turn`."""
    try:
        parameters = list(inspect.signature(function).parameters.values())
    except (TypeError, ValueError):
        return False
    places = [one for one in parameters if one.kind in (one.POSITIONAL_ONLY, one.POSITIONAL_OR_KEYWORD)]
    return len(places) > 1 and (places[1].default is inspect.Parameter.empty or places[1].name == "turn")


def misfit(function: Any) -> str | None:
    """Why it can't be called with (text) or (text, turn); None when it can."""
    if not callable(function):
        return "is not a function"
    try:
        signature = inspect.signature(function)
    except (TypeError, ValueError):
        return None
    try:
        signature.bind(*(["", None] if wants_turn(function) else [""]))
    except TypeError as error:
        return f"can't be called with (text) or (text, turn): {error}"
    return None


def is_async(function: Any) -> bool:
    """Whether calling it gives a coroutine or an async generator."""
    call = function if inspect.isroutine(function) else vars(type(function)).get("__call__", function)
    return any(inspect.iscoroutinefunction(one) or inspect.isasyncgenfunction(one) for one in (function, call))


def describe(error: BaseException, own: str = __file__) -> str:
    """An exception in one line, with the innermost place in the user's code."""
    said = str(error).strip().splitlines()
    name = type(error).__name__
    text = f"{name}: {said[0]}" if said else name
    if isinstance(error, SystemExit):
        text = f"it called sys.exit({error.code!r})"
    library = os.__file__.rpartition("/")[0]
    frames = [
        frame
        for frame in traceback.extract_tb(error.__traceback__)
        if frame.filename not in (own, turns.__file__) and not frame.filename.startswith(("<", library))
    ]
    return f"{text} ({frames[-1].filename}:{frames[-1].lineno})" if frames else text


class RunFilter(logging.Filter):
    """Sets `run_id` and `trace_id` on each record, `-` between calls; a worker has one call at a time."""

    run_id = trace_id = "-"

    def filter(self, record: logging.LogRecord) -> bool:
        record.run_id, record.trace_id = self.run_id, self.trace_id
        return True

    def set(self, turn: turns.Turn | None) -> None:
        """From now on it is this call's."""
        self.run_id = turn.run_id if turn else "-"
        self.trace_id = turn.traceparent[3:35] or "-" if turn else "-"


def log_runs() -> RunFilter:
    """Let the root logger write to stderr, which is the agent's log, as the agent's own does."""
    runs, handler = RunFilter(), logging.StreamHandler()
    handler.addFilter(runs)
    handler.setFormatter(logging.Formatter(LOG_FORMAT))
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(logging.INFO)
    return runs


class Line:
    """The connection to the agent."""

    def __init__(self, connection: socket.socket) -> None:
        self._socket = connection
        self._sending = threading.Lock()

    def send(self, frame: dict[str, Any]) -> None:
        """Send one frame; any thread may."""
        data = json.dumps(frame, default=str).encode()
        with self._sending:
            self._socket.sendall(struct.pack(">I", len(data)) + data)

    def receive(self) -> dict[str, Any] | None:
        """The next frame; None when the agent is gone."""
        head = self._read(4)
        body = self._read(struct.unpack(">I", head)[0]) if head else None
        found: dict[str, Any] | None = json.loads(body) if body is not None else None
        return found

    def _read(self, size: int) -> bytes | None:
        data = b""
        while len(data) < size:
            try:
                part = self._socket.recv(min(size - len(data), 1 << 20))
            except OSError:
                return None
            if not part:
                return None
            data += part
        return data


class Worker:
    """Carries out calls, one after the other, in the main thread; a second thread listens."""

    def __init__(self, line: Line, function: Callable[..., Any], runs: RunFilter, eyes: looking.Eyes) -> None:
        self._line = line
        self._eyes = eyes
        self._runs = runs
        self._function = function
        self._with_turn = wants_turn(function)
        self._async = is_async(function)
        self._calls: queue.Queue[dict[str, Any]] = queue.Queue()
        self._questions: dict[int, Callable[[dict[str, Any]], None]] = {}
        self._last_question = 0
        self._loop: asyncio.AbstractEventLoop | None = None
        self._task: asyncio.Task[Any] | None = None
        self._running = False
        self._cancelled = False

    def serve(self) -> None:
        """Until the agent is gone."""
        signal.signal(signal.SIGINT, self._interrupted)
        threading.Thread(target=self._listen, name="agent", daemon=True).start()
        while True:
            call = self._calls.get()
            self._cancelled = False
            try:
                self._running = True
                turn = turns.Turn(call)
                self._runs.set(turn)
                with self._eyes.open(self._line.send):
                    result = self._run(turn)
                self._running = False
                self._line.send({"done": {**plain(result), "files": [file.packed() for file in turn.attached]}})
            except Cancelled:
                self._line.send({"cancelled": True})
            except asyncio.CancelledError:
                self._line.send({"cancelled": True})
            except BaseException as error:
                self._running = False
                traceback.print_exc()
                self._line.send({"failed": describe(error), "type": type(error).__name__})
            finally:
                self._running = False
                self._runs.set(None)

    def _run(self, turn: turns.Turn) -> Any:
        if not self._async:
            blocking = turns.BlockingTurn(turn, self)
            made = self._function(turn.text, blocking) if self._with_turn else self._function(turn.text)
            if inspect.isgenerator(made):
                for piece in made:
                    blocking.stream(str(piece))
                return Streamed
            if not (inspect.isawaitable(made) or hasattr(made, "__aiter__")):
                return made
            return self._in_loop(lambda: made)
        waiting = turns.AwaitedTurn(turn, self)
        arguments = [turn.text, waiting] if self._with_turn else [turn.text]
        return self._in_loop(lambda: self._function(*arguments))

    def _in_loop(self, make: Callable[[], Any]) -> Any:
        if self._loop is None:
            self._loop = asyncio.new_event_loop()
            asyncio.set_event_loop(self._loop)
        self._running = False  # from here on the task is cancelled, not the thread interrupted

        async def finish() -> Any:
            made = make()
            if not hasattr(made, "__aiter__"):
                return await made
            async for piece in made:
                self._line.send({"stream": str(piece)})
            return Streamed

        self._task = self._loop.create_task(finish())
        if self._cancelled:
            self._task.cancel()
        try:
            return self._loop.run_until_complete(self._task)
        finally:
            self._task = None

    def ask(self, question: dict[str, Any], answered: Callable[[dict[str, Any]], None]) -> None:
        """Put a question to another agent, or look for one; `answered` is called in the listening thread."""
        self._last_question += 1
        number = self._last_question
        self._questions[number] = answered
        self._line.send({"ask": number, "below": self._eyes.below(), **question})

    def stream(self, text: str) -> None:
        """A piece of the answer."""
        self._line.send({"stream": text})

    def _listen(self) -> None:
        while True:
            frame = self._line.receive()
            if frame is None:
                os.killpg(0, signal.SIGKILL)  # nobody is there to answer to: we and what we started end
            elif "call" in frame:
                self._calls.put(frame["call"])
            elif "heard" in frame:
                self._eyes.heard(frame["heard"], frame["stop"])
            elif "reply" in frame:
                self._questions.pop(frame["reply"])(frame)
            elif "cancel" in frame:
                self._cancel()

    def _cancel(self) -> None:
        self._cancelled = True
        loop, task = self._loop, self._task
        if loop is not None and task is not None:
            loop.call_soon_threadsafe(task.cancel)
        elif self._running:
            signal.pthread_kill(threading.main_thread().ident or 0, signal.SIGINT)

    def _interrupted(self, *_: Any) -> None:
        if self._running and self._cancelled:
            self._running = False
            raise Cancelled


class Streamed:
    """What a generator comes to: its answer has been sent already."""


def plain(result: Any) -> Any:
    """A result as JSON can carry it: text, a mapping, {"streamed": true} under its own key, or nothing."""
    if result is None or result is Streamed:
        return {"streamed": result is Streamed}
    if isinstance(result, dict):
        return {"data": {str(key): value for key, value in result.items()}}
    if isinstance(result, (bytes, bytearray)):
        return {"text": bytes(result).decode(errors="replace")}
    return {"text": str(result)}


def load(reference: str) -> Any:
    """The object at "pkg.mod:name". Raises LookupError with one line that says what is wrong."""
    module_name, _, name = reference.partition(":")
    try:
        found: Any = importlib.import_module(module_name)
    except ModuleNotFoundError as error:
        if error.name is not None and (module_name == error.name or module_name.startswith(error.name + ".")):
            raise LookupError(f"no module {module_name!r} for {sys.executable}") from None
        raise LookupError(f"importing {module_name} failed: {describe(error)}") from None
    except BaseException as error:
        traceback.print_exc()
        raise LookupError(f"importing {module_name} failed: {describe(error)}") from None
    for part in name.split("."):
        if not hasattr(found, part):
            raise LookupError(f"{module_name} has no {name!r}")
        found = getattr(found, part)
    fault = misfit(found)
    if fault is not None:
        raise LookupError(f"{reference} {fault}")
    return found


def die_with(parent: int) -> None:
    """Be killed when the agent's process ends, where the system can do that."""
    with contextlib.suppress(ImportError, OSError, AttributeError):  # the end of the socket tells us as well
        import ctypes

        ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
    if os.getppid() != parent:
        os._exit(1)


def main(arguments: list[str]) -> int:
    """Load the function, say that we are ready, and work."""
    die_with(int(arguments[0]))
    descriptor = int(arguments[1])
    os.set_inheritable(descriptor, False)
    line = Line(socket.socket(fileno=descriptor))
    order = line.receive()
    if order is None:
        return 1
    for folder in reversed(order["search_path"]):
        if folder in sys.path:
            sys.path.remove(folder)
        sys.path.insert(0, folder)
    sys.argv[:] = [order["run"]]
    runs = log_runs()
    eyes = looking.Eyes(order["instrument"])
    try:
        function = load(order["run"])
    except LookupError as error:
        line.send({"unusable": error.args[0]})
        return 2
    line.send({"ready": {"python": "{}.{}.{}".format(*sys.version_info[:3])}})
    Worker(line, function, runs, eyes).serve()
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

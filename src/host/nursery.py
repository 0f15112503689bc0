"""The host's side of the zygote: keeps one running and has agents forked by it."""

from __future__ import annotations

import asyncio
import json
import logging
import os
import signal
import socket
from array import array
from collections.abc import Callable
from contextlib import suppress
from typing import Any

from teamwright.errors import HostError
from teamwright.host.trees import Trees

_log = logging.getLogger(__name__)

_PACKET = 65_536
#: Seconds the zygote may take to warm up, and to fork.
_WARM_DEADLINE, _FORK_DEADLINE = 60.0, 15.0
#: Seconds that its word about an agent's exit code may come after the exit.
_STATUS_DEADLINE = 2.0
#: So many zygotes in a row that don't get ready mean that it can't be done here.
_TRIES = 3
_DELAYS = (0.0, 0.2, 1.0)

#: Starts a zygote process: its pid and the control socket.
Start = Callable[[], tuple[int, socket.socket]]


class Unforkable(HostError):
    """There is no zygote that can fork; a plain subprocess has to do."""


class ZygoteLost(HostError):
    """The zygote died before it had forked; the next one may."""


class Running:
    """A started agent process. `ended` is its exit code, negative for a signal."""

    def __init__(self, pid: int, handle: int, ended: asyncio.Future[int]) -> None:
        self.pid = pid
        self.ended = ended
        self._handle = handle

    def signal(self, number: int) -> None:
        """Send a signal to this very process, if it still lives."""
        if self._handle >= 0:
            with suppress(OSError):
                signal.pidfd_send_signal(self._handle, number)

    def close(self) -> None:
        """Give the handle back; signals go nowhere from now on."""
        if self._handle >= 0:
            asyncio.get_running_loop().remove_reader(self._handle)
            os.close(self._handle)
            self._handle = -1


class Nursery:
    """Has agents forked, and replaces a zygote that died: its agents die with it, their owners start them again.

    `first` is the zygote that was started before this loop ran. `changed` hears each new zygote's pid, or None.
    """

    def __init__(
        self, trees: Trees, start: Start, first: tuple[int, socket.socket], changed: Callable[[int | None], None]
    ) -> None:
        self._trees = trees
        self._start = start
        self._changed = changed
        self._control: socket.socket | None = None
        self._ready = asyncio.Event()
        self._replies: dict[int, asyncio.Future[tuple[int, int]]] = {}
        self._codes: dict[int, asyncio.Future[int]] = {}
        self._last_ref = 0
        self._failures = 0
        self._sending = asyncio.Lock()
        self.pid: int | None = None
        self._keeper = asyncio.get_running_loop().create_task(self._keep(*first, trees.expect(first[0])))

    @property
    def broken(self) -> bool:
        """Whether we have given up on zygotes."""
        return self._failures >= _TRIES

    async def prepared(self) -> None:
        """Wait until a zygote is warm. Raises Unforkable when there won't be one."""
        await self._ready.wait()
        if self.broken:
            raise Unforkable("no zygote gets ready; see host.log")

    async def fork(self, order: dict[str, Any], fds: list[int]) -> Running:
        """Have an agent forked. Raises Unforkable (start it another way) or ZygoteLost (try again)."""
        await self.prepared()
        loop = asyncio.get_running_loop()
        self._last_ref += 1
        ref = self._last_ref
        reply: asyncio.Future[tuple[int, int]] = loop.create_future()
        self._replies[ref] = reply
        try:
            async with asyncio.timeout(_FORK_DEADLINE):
                await self._send(json.dumps({**order, "ref": ref}).encode(), fds)
                pid, handle = await reply
        except TimeoutError:
            _log.error("the zygote (pid %s) does not fork: killing it", self.pid)
            self.kill()
            raise ZygoteLost("the zygote did not fork in time") from None
        finally:
            self._replies.pop(ref, None)
        ended: asyncio.Future[int] = loop.create_future()
        # Should the zygote die first, the agent becomes our child and its code comes from reap().
        told = self._codes.setdefault(pid, loop.create_future())
        self._trees.expect(pid).add_done_callback(lambda code: _pass_on(code, told))
        loop.add_reader(handle, self._gone, pid, handle, told, ended)
        return Running(pid, handle, ended)

    def kill(self) -> None:
        """Kill the zygote, and with it every agent that it forked."""
        if self.pid is not None:
            with suppress(ProcessLookupError):
                os.kill(self.pid, signal.SIGKILL)

    async def close(self) -> None:
        """End the zygote; its agents should be gone."""
        self._keeper.cancel()
        await asyncio.wait([self._keeper])
        self.kill()

    async def _keep(self, pid: int, control: socket.socket, ended: asyncio.Future[int]) -> None:
        loop = asyncio.get_running_loop()
        while True:
            self.pid, self._control = pid, control
            loop.add_reader(self._control, self._hear, self._control)
            timer = loop.call_later(_WARM_DEADLINE, self._late)
            try:
                self._changed(self.pid)
                code = await ended
            finally:
                timer.cancel()
                was_ready = self._lost()
            self._failures = 0 if was_ready else self._failures + 1
            _log.error("the zygote (pid %s) ended with %s%s", self.pid, code, "" if was_ready else " while warming up")
            self.pid = None
            self._changed(None)
            if self.broken:
                _log.error("giving up on zygotes; agents are started as plain subprocesses")
                self._ready.set()
                return
            pid, control, ended = await self._again()

    async def _again(self) -> tuple[int, socket.socket, asyncio.Future[int]]:
        while True:
            await asyncio.sleep(_DELAYS[min(self._failures, len(_DELAYS) - 1)])
            try:
                pid, control = self._start()
            except OSError as error:
                _log.error("can't start a zygote: %s", error)
                self._failures = min(self._failures + 1, _TRIES - 1)
            else:
                # At once: a child that nobody expects counts as an orphan.
                return pid, control, self._trees.expect(pid)

    def _late(self) -> None:
        if not self._ready.is_set():
            _log.error("the zygote (pid %s) is not warm after %g s: killing it", self.pid, _WARM_DEADLINE)
            self.kill()

    def _lost(self) -> bool:
        """The zygote is gone; whether it had been ready."""
        assert self._control is not None
        self._hear(self._control)  # what it said last
        was_ready = self._ready.is_set()
        self._ready.clear()
        if self._control.fileno() >= 0:
            asyncio.get_running_loop().remove_reader(self._control)
            self._control.close()
        for reply in self._replies.values():
            if not reply.done():
                reply.set_exception(ZygoteLost("the zygote died"))
        return was_ready

    async def _send(self, data: bytes, fds: list[int]) -> None:
        async with self._sending:
            while True:
                assert self._control is not None
                try:
                    socket.send_fds(self._control, [data], fds)
                    return
                except BlockingIOError:
                    await asyncio.sleep(0.005)
                except OSError as error:
                    raise ZygoteLost(f"the zygote died: {error.strerror}") from None

    def _hear(self, control: socket.socket) -> None:
        while control.fileno() >= 0:
            try:
                data, ancillary, _, _ = control.recvmsg(_PACKET, socket.CMSG_SPACE(8), socket.MSG_CMSG_CLOEXEC)
            except BlockingIOError:
                return
            except OSError:
                data, ancillary = b"", []
            if not data:
                asyncio.get_running_loop().remove_reader(control)
                control.close()
                self.kill()  # it can't hear us any more
                return
            handles = array("i")
            for _, _, content in ancillary:
                handles.frombytes(content[: len(content) - len(content) % handles.itemsize])
            self._take(json.loads(data), handles)

    def _take(self, message: dict[str, Any], handles: array[int]) -> None:
        if "ready" in message:
            _log.info("zygote (pid %s) warm after %s ms", self.pid, message["ms"])
            self._ready.set()
            self._changed(self.pid)
        elif "ref" in message:
            self._replied(message, handles)
        elif (told := self._codes.get(message["pid"])) is not None and not told.done():
            told.set_result(message["code"])

    def _replied(self, message: dict[str, Any], handles: array[int]) -> None:
        reply = self._replies.get(message["ref"])
        if reply is None or reply.done():
            for handle in handles:  # nobody waits for it any more
                with suppress(OSError):
                    signal.pidfd_send_signal(handle, signal.SIGKILL)
                os.close(handle)
        elif "error" in message:
            reply.set_exception(Unforkable(message["error"]))
        elif not handles:  # we are out of descriptors and could not take its handle
            with suppress(OSError):
                os.kill(message["pid"], signal.SIGKILL)
            reply.set_exception(HostError("the host has no descriptors left"))
        else:
            # Its end may be told in the very next packet, before the one who asked gets to run.
            self._codes[message["pid"]] = asyncio.get_running_loop().create_future()
            reply.set_result((message["pid"], handles[0]))

    def _gone(self, pid: int, handle: int, told: asyncio.Future[int], ended: asyncio.Future[int]) -> None:
        loop = asyncio.get_running_loop()
        loop.remove_reader(handle)

        def settle() -> None:
            late.cancel()
            self._codes.pop(pid, None)
            self._trees.forget(pid)
            if not ended.done():
                ended.set_result(told.result() if told.done() else -signal.SIGKILL)

        late = loop.call_later(_STATUS_DEADLINE, settle)
        told.add_done_callback(lambda _: settle())


def _pass_on(code: asyncio.Future[int], told: asyncio.Future[int]) -> None:
    if not told.done():
        told.set_result(code.result())

"""The agents' listening sockets. The host binds them and keeps them over any number of an agent's lives."""

from __future__ import annotations

import socket
from collections.abc import Iterable, Sequence

from teamwright.errors import HostError
from teamwright.host.api import PortRequest
from teamwright.host.proc import holder

_BACKLOG = 512
_ADDRESS = "127.0.0.1"


class Ports:
    """Who listens where.

    A port that is shut stays bound, but callers are refused at once instead of waiting for nobody; that holds for
    every process that has inherited the socket. `open` makes it listen again.
    """

    def __init__(self, allowed: range) -> None:
        self._allowed = allowed
        self._sockets: dict[str, socket.socket] = {}

    def bind(self, requests: Sequence[PortRequest]) -> dict[str, int]:
        """A listening socket for each agent, or an error and none; those that have one on that port keep it.

        Raises HostError naming the holder when an explicit port is taken, or when no port is free.
        """
        made: list[str] = []
        replaced: dict[str, socket.socket] = {}
        try:
            # Explicit ports first, so that nobody else's "any" takes them.
            for request in sorted(requests, key=lambda item: (not item.explicit, item.port is None)):
                old = self._sockets.get(request.id)
                if old is not None and request.port in (None, self.port(request.id)):
                    continue
                new = self._bind(request)
                if old is not None:
                    replaced[request.id] = old
                self._sockets[request.id] = new
                made.append(request.id)
        except HostError:
            self.release(made)
            self._sockets.update(replaced)
            raise
        for old in replaced.values():
            old.close()
        return {request.id: self.port(request.id) for request in requests}

    def port(self, agent: str) -> int:
        """The agent's port. Raises HostError when it has none."""
        number: int = self.listener(agent).getsockname()[1]
        return number

    def has(self, agent: str) -> bool:
        """Whether the agent has a port."""
        return agent in self._sockets

    def move(self, agent: str, to: str) -> None:
        """Give an agent's socket to another name, in place of the one that has; callers of that are refused."""
        sock = self._sockets.pop(agent)
        self.release([to])
        self._sockets[to] = sock

    def listener(self, agent: str) -> socket.socket:
        """The agent's socket. Raises HostError when it has none."""
        if agent not in self._sockets:
            raise HostError(f"{agent} has no port; bind one first")
        return self._sockets[agent]

    def open(self, agent: str) -> None:
        """Listen (again). Raises HostError when somebody took the port while it was shut."""
        sock = self.listener(agent)
        try:
            sock.listen(_BACKLOG)
        except OSError:
            port = self.port(agent)
            raise HostError(f"port {port} of {agent} was taken by {holder(port)}") from None

    def shut(self, agent: str) -> None:
        """Refuse callers from now on; those that wait in the backlog are reset."""
        if sock := self._sockets.get(agent):
            _shut(sock)

    def release(self, agents: Iterable[str]) -> None:
        """Give the ports back."""
        for agent in agents:
            if sock := self._sockets.pop(agent, None):
                _shut(sock)
                sock.close()

    def _bind(self, request: PortRequest) -> socket.socket:
        if request.port is not None:
            if sock := _listen(request.port, again=True):
                return sock
            if request.explicit:
                raise HostError(f"port {request.port} for {request.id} is taken by {holder(request.port)}")
        # Rather one that nobody has had for a while; when there is none of those, any that nobody listens on.
        for again in (False, True):
            for port in self._allowed:
                if sock := _listen(port, again=again):
                    return sock
        raise HostError(
            f"no free port for {request.id} in {self._allowed.start}-{self._allowed.stop - 1}",
            hint="set TEAMWRIGHT_PORTS to a larger range",
        )


class Borrowed(Ports):
    """The socket of `name`, for a process that shares it with another one: it is not opened or shut for it alone."""

    def __init__(self, ports: Ports, name: str) -> None:
        super().__init__(range(0))
        self._ports = ports
        self._name = name

    def listener(self, agent: str) -> socket.socket:
        """The socket. Raises HostError when there is none."""
        return self._ports.listener(self._name)

    def open(self, agent: str) -> None:
        """It is open."""

    def shut(self, agent: str) -> None:
        """Somebody else is there."""


def _listen(port: int, *, again: bool) -> socket.socket | None:
    """A listening socket, or None when the port is taken.

    `again`: old connections that linger in TIME_WAIT don't count, nor does another host that keeps it bound but shut;
    for a port that was ours before.
    """
    sock = socket.socket()
    try:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, int(again))
        sock.bind((_ADDRESS, port))
        # Set after the bind it lets this port's connections be forgotten the next time.
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        sock.listen(_BACKLOG)
    except OSError:
        sock.close()
        return None
    return sock


def _shut(sock: socket.socket) -> None:
    try:
        sock.shutdown(socket.SHUT_RDWR)
    except OSError:
        return  # it doesn't listen

from __future__ import annotations

import os
import socket
from collections.abc import Iterator

import pytest

from teamwright.errors import HostError
from teamwright.host.api import PortRequest
from teamwright.host.ports import Ports


@pytest.fixture
def port_range() -> range:
    """Ports that no agent of another test has had."""
    first = 32_000 + os.getpid() % 70 * 10
    return range(first, first + 10)


@pytest.fixture
def ports(port_range: range) -> Iterator[Ports]:
    made = Ports(port_range)
    yield made
    made.release([f"j/{letter}" for letter in "abcdefghijklmnop"])


def _call(port: int) -> socket.socket:
    return socket.create_connection(("127.0.0.1", port), timeout=60)


def test_a_shut_port_refuses_and_opens_again(ports: Ports, port_range: range) -> None:
    port = ports.bind([PortRequest("j/a")])["j/a"]
    assert port in port_range
    waiting = _call(port)
    ports.shut("j/a")
    with pytest.raises(ConnectionRefusedError):
        _call(port)
    with pytest.raises(ConnectionResetError):
        waiting.recv(1)
    waiting.close()
    ports.open("j/a")
    _call(port).close()


def test_another_host_rather_takes_a_port_that_is_not_shut(ports: Ports, port_range: range) -> None:
    port = port_range[-10]  # of those that no other test uses
    ports.bind([PortRequest("j/a", port, explicit=True)])
    ports.shut("j/a")
    other = Ports(range(port, port + 2))
    found = other.bind([PortRequest("j/b")])
    other.release(["j/b"])
    assert found == {"j/b": port + 1}


def test_no_port_is_free(ports: Ports) -> None:
    port = ports.bind([PortRequest("j/a")])["j/a"]
    other = Ports(range(port, port + 1))
    with pytest.raises(HostError, match=rf"no free port for j/b in {port}-{port}"):
        other.bind([PortRequest("j/b")])


def test_lingering_connections_do_not_use_up_the_range(ports: Ports, port_range: range) -> None:
    small = Ports(port_range[-2:])
    for _ in range(4):
        for port in small.bind([PortRequest("j/a"), PortRequest("j/b")]).values():
            client = _call(port)
            agent = next(name for name in ("j/a", "j/b") if small.port(name) == port)
            server, _ = small.listener(agent).accept()
            server.close()
            client.close()
        small.release(["j/a", "j/b"])


def test_a_port_with_old_connections_can_be_bound_again(ports: Ports) -> None:
    port = ports.bind([PortRequest("j/a")])["j/a"]
    client = _call(port)
    server, _ = ports.listener("j/a").accept()
    server.close()  # this side goes first, so the connection lingers here
    client.close()
    ports.release(["j/a"])
    assert ports.bind([PortRequest("j/a", port, explicit=True)]) == {"j/a": port}


def test_a_port_taken_while_it_was_shut(ports: Ports) -> None:
    port = ports.bind([PortRequest("j/a")])["j/a"]
    ports.shut("j/a")
    with socket.socket() as thief:
        thief.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        thief.bind(("127.0.0.1", port))
        thief.listen()
        with pytest.raises(HostError, match=rf"port {port} of j/a was taken by .*\(pid {os.getpid()}\)"):
            ports.open("j/a")


def test_all_or_nothing(ports: Ports, port_range: range) -> None:
    kept = ports.bind([PortRequest("j/a")])
    with socket.create_server(("127.0.0.1", 0)) as taken:
        wanted = [
            PortRequest("j/b"),
            PortRequest("j/a", port_range[9]),
            PortRequest("j/c", taken.getsockname()[1], True),
        ]
        with pytest.raises(HostError, match=r"port \d+ for j/c is taken by"):
            ports.bind(wanted)
    assert ports.port("j/a") == kept["j/a"]
    with pytest.raises(HostError, match="j/b has no port"):
        ports.port("j/b")


def test_a_move_to_another_port(ports: Ports, port_range: range) -> None:
    first = ports.bind([PortRequest("j/a")])["j/a"]
    assert ports.bind([PortRequest("j/a", port_range[8])]) == {"j/a": port_range[8]}
    with pytest.raises(ConnectionRefusedError):
        _call(first)

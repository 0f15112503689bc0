"""Push notifications to addresses that fail: what is tried again, what is not, and what the trace tells."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import httpx
import pytest
from a2a.server.context import ServerCallContext
from a2a.types import Task, TaskPushNotificationConfig, TaskState, TaskStatus
from a2a.utils.errors import InvalidParamsError
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import NameOID

from teamwright.agents.a2a.pinned import NotAllowed, pinned_client, public
from teamwright.agents.a2a.push import PushConfigs, PushSender
from teamwright.agents.calling.transport import tls_context
from teamwright.tracing.testing import Spans, attributes
from teamwright.tracing.tracer import Tracer

CONTEXT = ServerCallContext()


class Server:
    """Answers with these statuses; an error instead of one is raised."""

    def __init__(self, *answers: int | Exception) -> None:
        self.answers = list(answers)
        self.asked: list[httpx.Request] = []

    async def __call__(self, request: httpx.Request) -> httpx.Response:
        self.asked.append(request)
        answer = self.answers.pop(0) if self.answers else 200
        if isinstance(answer, Exception):
            raise answer
        return httpx.Response(answer, stream=httpx.ByteStream(b"ok"))


class Sending:
    """A sender with its addresses, over a stand-in for the network."""

    def __init__(self, server: Server, http: httpx.AsyncClient | None = None) -> None:
        self.spans = Spans()
        self.tracer = Tracer("worker", "team", "1", self.spans)
        self.http = http or httpx.AsyncClient(transport=httpx.MockTransport(server), verify=False)
        self.configs = PushConfigs()
        self.sender = PushSender(self.http, self.configs, self.tracer, span=lambda task: None, pauses=(0.001, 0.001))

    async def send(self, url: str = "http://hook.example/x?key=1") -> dict[str, Any]:
        """What the trace tells of one delivery."""
        await self.configs.set_info("t", TaskPushNotificationConfig(id="c", url=url), CONTEXT)
        task = Task(id="t", context_id="c", status=TaskStatus(state=TaskState.TASK_STATE_COMPLETED))
        await self.sender.send_notification("t", task)
        await asyncio.gather(*self.sender._workers)
        (event,) = self.spans.all()[-1].events
        return {item.key: item.value.string_value or item.value.int_value for item in event.attributes}


@pytest.fixture
async def made() -> AsyncIterator[list[Sending]]:
    sendings: list[Sending] = []
    yield sendings
    for sending in sendings:
        await sending.sender.aclose()
        await sending.http.aclose()


@pytest.mark.parametrize(
    ("answers", "tries", "error"),
    [
        ((200,), 1, None),
        ((500, httpx.ConnectError("no way"), 204), 3, None),
        ((500, 500, 503), 3, "HTTP 503"),
        ((400,), 1, "HTTP 400"),
        ((302,), 1, "HTTP 302"),
        ((429, 200), 2, None),
    ],
)
async def test_what_is_tried_again(made: list[Sending], answers: Any, tries: int, error: str | None) -> None:
    server = Server(*answers)
    made.append(sending := Sending(server))
    told = await sending.send()
    assert len(server.asked) == told["teamwright.attempt"] == tries
    assert told.get("error.type") == error
    assert told["teamwright.a2a.push_to"] == "http://hook.example/x"
    span = sending.spans.all()[-1]
    assert attributes(span)["gen_ai.operation.name"] == "push"


class Hook:
    """A TLS server of this machine that says it is hook.example, and what it got."""

    def __init__(self, folder: Path) -> None:
        key = ec.generate_private_key(ec.SECP256R1())
        name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "hook.example")])
        now = datetime.now(UTC)
        certificate = (
            x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number())
            .not_valid_before(now - timedelta(hours=1))
            .not_valid_after(now + timedelta(hours=1))
            .add_extension(x509.SubjectAlternativeName([x509.DNSName("hook.example")]), critical=False)
            .sign(key, hashes.SHA256())
        )
        self.file = folder / "hook.pem"
        self.file.write_bytes(
            certificate.public_bytes(Encoding.PEM)
            + key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
        )
        self.names: list[str] = []
        self.hosts: list[str] = []

    async def start(self) -> asyncio.Server:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(self.file)
        context.sni_callback = lambda connection, name, _: self.names.append(name)
        return await asyncio.start_server(self._serve, "127.0.0.1", 0, ssl=context)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while head := (await reader.readuntil(b"\r\n\r\n")).decode().lower():
                fields = dict(line.split(": ", 1) for line in head.splitlines()[1:-1])
                await reader.readexactly(int(fields["content-length"]))
                self.hosts.append(fields["host"])
                writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")
        except asyncio.IncompleteReadError:
            pass
        finally:
            writer.close()


async def test_the_address_that_was_looked_at_is_the_one_that_is_dialled(made: list[Sending], tmp_path: Path) -> None:
    """A name that leads to the allowed 127.0.0.1 first, and to the forbidden 127.0.0.2 from then on."""
    looked: list[str] = []

    async def rebinding(host: str, port: int) -> list[str]:
        looked.append(host)
        return ["127.0.0.1"] if len(looked) == 1 else ["127.0.0.1", "127.0.0.2"]

    async def allowed(address: str) -> bool:
        return address == "127.0.0.1"

    hook = Hook(tmp_path)
    tls = ssl.create_default_context(cafile=str(hook.file))
    made.append(sending := Sending(Server(), pinned_client(allowed, tls, resolve=rebinding)))
    async with await hook.start() as server:
        port = server.sockets[0].getsockname()[1]
        url = f"https://hook.example:{port}/x"
        assert "error.type" not in await sending.send(url)
        assert (hook.names, hook.hosts, looked) == (["hook.example"], [f"hook.example:{port}"], ["hook.example"])
        assert "error.type" not in await sending.send(url)  # over the connection that is there: nothing to look at
        assert (len(hook.names), len(hook.hosts), len(looked)) == (1, 2, 1)
        told = await sending.send(f"http://other.example:{port}/x")
        assert (told["error.type"], told["teamwright.attempt"]) == ("the address is not allowed", 1)
        assert looked == ["hook.example", "other.example"]
        await sending.http.aclose()
    assert len(hook.hosts) == 2


async def test_only_public_addresses_by_default() -> None:
    for address in ("127.0.0.1", "::1", "10.0.0.1", "169.254.169.254", "100.64.0.1", "::ffff:127.0.0.1", "fe80::1"):
        assert not await public(address)
    assert await public("93.184.216.34")
    assert await public("2606:2800:220:1:248:1893:25c8:1946")
    async with pinned_client(public, tls_context()) as client:
        for url in ("http://127.0.0.1:9/", "http://localhost:9/", "http://[::1]:9/", "http://2130706433:9/"):
            with pytest.raises(NotAllowed):
                await client.post(url)


async def test_addresses_are_bounded() -> None:
    configs = PushConfigs()
    for number in range(10):
        await configs.set_info("t", TaskPushNotificationConfig(id=str(number), url="http://x"), CONTEXT)
    await configs.set_info("t", TaskPushNotificationConfig(id="9", url="http://y"), CONTEXT)
    with pytest.raises(InvalidParamsError):
        await configs.set_info("t", TaskPushNotificationConfig(id="10", url="http://x"), CONTEXT)
    for number in range(6000):
        await configs.set_info(f"t{number}", TaskPushNotificationConfig(url="http://x"), CONTEXT)
    assert await configs.get_info("t", CONTEXT) == []
    assert len(await configs.get_info("t5999", CONTEXT)) == 1
    configs.forget("t5999")
    assert await configs.get_info("t5999", CONTEXT) == []

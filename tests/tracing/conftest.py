"""What the tests of tracing share: tracers that raise, decoded spans, a store, and a real collector."""

from __future__ import annotations

import asyncio
import itertools
import socket
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address
from pathlib import Path
from typing import Any

import pytest
import uvicorn
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from starlette.applications import Starlette

from teamwright.tracing.shipping.spool import Spool
from teamwright.tracing.storing.collector import routes
from teamwright.tracing.storing.store import SpanStore
from teamwright.tracing.testing import Spans
from teamwright.tracing.tracer import Tracer


@pytest.fixture
def spans() -> Spans:
    return Spans()


@pytest.fixture
def tracer(spans: Spans) -> Tracer:
    return Tracer("lead", "team", "i1", spans, name="Lead", strict=True)


@pytest.fixture
def store(tmp_path: Path) -> Iterator[SpanStore]:
    store = SpanStore(tmp_path / "spans.db")
    yield store
    store.close()


@pytest.fixture
def spool_dir(tmp_path: Path) -> Path:
    return tmp_path / "spool"


@pytest.fixture
def make_tracer(spool_dir: Path) -> Iterator[Callable[..., tuple[Tracer, Spool]]]:
    """A tracer over a spool, as a process has it: service, namespace, incarnation."""
    made: list[Spool] = []
    numbers = itertools.count(1)

    def make(service: str = "lead", job: str = "team", incarnation: str | None = None) -> tuple[Tracer, Spool]:
        incarnation = incarnation or f"i{next(numbers)}"
        spool = Spool.create(spool_dir, job, service, incarnation)
        made.append(spool)
        return Tracer(service, job, incarnation, spool, strict=True), spool

    yield make
    for spool in made:
        spool.close()


@asynccontextmanager
async def _serve(store: SpanStore, sock: socket.socket, **options: Any) -> AsyncIterator[str]:
    """A collector on that listening socket, until the block ends."""
    app = Starlette(routes=routes(store, **options))
    config = uvicorn.Config(app, log_config=None, lifespan="off", timeout_graceful_shutdown=1)
    server = uvicorn.Server(config)
    # Its own signal handling belongs to a main program.
    task = asyncio.create_task(server._serve([sock]))
    try:
        yield f"http://127.0.0.1:{sock.getsockname()[1]}"
    finally:
        server.should_exit = True
        await task


def _listener(port: int = 0) -> socket.socket:
    sock = socket.socket()
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    sock.bind(("127.0.0.1", port))
    sock.listen(64)
    return sock


@pytest.fixture
def serve() -> Callable[..., AbstractAsyncContextManager[str]]:
    """serve(store, sock, **options of `routes`) runs a collector and gives its URL."""
    return _serve


@pytest.fixture
def listener() -> Callable[..., socket.socket]:
    """listener(port=0) gives a listening socket on loopback."""
    return _listener


def _certificate(path: Path) -> Path:
    """A certificate for 127.0.0.1 that vouches for itself, and its key, in one file."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "127.0.0.1")])
    now = datetime.now(UTC)
    made = (
        x509.CertificateBuilder(name, name, key.public_key(), 1, now - timedelta(days=1), now + timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ip_address("127.0.0.1"))]), False)
        .add_extension(x509.BasicConstraints(True, None), True)
        .sign(key, hashes.SHA256())
    )
    pem = serialization.Encoding.PEM
    secret = key.private_bytes(pem, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    path.write_bytes(secret + made.public_bytes(pem))
    return path


@pytest.fixture
def certificate(tmp_path: Path) -> Path:
    """A PEM file for a server on 127.0.0.1; the authority is the certificate itself."""
    return _certificate(tmp_path / "server.pem")


@pytest.fixture
def other(tmp_path: Path) -> Path:
    """The PEM file of an authority that has vouched for nobody here."""
    return _certificate(tmp_path / "other.pem")

"""`--otlp` and `--otlp-content`: where spans are sent on to, for the commands that start an engine or a job."""

from __future__ import annotations

import socket
import ssl
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import click

from teamwright.cli.output import note
from teamwright.settings import OTLP_CERTIFICATE, OTLP_CONTENT, OTLP_ENDPOINT

if TYPE_CHECKING:
    from teamwright.client.client import Client
    from teamwright.tracing.forwarding.endpoints import Endpoint

#: Seconds that a receiver may take to shake hands; more is only worth a warning.
_PATIENCE = 2.0
_PORTS = {"http": 80, "https": 443, "grpc": 4317, "grpcs": 4317}


def otlp_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Add the two options; the command gets `otlp` and `otlp_content`."""
    content = click.option(
        "--otlp-content", is_flag=True, help=f"{OTLP_CONTENT.help.removeprefix('on or off: ')} (else they stay here)."
    )
    url = click.option(
        "--otlp",
        metavar="URL[;HEADER=VALUE]",
        multiple=True,
        help=f"Send spans to this OTLP receiver too; may be repeated. Else {OTLP_ENDPOINT.env}.",
    )
    return url(content(command))


def wanted(environ: Mapping[str, str], otlp: Sequence[str], content: bool) -> list[Endpoint]:
    """What options and environment ask for. Raises UserError for what is no endpoint."""
    from teamwright.errors import UserError
    from teamwright.tracing.forwarding.endpoints import endpoints

    found = endpoints(environ, otlp, content=content)
    if content and not found:
        raise UserError("--otlp-content without a receiver", hint=f"--otlp URL, or {OTLP_ENDPOINT.env}")
    return found


def send_to(client: Client, found: Sequence[Endpoint]) -> None:
    """Tell the engine, and the user of those that can't be reached as they are: their spans wait."""
    if not found:
        return
    client.forward(found)
    for endpoint in found:
        if problem := unreachable(endpoint):
            note(f"warning: {endpoint.url}: {problem}; what is meant for it waits in the home")


def unreachable(endpoint: Endpoint) -> str | None:
    """Why nobody can be talked to there, in one line; None when somebody can."""
    from urllib.parse import urlsplit

    parts = urlsplit(endpoint.url)
    host, port = parts.hostname or "", parts.port or _PORTS[parts.scheme]
    try:
        with socket.create_connection((host, port), timeout=_PATIENCE) as plain:
            if endpoint.tls:
                context = endpoint.authorities()
                if endpoint.grpc:
                    context.set_alpn_protocols(["h2"])
                with context.wrap_socket(plain, server_hostname=host):
                    pass
    except ssl.SSLCertVerificationError as error:
        return f"its certificate is not accepted: {error.verify_message} ({OTLP_CERTIFICATE.env} names authorities)"
    except OSError as error:
        return error.strerror or str(error)
    return None

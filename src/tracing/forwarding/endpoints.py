"""Where spans go outside of this home, as the settings say it.

TEAMWRIGHT_OTLP_ENDPOINT="http://127.0.0.1:4318 grpc://collector:4317;x-team=red https://o.example/otlp"
"""

from __future__ import annotations

import hashlib
import ssl
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal
from urllib.parse import unquote, urlsplit

from teamwright import settings
from teamwright.errors import UserError

Signal = Literal["traces", "metrics"]

_OFF = ("", "0", "false", "no", "off")
#: OpenTelemetry's own: what AGENT_OTEL_ENABLED alone means.
_DEFAULT = "http://127.0.0.1:4318"
_PEM = "TEAMWRIGHT_OTLP_CERTIFICATE is a file of CA certificates in PEM"
_HINT = "URL[;header=value…], several apart by spaces; http, https, grpc or grpcs"


@dataclass(frozen=True, slots=True)
class Endpoint:
    """One receiver. `url` is whole for HTTP, path included, and grpc://host:port or grpcs:// for gRPC."""

    url: str
    headers: Mapping[str, str]
    certificate: str | None = None
    content: bool = False

    @property
    def grpc(self) -> bool:
        return self.url.startswith("grpc")

    @property
    def key(self) -> str:
        """What its spool is called: the same for the same receiver."""
        host = urlsplit(self.url).netloc.rpartition("@")[2].replace(":", "-")
        return f"{host}-{hashlib.sha256(self.url.encode()).hexdigest()[:8]}"

    @property
    def tls(self) -> bool:
        return self.url.startswith(("https", "grpcs"))

    def address(self, signal: Signal) -> str:
        """Where HTTP posts of a signal go."""
        return self.url.removesuffix("/").removesuffix("/traces") + f"/{signal}"

    def authorities(self) -> ssl.SSLContext:
        """Whom to trust: the certificate file, else the system's. Raises UserError for a file that is none."""
        try:
            return ssl.create_default_context(cafile=self.certificate)
        except OSError as error:  # ssl.SSLError too
            why = "it holds no certificate in PEM" if isinstance(error, ssl.SSLError) else error.strerror
            raise UserError(f"the authorities in {self.certificate} can't be used: {why}", hint=_PEM) from None

    def to_dict(self) -> dict[str, Any]:
        """As JSON; `from_dict` takes it back."""
        return {
            "url": self.url,
            "headers": dict(self.headers),
            "certificate": self.certificate,
            "content": self.content,
        }

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Endpoint:
        """Raises UserError for what is none."""
        headers = data.get("headers") or {}
        if not isinstance(headers, Mapping):
            raise UserError("headers of an endpoint are an object")
        certificate = data.get("certificate")
        return _endpoint(
            str(data.get("url") or ""),
            {str(name): str(value) for name, value in headers.items()},
            str(certificate) if certificate else None,
            data.get("content") is True,
        )


def endpoints(environ: Mapping[str, str], flags: Sequence[str] = (), *, content: bool = False) -> list[Endpoint]:
    """Those that are set; `flags` go before the environment's. Raises UserError for what is none."""
    text: str | None = " ".join(flags) if flags else environ.get(settings.OTLP_ENDPOINT.env)
    if text is None:
        text = _older(environ)
    words = (text or "").split()
    common = _headers((environ.get(settings.OTLP_HEADERS.env) or "").split(","))
    if common and len(words) > 1:
        raise UserError(
            f"{settings.OTLP_HEADERS.env} with several endpoints: whose are they?",
            hint="write them behind each endpoint: " + _HINT,
        )
    certificate = environ.get(settings.OTLP_CERTIFICATE.env)
    content = content or (environ.get(settings.OTLP_CONTENT.env) or "").lower() not in _OFF
    found = [_endpoint(word, common, str(Path(certificate).absolute()) if certificate else None, content)
             for word in words]  # fmt: skip
    if any(endpoint.tls for endpoint in found):
        found[0].authorities()
    return found


def _older(environ: Mapping[str, str]) -> str | None:
    enabled = environ.get("AGENT_OTEL_ENABLED")
    if enabled is not None and enabled.lower() in _OFF:
        return None
    return environ.get("AGENT_OTEL_ENDPOINT") or (_DEFAULT if enabled is not None else None)


def _endpoint(word: str, common: Mapping[str, str], certificate: str | None, content: bool) -> Endpoint:
    url, *more = word.split(";")
    parts = urlsplit(url)
    if parts.scheme not in ("http", "https", "grpc", "grpcs") or not parts.hostname:
        raise UserError(f"{url!r} is not an OTLP endpoint", hint=_HINT)
    if not parts.scheme.startswith("grpc") and not parts.path.rstrip("/").endswith("/v1/traces"):
        # As OpenTelemetry's exporters do it: the base is given, the signal's path is theirs.
        url = url.rstrip("/") + "/v1/traces"
    return Endpoint(url, {**common, **_headers(more)}, certificate, content)


def _headers(pairs: list[str]) -> dict[str, str]:
    found = {}
    for pair in pairs:
        name, equals, value = pair.partition("=")
        if pair.strip() and not (equals and name.strip()):
            raise UserError(f"{name.strip()!r} is not header=value", hint=_HINT)
        if equals:
            found[name.strip().lower()] = unquote(value.strip())
    return found

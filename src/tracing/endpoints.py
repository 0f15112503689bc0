"""Where spans go outside of this home, as the settings say it.

TEAMWRIGHT_OTLP_ENDPOINT="http://127.0.0.1:4318 grpc://collector:4317;x-team=red https://o.example/otlp"
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from urllib.parse import unquote, urlsplit

from teamwright import settings
from teamwright.errors import UserError

_OFF = ("", "0", "false", "no", "off")
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


def endpoints(environ: Mapping[str, str]) -> list[Endpoint]:
    """Those that are set. Raises UserError for what is none."""
    text = environ.get(settings.OTLP_ENDPOINT.env)
    if text is None and environ.get("AGENT_OTEL_ENABLED", "1").lower() not in _OFF:
        text = environ.get("AGENT_OTEL_ENDPOINT")
    words = (text or "").split()
    common = _headers((environ.get(settings.OTLP_HEADERS.env) or "").split(","))
    if common and len(words) > 1:
        raise UserError(
            f"{settings.OTLP_HEADERS.env} with several endpoints: whose are they?",
            hint="write them behind each endpoint: " + _HINT,
        )
    return [
        _endpoint(
            word,
            common,
            environ.get(settings.OTLP_CERTIFICATE.env) or None,
            (environ.get(settings.OTLP_CONTENT.env) or "").lower() not in _OFF,
        )
        for word in words
    ]


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

"""OTLP over HTTP with protobuf: the bytes are ready, all it takes is a POST."""

from __future__ import annotations

import asyncio
import gzip

import httpx

from teamwright.errors import UserError
from teamwright.tracing.forwarding.endpoints import Endpoint, Signal
from teamwright.tracing.shipping.exporter import Later, Unwanted

#: The receiver will never take this request. Other answers may come of a wrong address, header or key.
_FINAL = (400, 413, 415)
#: What one without a place for metrics says.
_NO_PLACE = (404, 405, 422, 501)


class HttpOutlet:
    """Posts to one endpoint. Raises Later when its certificates can't be used."""

    def __init__(self, endpoint: Endpoint, seconds: float) -> None:
        self._endpoint = endpoint
        try:
            verify = endpoint.authorities() if endpoint.tls else False
        except UserError as error:
            raise Later(error.message, 60.0) from None
        self._client = httpx.AsyncClient(verify=verify, timeout=seconds)
        self._headers = {
            "content-type": "application/x-protobuf",
            "content-encoding": "gzip",
            **endpoint.headers,
        }

    async def send(self, signal: Signal, body: bytes) -> bytes:
        """The receiver's answer. Raises Later or Unwanted."""
        endpoint = self._endpoint
        try:
            packed = await asyncio.to_thread(gzip.compress, body, 1)
            answer = await self._client.post(endpoint.address(signal), content=packed, headers=self._headers)
        except (httpx.HTTPError, RuntimeError) as error:
            raise Later(_words(error)) from error
        if answer.status_code in _FINAL or (signal == "metrics" and answer.status_code in _NO_PLACE):
            raise Unwanted(f"HTTP {answer.status_code} from {endpoint.address(signal)}: {answer.text[:300]}")
        if not answer.is_success:
            after = answer.headers.get("retry-after", "")
            raise Later(
                f"HTTP {answer.status_code}: {answer.text[:200]}".rstrip(": "),
                float(after) if after.isdigit() else None,
            )
        return answer.content

    async def aclose(self) -> None:
        await self._client.aclose()


def _words(error: Exception) -> str:
    """What went wrong, in one line."""
    text = str(error) or type(error).__name__
    if "CERTIFICATE_VERIFY_FAILED" in text:
        why = text.partition("verify failed: ")[2].rpartition(" (_ssl")[0] or text
        return f"its certificate is not accepted: {why} (TEAMWRIGHT_OTLP_CERTIFICATE names authorities)"
    return text

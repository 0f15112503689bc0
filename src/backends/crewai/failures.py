"""What CrewAI, or the vendor's client below a crew's own model, raises: as errors with a reason."""

from __future__ import annotations

from teamwright.backends.calls import REASONS, ModelError
from teamwright.errors import BackendError, TeamwrightError

#: Names of exceptions that the vendors' clients share.
_NAMES = {
    "APIConnectionError": "unreachable", "ConnectError": "unreachable", "APITimeoutError": "timeout",
    "ReadTimeout": "timeout", "RemoteProtocolError": "cut",
}  # fmt: skip
_SHOWN = 500


def typed(error: Exception) -> TeamwrightError:
    """Ours as it is; else by the HTTP status or the name of it or of what caused it."""
    if isinstance(error, TeamwrightError):
        return error
    said = " ".join(f"{type(error).__name__}: {error}".split())[:_SHOWN]
    seen: BaseException | None = error
    while seen is not None:
        status = getattr(seen, "status_code", None)
        if isinstance(status, int) and status >= 400:
            return ModelError(said, reason=REASONS.get(status, "server_error" if status >= 500 else "bad_request"))
        if (reason := _NAMES.get(type(seen).__name__)) is not None:
            return ModelError(said, reason=reason)
        seen = seen.__cause__ or seen.__context__
    return BackendError(f"the crew failed: {said}", reason="crew_failed")

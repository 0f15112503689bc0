"""For tests that build and install the project."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest

_PASSED = (
    "UV_INDEX", "UV_DEFAULT_INDEX", "UV_INDEX_URL", "UV_EXTRA_INDEX_URL", "UV_FIND_LINKS", "UV_OFFLINE",
    "UV_NATIVE_TLS", "SSL_CERT_FILE", "SSL_CERT_DIR", "HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY",
)  # fmt: skip


@pytest.fixture
def uv_environment(environment: dict[str, str]) -> dict[str, str]:
    """The clean environment, with uv on the PATH, and with where this machine's uv finds and keeps packages."""
    uv = shutil.which("uv")
    assert uv, "uv is needed: pip install uv"
    cache = subprocess.run([uv, "cache", "dir"], capture_output=True, text=True, check=True).stdout.strip()
    passed = {name: os.environ[name] for name in _PASSED if name in os.environ}
    path = os.pathsep.join((str(Path(uv).parent), "/usr/local/bin", "/usr/bin", "/bin"))
    return {**environment, **passed, "UV_CACHE_DIR": cache, "PATH": path}

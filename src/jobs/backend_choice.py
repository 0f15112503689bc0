"""Which backend an agent gets, and whether its packages are there."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

from teamwright.backends.catalog import CATALOG, BackendInfo
from teamwright.backends.plugins import for_model, info_of, names
from teamwright.errors import UserError
from teamwright.jobs.names import nearest, suggestion

DEFAULT = "offline"
#: How the price list calls those whose models a backend asks.
_PRICED_AS = {"claude": "anthropic", "gemini": "gcp.gemini"}


def choose(
    backend: str | None, model: str | None, default_backend: str | None, default_model: str | None
) -> tuple[BackendInfo | None, str | None, str | None]:
    """The backend of an agent: its own, else its model's, else the defaults', else the default model's, else offline.

    Returns (backend, None, None), or (None, what is wrong, a hint).
    """
    if backend is None and model is not None and (found := for_model(model)):
        return found, None, None
    name = backend or default_backend
    if name is None and (wanted := model or default_model):
        found = for_model(wanted)
        if found is None:
            message = f"which backend answers for the model {wanted!r}?"
            return None, message, f"write backend: {' or '.join(names())}"
        return found, None, None
    name = name or DEFAULT
    try:
        info = info_of(name)
    except UserError as error:
        return None, error.message, error.hint
    if info is None:
        better = nearest(name, names())
        known = f"did you mean {better!r}?" if better else f"built in: {', '.join(CATALOG)}; others need their package"
        return None, f"no backend {name!r}", known
    return info, None, None


def faults(
    info: BackendInfo, model: str | None, options: Mapping[str, object]
) -> Iterator[tuple[tuple[str, ...], str, str | None]]:
    """What the backend can't do with these: where (`backend`, or a key of `backend_options`), what is wrong, a hint."""
    if info.needs_model and model is None:
        yield ("backend",), f"the backend {info.name} needs a model", "write model: …"
    for key in options if info.options is not None else ():
        if key not in (info.options or ()):
            message = f"the backend {info.name} has no option {key!r}"
            yield ("backend_options", key), message, suggestion(key, info.options or (), kind="options")


def unpriced(info: BackendInfo, model: str | None, options: Mapping[str, object]) -> str | None:
    """The first of an agent's models, those it falls back to included, of which nobody knows what a call costs.

    A limit in dollars could not be held then.
    """
    if not info.paid or model is None:
        return None
    others = options.get("fallback_models")
    models = [model, *(others if isinstance(others, list) else ())]
    return next((one for one in models if isinstance(one, str) and not _priced(info, one, options)), None)


def _priced(info: BackendInfo, model: str, options: Mapping[str, object]) -> bool:
    from teamwright.tracing.cost import price

    provider: str | None = _PRICED_AS.get(info.name)
    name = model
    if info.name == "openai":
        from teamwright.backends.openai import asked

        name, provider, local = asked(model, str(options.get("base_url") or ""))
        if local:
            return True  # one that is not in the list costs nothing there
    elif "/" in name:
        provider, _, name = name.partition("/")
    return price(name, provider, input_tokens=1, output_tokens=1) is not None


def installed(info: BackendInfo, find: Callable[[str], object] = importlib.util.find_spec) -> bool:
    """Whether the backend's packages are there; imports none of them."""
    if info.probe is None:
        return True
    try:
        return find(info.probe) is not None
    except (ImportError, ValueError):
        return False


def add_command(info: BackendInfo) -> str:
    """The command that adds what a backend lacks."""
    if info.origin is None:
        return install_command(info.extra or "")
    package = info.package or info.origin.package
    return f'pip install "{info.origin.package}[{info.extra}]"' if info.extra else f"pip install {package}"


def install_command(extra: str, package: Path | None = None) -> str:
    """The command that adds an extra: to this source tree, or to wherever the package was installed."""
    project = (package or Path(__file__).resolve().parent.parent).parent / "pyproject.toml"
    return f"uv sync --extra {extra}" if project.is_file() else f'pip install "teamwright[{extra}]"'

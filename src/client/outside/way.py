"""How an agent somewhere is asked: what its card offers, and what of that we take."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from typing import Any
from urllib.parse import urljoin, urlsplit, urlunsplit

import httpx

from teamwright.agents.own_code.foreign import HERE, card_url, fetch_card
from teamwright.errors import PeerError, UserError

JSONRPC, REST = "JSONRPC", "HTTP+JSON"
#: What this side speaks, the best first.
VERSIONS = ("1.0", "0.3")
_WELL_KNOWN, _OLDER = "/.well-known/agent-card.json", "/.well-known/agent.json"


@dataclass(frozen=True, slots=True)
class Way:
    """The outcome of a negotiation: the agent's name, where it is called, and how."""

    agent: str
    url: str
    binding: str
    version: str
    streaming: bool
    extensions: tuple[str, ...] = ()

    def to_dict(self) -> dict[str, Any]:
        """The `negotiated` of `query URL --json`."""
        return {name: value for name, value in asdict(self).items() if name != "extensions"}

    def __str__(self) -> str:
        how = "streaming" if self.streaming else "not streaming"
        return f"{self.agent} at {self.url}: A2A {self.version} over {self.binding}, {how}"


def check_address(address: str) -> str:
    """The address, when it can be one. Raises UserError."""
    try:
        parts = urlsplit(address)
        fault = "no port" if parts.port == 0 else ""
    except ValueError as error:
        parts, fault = urlsplit(""), str(error)
    if parts.scheme not in ("http", "https") or not parts.hostname or fault:
        raise UserError(f"{address!r} is not the address of an agent", hint="http://HOST:PORT/PATH, or a job's name")
    return address


def find_way(
    address: str,
    headers: Mapping[str, str],
    *,
    binding: str | None = None,
    version: str | None = None,
    stream: bool = True,
) -> Way:
    """Read the card of the agent at `address` and choose: the newest version, then the first binding of the card.

    `binding` and `version` narrow the choice. Raises UserError, PeerError (unreachable, timeout, bad_card).
    """
    card = asyncio.run(_card(check_address(address), headers))
    wanted = [version] if version else list(VERSIONS)
    offers = list(_offers(card))
    fitting = [
        (wanted.index(offer[2]), number, offer)
        for number, offer in enumerate(offers)
        if offer[1] in (JSONRPC, REST) and offer[2] in wanted and binding in (None, offer[1])
    ]
    if not fitting:
        given = ", ".join(dict.fromkeys(f"{offer[2]} over {offer[1]}" for offer in offers)) or "nothing"
        asked = " and ".join(wanted) + f" over {binding or f'{JSONRPC} and {REST}'}"
        raise PeerError(f"the card of {address} offers A2A {given}; this command speaks {asked}", reason="bad_card")
    places = [(_same_origin(address, offer[0]), offer) for _, _, offer in sorted(fitting)]
    found = next(((url, offer) for url, offer in places if url is not None), None)
    if found is None:
        elsewhere = places[0][1][0]
        raise PeerError(
            f"the card of {address} sends callers to {elsewhere[:200]}, which is not where it came from",
            reason="bad_card",
        )
    url, (_, chosen, spoken) = found
    abilities = card.get("capabilities")
    abilities = abilities if isinstance(abilities, Mapping) else {}
    extensions = tuple(str(each.get("uri")) for each in abilities.get("extensions") or () if isinstance(each, Mapping))
    streaming = stream and abilities.get("streaming") is True
    name = " ".join(str(card.get("name") or "an agent without a name").split())[:80]
    return Way("".join(filter(str.isprintable, name)), url, chosen, spoken, streaming, extensions)


async def _card(address: str, headers: Mapping[str, str]) -> dict[str, Any]:
    async with httpx.AsyncClient(trust_env=proxied(address), follow_redirects=False) as http:
        try:
            return await fetch_card(http, address, headers)
        except PeerError as error:
            if not error.message.endswith("HTTP 404") or urlsplit(address).path.endswith(".json"):
                raise
        try:
            return await fetch_card(http, address.rstrip("/") + _OLDER, headers)
        except PeerError:
            raise PeerError(
                f"there is no card at {card_url(address)} (HTTP 404)",
                reason="unreachable",
                hint=f"give the address below which {_WELL_KNOWN} lies, or the card's own",
            ) from None


def proxied(address: str) -> bool:
    """Whether proxies of the environment count: not for this machine."""
    return urlsplit(address).hostname not in HERE


def _offers(card: Mapping[str, Any]) -> Iterator[tuple[str, str, str]]:
    """(address, binding, version) of all that a card of 1.0 or of 0.3 offers, in its order."""
    for face in card.get("supportedInterfaces") or ():
        if isinstance(face, Mapping) and isinstance(face.get("url"), str):
            version = str(face.get("protocolVersion") or "1.0")
            yield face["url"], str(face.get("protocolBinding")), _short(version)
    if isinstance(url := card.get("url"), str):
        version = _short(str(card.get("protocolVersion") or "0.3"))
        yield url, str(card.get("preferredTransport") or JSONRPC), version
        for face in card.get("additionalInterfaces") or ():
            if isinstance(face, Mapping) and isinstance(face.get("url"), str):
                yield face["url"], str(face.get("transport")), version


def _short(version: str) -> str:
    """`0.3.0` is 0.3; every 1.x is called as 1.0."""
    return "1.0" if version.partition(".")[0] == "1" else ".".join(version.split(".")[:2])


def _same_origin(address: str, url: str) -> str | None:
    """Where to call, if it is where the card came from: a card must not send us, and our token, anywhere else."""
    try:
        given, asked = urlsplit(address), urlsplit(urljoin(card_url(address), url))
        if given.hostname in HERE and asked.hostname in HERE:
            asked = asked._replace(scheme=given.scheme, netloc=given.netloc)
        same = (asked.scheme, asked.hostname, asked.port) == (given.scheme, given.hostname, given.port)
    except ValueError:
        return None
    return urlunsplit(asked._replace(fragment="")) if same else None

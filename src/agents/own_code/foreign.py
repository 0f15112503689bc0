"""Agents that are not ours, `command:` and `url:`: where their cards are, and where the cards say to call."""

from __future__ import annotations

import asyncio
import ipaddress
import json
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any
from urllib.parse import urljoin, urlsplit, urlunsplit

from teamwright.agents.spec import CARD_PATH
from teamwright.errors import PeerError

if TYPE_CHECKING:
    import httpx

CARD_DEADLINE = 10.0
#: Bytes. No card is larger.
CARD_LIMIT = 1 << 20
#: Bytes. No answer is longer.
ANSWER_LIMIT = 64 << 20

#: Where clouds tell a machine about itself, keys included, beside the addresses of the link.
_METADATA = frozenset(
    map(ipaddress.ip_address, ("100.100.100.200", "168.63.129.16", "192.0.0.192", "fd00:ec2::254", "fd20:ce::254"))
)
#: IPv4 addresses in the form that a network's own translator takes.
_NAT64 = ipaddress.IPv6Network("64:ff9b::/96")

#: Names under which a server on this machine may know itself.
HERE = frozenset(["127.0.0.1", "localhost", "::1", "0.0.0.0", "::"])


def card_url(address: str) -> str:
    """Where the card of the agent at `address` is; an address that ends with `.json` is the card's own."""
    return address if urlsplit(address).path.endswith(".json") else address.rstrip("/") + CARD_PATH


def endpoint(card: Mapping[str, Any], address: str) -> str:
    """The JSON-RPC address that a card gives. Raises PeerError.

    Only one of the same origin counts: a card that could send us anywhere would make us call into our own network.
    """
    faces = card.get("supportedInterfaces")
    if not isinstance(faces, list):
        version = card.get("protocolVersion")
        what = f"speaks A2A {version}" if isinstance(version, str) else "has no supportedInterfaces"
        raise PeerError(f"its card {what}: A2A 1.0 is needed", reason="bad_card")
    found = [
        face
        for face in faces
        if isinstance(face, Mapping)
        and face.get("protocolBinding") == "JSONRPC"
        and str(face.get("protocolVersion", "1.0")).startswith("1.")
        and isinstance(face.get("url"), str)
    ]
    if not found:
        raise PeerError("its card offers no A2A 1.0 over JSON-RPC", reason="bad_card")
    given, asked = urlsplit(address), urlsplit(urljoin(card_url(address), found[0]["url"]))
    if given.hostname in HERE and asked.hostname in HERE:
        asked = asked._replace(scheme=given.scheme, netloc=given.netloc)
    if (asked.scheme, asked.netloc) != (given.scheme, given.netloc):
        raise PeerError(
            f"its card sends callers to {asked.scheme}://{asked.netloc}, which is not where it came from",
            reason="bad_card",
        )
    found_url: str = urlunsplit(asked._replace(fragment=""))
    return found_url


def nobodys(address: str) -> bool:
    """Whether digits are an address of the link (cloud metadata), of many, or of nobody."""
    found = ipaddress.ip_address(address.partition("%")[0])
    if found.version == 6:
        inside = found.ipv4_mapped or found.sixtofour
        if found in _NAT64:
            inside = ipaddress.IPv4Address(int(found) & 0xFFFFFFFF)
        found = inside or found
    reserved = found in _METADATA or (found.version == 4 and found.is_reserved)
    return found.is_link_local or found.is_multicast or found.is_unspecified or reserved


async def anybodys(address: str) -> bool:
    """Whether it may be somebody's address, whatever name led to it."""
    return not nobodys(address)


async def fetch_card(
    http: httpx.AsyncClient, address: str, headers: Mapping[str, str], *, deadline: float = CARD_DEADLINE
) -> dict[str, Any]:
    """The card of the agent at `address`. Raises PeerError: unreachable, timeout, bad_card."""
    import httpx

    url = card_url(address)
    try:
        async with asyncio.timeout(deadline), http.stream("GET", url, headers=dict(headers)) as response:
            if response.status_code != 200:
                raise PeerError(f"{url} answered with HTTP {response.status_code}", reason="unreachable")
            content = b""
            async for chunk in response.aiter_bytes():
                content += chunk
                if len(content) > CARD_LIMIT:
                    raise PeerError(f"the card at {url} is larger than {CARD_LIMIT >> 20} MB", reason="bad_card")
    except TimeoutError:
        raise PeerError(f"{url} did not answer within {deadline:g} s", reason="timeout") from None
    except (httpx.HTTPError, httpx.InvalidURL) as error:
        raise PeerError(f"{url} can't be reached: {str(error) or type(error).__name__}", reason="unreachable") from None
    try:
        card = json.loads(content)
    except ValueError:
        card = None
    if not isinstance(card, dict):
        raise PeerError(f"what {url} answered is not a card", reason="bad_card")
    return card

"""Bearer tokens: Ed25519 JWTs that the engine mints and every callee checks by itself.

sub   job/agent, or a person            aud    engine, job/agent, job (its front door), * (operator only)
role  operator user agent front-door engine, guest (an agent that others start)
epoch  sum of the subject's halt counters at minting
job, agent, group  whom the token speaks for   iss    the home's id      iat, exp, jti   rpm  calls a minute
tags  of its card, as far as the callee's policy asks for them, where one agent has found the other
via  jti of the registration token that it was made for: revoked with it
"""

from __future__ import annotations

import time
from base64 import b64decode, b64encode
from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Literal, cast
from uuid import uuid4

import jwt
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from teamwright.errors import HomeError, Refused, TokenRefused
from teamwright.home import Home, write_atomically
from teamwright.safety.epochs import EpochFile, scopes
from teamwright.safety.revoked import Revoked

Role = Literal["operator", "user", "agent", "front-door", "engine", "guest"]

ANY_AUDIENCE = "*"
ENGINE_AUDIENCE = "engine"

#: Seconds. An agent's token may be used past its end, this long at most, while the engine can't be reached.
LONGEST_GRACE = 3600.0
TOKEN_LIFE = 900.0
_OPERATOR_LIFE = 10 * 365 * 86_400.0

_CACHE = 4096


@dataclass(frozen=True, slots=True)
class Claims:
    """What a token says. Times are Unix seconds; `rpm` is how many calls a minute it is good for."""

    iss: str
    sub: str
    aud: str
    role: Role
    epoch: int
    iat: float
    exp: float
    jti: str
    job: str | None = None
    agent: str | None = None
    group: str | None = None
    rpm: int | None = None
    tags: tuple[str, ...] = ()
    via: str | None = None

    @property
    def scopes(self) -> tuple[str, ...]:
        """The halt scopes that the subject stands under."""
        return scopes(self.job, self.agent, self.group)


class Issuer:
    """Mints the tokens of one home.

    >>> issuer = Issuer.load(home)
    >>> issuer.mint("hello/lead", "hello/facts", job="hello", agent="lead", role="agent")
    """

    def __init__(self, key: Ed25519PrivateKey, home_id: str, epochs: EpochFile | None = None) -> None:
        self._key = key
        self._home_id = home_id
        self._epochs = epochs

    @classmethod
    def load(cls, home: Home) -> Issuer:
        """The issuer of `home`; makes its key, its epoch file and its operator token where they are missing.

        Raises HomeError when the key file holds no key.
        """
        if not home.signing_key.exists():
            seed = Ed25519PrivateKey.generate().private_bytes_raw()
            write_atomically(home.signing_key, b64encode(seed).decode() + "\n", only_if_absent=True)
        try:
            key = Ed25519PrivateKey.from_private_bytes(b64decode(home.signing_key.read_text().strip(), validate=True))
        except (ValueError, UnsupportedAlgorithm):
            raise HomeError(
                f"{home.signing_key} holds no key", hint="remove it; tokens must then be made anew"
            ) from None
        issuer = cls(key, home.id, EpochFile.create(home.epoch_file))
        issuer.keep_operator_token(home)
        return issuer

    @property
    def public_key(self) -> str:
        """What a Verifier needs: the raw public key in base64."""
        return b64encode(self._key.public_key().public_bytes_raw()).decode()

    def mint(
        self,
        sub: str,
        aud: str,
        *,
        job: str | None = None,
        agent: str | None = None,
        group: str | None = None,
        tags: tuple[str, ...] = (),
        role: Role,
        ttl: float = TOKEN_LIFE,
        rpm: int | None = None,
        via: str | None = None,
        now: float | None = None,
    ) -> str:
        """A signed token for `sub` to use at `aud`, good for `ttl` seconds. Raises Refused without an epoch file."""
        issued = time.time() if now is None else now
        epoch = self._epochs.total(scopes(job, agent, group)) if self._epochs is not None else 0
        claims = Claims(
            iss=self._home_id, sub=sub, aud=aud, role=role, epoch=epoch, iat=round(issued, 3),
            exp=round(issued + ttl, 3), jti=uuid4().hex, job=job, agent=agent, group=group,
            rpm=rpm, tags=tags, via=via,
        )  # fmt: skip
        present = {name: value for name, value in asdict(claims).items() if value is not None and value != ()}
        return jwt.encode(present, self._key, algorithm="EdDSA")

    def own(self, token: str) -> Claims:
        """What a token of this home says, also one that is good no more. Raises TokenRefused for any other."""
        return Verifier(self.public_key, self._home_id, None)._read(token)

    def keep_operator_token(self, home: Home) -> None:
        """Make the home's operator token where it is missing or good no more."""
        verifier = Verifier(self.public_key, self._home_id, self._epochs)
        try:
            verifier.check(home.operator_token.read_text().strip(), ENGINE_AUDIENCE)
        except (OSError, TokenRefused):
            token = self.mint("operator", ANY_AUDIENCE, role="operator", ttl=_OPERATOR_LIFE)
            write_atomically(home.operator_token, token + "\n")


class Verifier:
    """Checks tokens of one home: signature (once per token), end, audience, halt epoch, and that none has revoked it.

    >>> Verifier(issuer.public_key, home.id, epochs).check(token, "hello/facts").sub
    'hello/lead'
    """

    def __init__(
        self, public_key: str, home_id: str, epochs: EpochFile | None, *, clock: Callable[[], float] = time.time
    ) -> None:
        self._key = Ed25519PublicKey.from_public_bytes(b64decode(public_key))
        self._home_id = home_id
        self._epochs = epochs
        self._revoked = Revoked.beside(epochs.path) if epochs is not None else None
        self._clock = clock
        self._known: dict[str, Claims] = {}

    def check(self, token: str | None, audience: str, *, grace: float = 0.0) -> Claims:
        """What the token says, if it lets its bearer in at `audience` now. Raises TokenRefused with one line why.

        `grace` is how many seconds an agent's token may be past its end (at most an hour).
        """
        if not token:
            raise TokenRefused("no token", hint="send `Authorization: Bearer TOKEN`")
        claims = self._known.get(token) or self._read(token)
        if claims.aud != audience and claims.aud != ANY_AUDIENCE:
            raise TokenRefused(f"this token is for {claims.aud}, not for {audience}")
        allowed = min(grace, LONGEST_GRACE) if claims.role == "agent" else 0.0
        if self._clock() > claims.exp + allowed:
            raise TokenRefused("the token has expired")
        if self._revoked is not None and (claims.jti in self._revoked or (claims.via or "") in self._revoked):
            raise TokenRefused("the token was revoked")
        self._check_epoch(claims, audience)
        return claims

    def _check_epoch(self, claims: Claims, audience: str) -> None:
        # Operators order halts and lift them: their own token is bound to none, and reaches
        # the engine even when the epoch file is lost.
        if self._epochs is None or (claims.role == "operator" and audience == ENGINE_AUDIENCE):
            return
        try:
            now = self._epochs.total(claims.scopes)
        except Refused as error:
            raise TokenRefused(error.message) from None
        if claims.role != "operator" and now != claims.epoch:
            raise TokenRefused(f"halted: {claims.sub} was halted after this token was made")

    def _read(self, token: str) -> Claims:
        try:
            found = jwt.decode(
                token, self._key, algorithms=["EdDSA"],
                options={"verify_exp": False, "verify_aud": False, "verify_iat": False, "verify_sub": False},
            )  # fmt: skip
        except jwt.InvalidSignatureError:
            raise TokenRefused("the token's signature is wrong") from None
        except jwt.PyJWTError:
            raise TokenRefused("this is not a token") from None
        claims = _claims(found)
        if claims.iss != self._home_id:
            raise TokenRefused("the token comes from another home")
        if claims.aud == ANY_AUDIENCE and claims.role != "operator":
            raise TokenRefused("only an operator's token is for everything")
        if len(self._known) >= _CACHE:
            self._known.pop(next(iter(self._known)))
        self._known[token] = claims
        return claims


def _claims(found: dict[str, object]) -> Claims:
    try:
        tags = found.get("tags")
        found = {**found, "tags": tuple(map(str, tags)) if isinstance(tags, list) else ()}
        claims = Claims(**{name: found.get(name) for name in Claims.__slots__})  # type: ignore[arg-type]
        text = (claims.iss, claims.sub, claims.aud, claims.role, claims.jti, claims.via or "")
        numbers = (claims.epoch, claims.iat, claims.exp)
    except (TypeError, AttributeError):
        raise TokenRefused("this is not a token") from None
    if not all(isinstance(part, str) for part in text) or not all(isinstance(part, int | float) for part in numbers):
        raise TokenRefused("the token lacks claims")
    if claims.rpm is not None and (type(claims.rpm) is not int or claims.rpm < 1):
        raise TokenRefused("the token allows no number of calls")
    return claims


def unverified(token: str) -> Claims:
    """What a token says, unchecked: for its own bearer, who wants to know when it ends. Raises TokenRefused."""
    try:
        return _claims(cast("dict[str, object]", jwt.decode(token, options={"verify_signature": False})))
    except jwt.PyJWTError:
        raise TokenRefused("this is not a token") from None

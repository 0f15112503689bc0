from __future__ import annotations

from pathlib import Path
from typing import Any

import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from teamwright.errors import HomeError, TokenRefused
from teamwright.home import Home
from teamwright.safety.epochs import EpochFile
from teamwright.safety.tokens import Issuer, Verifier, unverified

NOW = 1_800_000_000.0


@pytest.fixture
def epochs(tmp_path: Path) -> EpochFile:
    return EpochFile.create(tmp_path / "epochs")


@pytest.fixture
def issuer(epochs: EpochFile) -> Issuer:
    return Issuer(Ed25519PrivateKey.generate(), "home", epochs)


@pytest.fixture
def verifier(issuer: Issuer, epochs: EpochFile) -> Verifier:
    return Verifier(issuer.public_key, "home", epochs, clock=lambda: NOW)


def lead(issuer: Issuer, aud: str = "job/facts", **changes: Any) -> str:
    return issuer.mint("job/lead", aud, job="job", agent="lead", group="g", role="agent", now=NOW, **changes)


def test_a_good_token_says_who_calls(issuer: Issuer, verifier: Verifier) -> None:
    claims = verifier.check(lead(issuer), "job/facts")
    assert (claims.sub, claims.job, claims.agent, claims.group, claims.role) == (
        "job/lead",
        "job",
        "lead",
        "g",
        "agent",
    )
    assert (claims.iss, claims.aud, claims.iat, claims.exp, claims.epoch) == ("home", "job/facts", NOW, NOW + 900, 0)
    assert claims.jti
    assert unverified(lead(issuer)).exp == NOW + 900


def test_refusals_say_why(issuer: Issuer, verifier: Verifier) -> None:
    stranger = Issuer(Ed25519PrivateKey.generate(), "home")
    elsewhere = Issuer(issuer._key, "other home")
    wide = issuer.mint("someone", "*", role="user", now=NOW)
    unsigned = jwt.encode({"iss": "home", "sub": "x", "aud": "job/facts", "exp": NOW + 9}, key="", algorithm="none")
    for token, why in [
        (None, "no token"),
        ("", "no token"),
        ("rubbish", "not a token"),
        (unsigned, "not a token"),
        (lead(stranger), "signature is wrong"),
        (lead(elsewhere), "another home"),
        (lead(issuer, "job/other"), "is for job/other, not for job/facts"),
        (lead(issuer, ttl=-1), "expired"),
        (wide, "only an operator"),
        (jwt.encode({"iss": "home"}, issuer._key, algorithm="EdDSA"), "lacks claims"),
    ]:
        with pytest.raises(TokenRefused, match=why):
            verifier.check(token, "job/facts")


def test_grace_is_for_agents_and_ends_after_an_hour(issuer: Issuer, verifier: Verifier) -> None:
    late = lead(issuer, ttl=-1000)
    assert verifier.check(late, "job/facts", grace=2000).sub == "job/lead"
    with pytest.raises(TokenRefused, match="expired"):
        verifier.check(lead(issuer, ttl=-4000), "job/facts", grace=9999)
    person = issuer.mint("ann", "job", job="job", role="user", ttl=-1, now=NOW)
    with pytest.raises(TokenRefused, match="expired"):
        verifier.check(person, "job", grace=2000)


@pytest.mark.parametrize("scope", ["engine", "job:job", "group:job/g", "agent:job/lead"])
def test_a_halt_of_any_scope_ends_the_token(issuer: Issuer, verifier: Verifier, epochs: EpochFile, scope: str) -> None:
    token = lead(issuer)
    verifier.check(token, "job/facts")
    epochs.bump("agent:job/other")
    verifier.check(token, "job/facts")
    epochs.bump(scope)
    with pytest.raises(TokenRefused, match="halted"):
        verifier.check(token, "job/facts")
    verifier.check(lead(issuer), "job/facts")  # resumed: a new one counts again


def test_without_the_epoch_file_all_is_halted_but_the_operator_reaches_the_engine(
    issuer: Issuer, verifier: Verifier, epochs: EpochFile
) -> None:
    token = lead(issuer)
    operator = issuer.mint("operator", "*", role="operator", now=NOW)
    epochs.bump("engine")
    assert verifier.check(operator, "job/facts").role == "operator"
    epochs.path.unlink()
    for bearer in (token, operator):
        with pytest.raises(TokenRefused, match="halted"):
            verifier.check(bearer, "job/facts")
    assert verifier.check(operator, "engine").role == "operator"


def test_load_makes_key_and_operator_token_once(tmp_path: Path) -> None:
    home = Home(tmp_path / "logs").create()
    first = Issuer.load(home)
    token = home.operator_token.read_text()
    second = Issuer.load(home)
    assert first.public_key == second.public_key
    assert home.operator_token.read_text() == token
    for path in (home.signing_key, home.operator_token, home.epoch_file):
        assert path.stat().st_mode & 0o777 == 0o600
    verifier = Verifier(first.public_key, home.id, EpochFile.open(home.epoch_file))
    assert verifier.check(token.strip(), "engine").role == "operator"

    home.signing_key.unlink()
    Issuer.load(home)
    assert home.operator_token.read_text() != token
    home.signing_key.write_text("nonsense")
    with pytest.raises(HomeError, match="holds no key"):
        Issuer.load(home)

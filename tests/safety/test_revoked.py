from __future__ import annotations

from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from teamwright.errors import TokenRefused
from teamwright.safety.epochs import EpochFile
from teamwright.safety.revoked import Revoked
from teamwright.safety.tokens import Issuer, Verifier, unverified

NOW = 1_800_000_000.0


def test_a_revoked_token_is_refused_everywhere_and_others_are_not(tmp_path: Path) -> None:
    epochs = EpochFile.create(tmp_path / "epochs")
    issuer = Issuer(Ed25519PrivateKey.generate(), "home", epochs)
    # Two processes that check for themselves, and have seen the tokens before.
    checking = [Verifier(issuer.public_key, "home", EpochFile.open(epochs.path), clock=lambda: NOW) for _ in range(2)]
    leaked, kept = (issuer.mint("ada", "*", role="operator", now=NOW) for _ in range(2))
    guest = issuer.mint("outside/p", "engine", job="outside", agent="p", role="guest", now=NOW)
    made = issuer.mint(
        "outside/p", "team/a", job="outside", agent="p", role="agent", via=unverified(guest).jti, now=NOW
    )
    for verifier in checking:
        for token in (leaked, kept, made):
            verifier.check(token, "team/a")
        verifier.check(guest, "engine")
    gone = [unverified(token) for token in (leaked, guest)]
    Revoked.beside(epochs.path).add({claims.jti: claims.exp for claims in gone})
    for verifier in checking:
        for token, audience in ((leaked, "team/a"), (leaked, "engine"), (guest, "engine"), (made, "team/a")):
            with pytest.raises(TokenRefused, match="revoked"):
                verifier.check(token, audience)
        assert verifier.check(kept, "team/a").sub == "ada"


def test_what_the_list_holds(tmp_path: Path) -> None:
    revoked = Revoked(tmp_path / "revoked")
    assert "a" not in revoked
    revoked.add({"a": 10.0})
    revoked.add({"a": 10.0, "b": 20.0})
    again = Revoked(tmp_path / "revoked")
    assert "a" in again and "b" in again and "c" not in again
    again.restore({"a": 10.0, "b": 20.0, "c": 30.0}, now=15.0)
    assert "a" not in revoked and "b" in revoked and "c" in revoked
    (tmp_path / "revoked").unlink()
    assert "b" not in revoked
    for torn in ("b\n", "b x\n", "b 1 2\n"):
        (tmp_path / "revoked").write_text(torn)
        with pytest.raises(TokenRefused, match="can't be read"):
            _ = "b" in revoked

"""Which addresses cards are fetched from."""

from __future__ import annotations

import pytest

from teamwright.agents.own_code.foreign import nobodys


@pytest.mark.parametrize(
    "address",
    [
        "0.0.0.0", "169.254.169.254", "::ffff:169.254.169.254", "64:ff9b::a9fe:a9fe", "2002:a9fe:a9fe::1",
        "fe80::1%eth0", "224.0.0.1", "255.255.255.255", "::", "ff02::1", "fd00:ec2::254", "100.100.100.200",
        "168.63.129.16",
    ],
)  # fmt: skip
def test_nobodys(address: str) -> None:
    assert nobodys(address)


@pytest.mark.parametrize("address", ["127.0.0.1", "::1", "10.1.2.3", "100.64.0.1", "8.8.8.8", "fd00::1", "2001:db8::1"])
def test_somebodys(address: str) -> None:
    assert not nobodys(address)

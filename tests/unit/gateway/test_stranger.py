"""A peer has one address, however the kernel spells it."""

import pytest

from rexecd.gateway.stranger import address_of


@pytest.mark.parametrize(
    ("spelled", "recorded"),
    {
        "IPv4": ("192.0.2.1", "192.0.2.1"),
        "IPv4 in IPv6": ("::ffff:192.0.2.1", "192.0.2.1"),
        "not quite that": ("::ffff:0:c000:201", "::ffff:0:c000:201"),
        "IPv6": ("2001:DB8:0:0:1:0:0:1", "2001:db8::1:0:0:1"),
        "a single group of nought is written": ("2001:db8:0:1:1:1:1:1", "2001:db8:0:1:1:1:1:1"),
        "a zone is the host's own affair": ("fe80::1%eth0", "fe80::1"),
    }.values(),
)
def test_an_address_is_recorded_in_its_one_spelling(spelled: str, recorded: str) -> None:
    """RFC 5952, without a zone."""
    assert (recorded, 7512) == address_of((spelled, 7512, 0, 0))

"""Where a server is, in all spellings people use."""

import pytest

from rexecd.client.address import Address, parse_address
from rexecd.client.errors import UsageError


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("web1", Address("web1", 7512)),
        ("web1.example.org:443", Address("web1.example.org", 443)),
        ("192.0.2.1:1", Address("192.0.2.1", 1)),
        ("2001:db8::1", Address("2001:db8::1", 7512)),
        ("[2001:db8::1]", Address("2001:db8::1", 7512)),
        ("[2001:db8::1]:65535", Address("2001:db8::1", 65535)),
        ("[fe80::1%eth0]:1", Address("fe80::1%eth0", 1)),
    ],
)
def test_an_address_is_read(text: str, expected: Address) -> None:
    """With and without a port."""
    assert expected == parse_address(text)


@pytest.mark.parametrize(
    "text",
    [
        "",
        ":1",
        "web1:",
        "web1:0",
        "web1:65536",
        "web1:x",
        "web1:1 ",
        "web1:٣",
        "[::1",
        "[::1]1",
        "[web1]:1",
        "a b",
        "ann@web1",
        "-web1",
        ".web1",
        "web1\x1b[2J",
        "web1/x",
        "::1]",
    ],
)
def test_what_is_no_address_is_refused(text: str) -> None:
    """Before anything is looked up."""
    with pytest.raises(UsageError):
        parse_address(text)


@pytest.mark.parametrize("text", ["web1:7512", "[2001:db8::1]:1"])
def test_an_address_is_printed_as_it_is_written(text: str) -> None:
    """Messages name the place in a form that can be copied."""
    assert text == str(parse_address(text))

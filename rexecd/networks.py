"""Addresses and networks: what they are to a policy, to the settings and to a token.

An IPv4 address that came as IPv6 (RFC 4291, 2.5.5.2) is the IPv4 one, everywhere.
"""

import ipaddress
import re
from typing import Final

from rexecd.forms import Text
from rexecd.yamltext import shown

Network = ipaddress.IPv4Network | ipaddress.IPv6Network
Address = ipaddress.IPv4Address | ipaddress.IPv6Address

_MAPPED: Final = ipaddress.ip_network("::ffff:0:0/96")


def parse_address(text: str) -> Address:
    """Return an address without its zone, an IPv4 one where it came as IPv6; raise ValueError."""
    address = ipaddress.ip_address(text.partition("%")[0])
    mapped = getattr(address, "ipv4_mapped", None)
    return address if mapped is None else mapped


def is_within(address: str, networks: tuple[Network, ...]) -> bool:
    """Return whether an address is in one of the networks; what is no address is in none."""
    try:
        found = parse_address(address)
    except ValueError:
        return False
    return any(found in network for network in networks)


def is_inside(network: Network, outer: Network) -> bool:
    """Return whether all of a network lies in another."""
    # Of two versions `subnet_of` raises TypeError.
    return network.version == outer.version and network.subnet_of(outer)  # type: ignore[arg-type]


def network_complaint(text: str) -> str | None:
    """Return what is wrong with a network, or an address, as it is written; None if nothing is."""
    try:
        network = ipaddress.ip_network(text)
    except ValueError:
        return f"{shown(text)} is not a network{_without_host_bits(text)}"
    if network.version == 6 and network.subnet_of(_MAPPED):  # type: ignore[arg-type]  # noqa: PLR2004
        return f"{shown(text)} is IPv4 in IPv6; write the IPv4 network"
    return None


def _without_host_bits(text: str) -> str:
    try:
        return f" (did you mean {str(ipaddress.ip_network(text, strict=False))!r}?)"
    except ValueError:
        return ", such as 10.0.0.0/8, 192.0.2.7 or 2001:db8::/32"


NETWORK: Final = Text(
    "a network such as 10.0.0.0/8, or an address",
    pattern=re.compile(r"[0-9A-Fa-f:.]+(?:/[0-9]+)?"),
    complaint="{shown} is not a network, such as 10.0.0.0/8, 192.0.2.7 or 2001:db8::/32",
    check=network_complaint,
)


def networks(texts: tuple[str, ...] | None) -> tuple[Network, ...]:
    """Return what a list of NETWORK stands for."""
    return tuple(map(ipaddress.ip_network, texts or ()))

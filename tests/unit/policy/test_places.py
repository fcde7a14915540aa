"""Parameter types that name a place: files, hosts, networks; and where callers come from."""

import pytest

from rexecd.errors import Refused
from rexecd.networks import Network, is_within, networks
from rexecd.policy.kinds import Kind
from rexecd.policy.parameters import Parameter
from rexecd.policy.places import (
    HostAddress,
    Hostname,
    HostNetwork,
    Path,
    is_clean_directory,
    is_clean_path,
    port,
)
from tests.unit.policy.worlds import resolve


def make(kind: Kind) -> Parameter:
    """Return a required parameter of a type."""
    return Parameter("p", kind)


def nets(*texts: str) -> tuple[Network, ...]:
    """Return networks."""
    return networks(texts)


TEN = nets("10.0.0.0/8", "2001:db8::/32")
FITS: list[tuple[Kind, list[str]]] = [
    (Hostname(), ["a", "web1", "web1.example.org", "A-b.c", "1a.2b", "3com.com", "x" * 63, "1.2.3.4a"]),
    (Hostname(), [".".join(["x" * 49] * 5), "xn--bcher-kva.example", "0x7f.example", "0xyz"]),
    (HostAddress(()), ["127.0.0.1", "0.0.0.0", "::", "::1", "2001:DB8::1", "::ffff:10.0.0.1", "fe80::1"]),
    (HostAddress(TEN), ["10.0.0.0", "10.255.255.255", "2001:db8::1", "::ffff:10.1.2.3"]),
    (HostNetwork(()), ["0.0.0.0/0", "10.0.0.0/8", "192.0.2.7/32", "::/0", "2001:db8::/32"]),
    (HostNetwork(TEN), ["10.0.0.0/8", "10.1.0.0/16", "2001:db8:1::/48"]),
    (port(1, 65535), ["1", "22", "65535"]),
    (port(1024, 2048), ["1024", "2048"]),
]
UNFIT: list[tuple[Kind, list[str]]] = [
    (Hostname(), ["", ".", "a.", ".a", "a..b", "a-", "a.b-", "a_b", "a b", "a/b", "é", "a\n", "a:1"]),
    (Hostname(), ["x" * 64, ".".join(["x" * 50] * 5), "user@host", "$(id)", "[::1]"]),
    # A resolver would take these for addresses (inet_aton(3)).
    (Hostname(), ["127.0.0.1", "127.1", "2130706433", "0x7f000001", "0X7F.0x0.0.0x1", "a.0x", "web.017"]),
    (HostAddress(()), ["", "10.0.0", "10.1", "256.0.0.1", "010.0.0.1", "10.0.0.1/8", "fe80::1%eth0", " ::1"]),
    (HostAddress(()), ["127.0.0.1\n", "1" * 45, "2130706433", "[::1]", "::1::", "٣.0.0.1", "localhost"]),
    (HostAddress(TEN), ["11.0.0.0", "9.255.255.255", "2001:db9::", "::ffff:11.0.0.0", "::10.0.0.1"]),
    (HostAddress(nets("::/0")), ["10.0.0.1", "::ffff:10.0.0.1"]),
    (HostNetwork(()), ["", "10.0.0.0", "10.0.0.1/8", "10.0.0.0/33", "10.0.0.0/08", "10.0.0.0/255.0.0.0"]),
    (HostNetwork(()), ["::/129", "/8", "10.0.0.0/", "10.0.0.0/8/8", "fe80::%1/64", "10.0.0.0/8\n"]),
    (HostNetwork(TEN), ["0.0.0.0/0", "10.0.0.0/7", "11.0.0.0/8", "2001:db8::/31", "::ffff:10.0.0.0/104"]),
    (port(1, 65535), ["", "0", "65536", "022", "http", "22 ", "9" * 5000]),
    (port(1024, 2048), ["1023", "2049"]),
]


@pytest.mark.parametrize(("kind", "values"), FITS)
def test_a_place_that_fits_is_taken_as_it_came(kind: Kind, values: list[str]) -> None:
    """Nothing is normalized: what was checked is what is passed on."""
    assert values == [make(kind).check(value, resolve) for value in values]


@pytest.mark.parametrize(("kind", "values"), UNFIT)
def test_a_place_that_does_not_fit_is_refused(kind: Kind, values: list[str]) -> None:
    """Every value, in the same words whatever was wrong."""
    for value in values:
        with pytest.raises(Refused) as caught:
            make(kind).check(value, resolve)

        assert f"parameter 'p' takes {kind.takes}" == caught.value.text


def test_which_networks_are_allowed_is_not_told() -> None:
    """A caller hears that there are some."""
    with pytest.raises(Refused) as caught:
        make(HostAddress(TEN)).check("192.0.2.1", resolve)

    assert "10." not in caught.value.text + str(HostAddress(TEN).schema) + str(HostNetwork(TEN).schema)


WITHIN = {
    "10.1.2.3": True,
    "10.0.0.0": True,
    "11.0.0.0": False,
    "2001:db8::7": True,
    "2001:DB8::7": True,
    "2001:db9::7": False,
    "::ffff:10.1.2.3": True,
    "::FFFF:0a01:0203": True,
    "::ffff:11.0.0.0": False,
    "::10.1.2.3": False,
    "2001:db8::7%eth0": True,
    "fe80::1%eth0": False,
    "": False,
    "%": False,
    "unix": False,
    "10.1.2.3:22": False,
    "010.1.2.3": False,
    " 10.1.2.3": False,
    "10.1.2.3\n": False,
    "10.0.0.0/8": False,
    "\u0661\u0660.1.2.3": False,
}


@pytest.mark.parametrize("address", WITHIN)
def test_where_a_caller_comes_from_is_found_in_networks(address: str) -> None:
    """An IPv4 caller of an IPv6 socket is an IPv4 caller; what is no address is nowhere."""
    assert WITHIN[address] is is_within(address, TEN)


def test_a_zone_is_no_part_of_an_address() -> None:
    """A link-local caller is found without its interface."""
    assert is_within("fe80::1%eth0", nets("fe80::/10"))


def test_no_address_is_in_no_network() -> None:
    """Of an empty list nothing is a member."""
    assert not is_within("10.1.2.3", ())


CLEAN = {
    "/": (True, True),
    "/srv": (True, True),
    "/srv/": (False, True),
    "/srv/a b": (True, True),
    "/srv//a": (False, False),
    "//": (False, False),
    "//srv": (False, False),
    "/srv/.": (False, False),
    "/srv/..": (False, False),
    "/srv/...": (True, True),
    "/srv/../": (False, False),
    "srv": (False, False),
    "": (False, False),
    "/a\n": (False, False),
    "/a\u202e": (False, False),
}


@pytest.mark.parametrize("path", CLEAN)
def test_a_path_of_the_operators_has_one_spelling(path: str) -> None:
    """Absolute, without empty and dotted parts; a directory may end in '/'."""
    assert CLEAN[path] == (is_clean_path(path), is_clean_directory(path))


def test_a_path_that_cannot_be_resolved_is_refused_like_any_other() -> None:
    """What the file system says does not reach the caller."""

    def fail(path: str) -> str:
        raise OSError(path)

    with pytest.raises(Refused) as caught:
        make(Path(("/srv",))).check("/srv/x", fail)

    assert f"parameter 'p' takes {Path(()).takes}" == caught.value.text


@pytest.mark.parametrize("resolved", ["/srv/\udcff", "/srv/a\nb", "srv", "pipe:[1]"])
def test_a_path_that_resolves_to_no_clean_path_is_refused(resolved: str) -> None:
    """A link's target is checked like a value."""
    with pytest.raises(Refused):
        make(Path(("/srv", "/"))).check("/srv/x", lambda path: resolved if path == "/srv/x" else path)


def test_what_lies_elsewhere_is_not_even_looked_at() -> None:
    """Or the answer would say which links and processes there are (ATTACKS POL-15)."""
    looked: list[str] = []

    def resolve(path: str) -> str:
        looked.append(path)
        return "/srv/x"

    for value in ("/proc/self/cwd", "/etc/localtime", "/srv/../etc/x", "/srv/x/../../etc/srv"):
        with pytest.raises(Refused):
            make(Path(("/srv",))).check(value, resolve)

    assert {"/srv"} == set(looked)


def test_a_path_that_cannot_be_resolved_is_refused() -> None:
    """Too many links, a directory that cannot be looked into: no is the answer."""

    def resolve(path: str) -> str:
        if path != "/srv":
            raise OSError(40, "Too many levels of symbolic links", path)
        return path

    with pytest.raises(Refused, match="cannot be resolved"):
        make(Path(("/srv",))).check("/srv/a", resolve)


def test_two_dots_behind_a_link_tell_nothing_of_where_it_leads() -> None:
    """They take away the link, as they are written."""
    looked: list[str] = []

    def resolve(path: str) -> str:
        looked.append(path)
        return path

    assert "/srv/a" == make(Path(("/srv",))).check("/srv/link/name/../../a", resolve)
    assert {"/srv", "/srv/a"} == set(looked)


def test_a_root_that_cannot_be_resolved_leaves_the_others() -> None:
    """Who owns the directory above one root must not switch the others off."""

    def resolve(path: str) -> str:
        if path.startswith("/loop"):
            raise OSError(40, "Too many levels of symbolic links", path)
        return path

    kind = make(Path(("/loop", "/srv")))

    assert "/srv/x" == kind.check("/srv/x", resolve)
    with pytest.raises(Refused):
        kind.check("/loop/x", resolve)

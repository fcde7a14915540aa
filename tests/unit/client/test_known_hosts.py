"""The file of keys somebody said yes to: what stands in it, how it grows, and when it is not believed."""

import os
import stat
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rexecd.client.address import Address, parse_address
from rexecd.client.errors import ChangedKey, UnknownHost, UsageError
from rexecd.client.known_hosts import default_path, load, name_of, parse, remember
from tests.harness import PATIENCE

KEY = bytes(range(32))
OTHER = bytes(range(1, 33))
WEB1 = Address("web1", 7512)


def pin(key: bytes) -> str:
    """Return a key as a line has it."""
    return f"sha256:{key.hex()}"


def written(path: Path, text: str, mode: int = 0o600) -> str:
    """Write a file of known hosts and return its path."""
    path.write_text(text)
    path.chmod(mode)
    return str(path)


NAMES = st.one_of(
    st.from_regex(r"[a-z0-9][a-z0-9-]{0,20}(\.[a-z0-9]{1,9}){0,3}", fullmatch=True),
    st.ip_addresses().map(str),
).map(lambda host: Address(host.lower(), 7512))
ADDRESSES = st.builds(Address._replace, NAMES, port=st.integers(1, 65535))
KEYS = st.binary(min_size=32, max_size=32)
REMARKS = st.sampled_from(["", "\n", "# a remark\n", "  # web1:7512 sha256:00\n", " \t\n", "#\n\n"])


@given(hosts=st.lists(st.tuples(ADDRESSES, KEYS), max_size=6), remark=REMARKS, cut=st.booleans())
@settings(max_examples=60, deadline=None)
def test_what_is_remembered_is_known(
    tmp_path_factory: pytest.TempPathFactory, hosts: list[tuple[Address, bytes]], remark: str, *, cut: bool
) -> None:
    """Each key of each host, behind whatever stood there, also where its last line had no end."""
    path = tmp_path_factory.mktemp("known") / "known_hosts"
    before = remark.removesuffix("\n") if cut else remark
    written(path, before)
    for address, key in hosts:
        remember(str(path), address, pin(key))

    assert path.read_text().startswith(before)
    for address, _ in hosts:
        wanted = {key for other, key in hosts if other == address}
        assert wanted == {key for _, key in load(str(path), address).keys}
    assert len({*hosts}) == sum(
        line[:1].isalnum() or line[:1] == "[" for line in path.read_text().split("\n")
    )


@given(data=st.binary(max_size=200))
@settings(max_examples=300, deadline=None)
def test_a_file_is_understood_to_its_end_or_not_at_all(data: bytes) -> None:
    """No bytes raise anything else, and the complaint names the line."""
    try:
        found = parse(data, "FILE")
    except UsageError as error:
        assert str(error).startswith("FILE:")  # noqa: PT017
    else:
        lines = [line.strip() for line in data.split(b"\n")]
        assert sum(map(len, found.values())) == sum(line[:1] not in (b"", b"#") for line in lines)


@pytest.mark.parametrize(
    "line",
    [
        "web1 sha256:" + "0" * 64,
        "web1:7512 sha256:" + "0" * 63,
        "web1:7512 sha256:" + "0" * 64 + " and more",
        "web1:7512 md5:" + "0" * 64,
        "web1:7512",
        "web1:0 sha256:" + "0" * 64,
        "web1:07512 sha256:" + "0" * 64,
        "::1:7512 sha256:" + "0" * 64,
        "web1,web2:7512\u00a0sha256:" + "0" * 64,
        "w\u00e4b:7512 sha256:" + "0" * 64,
        "web1:7512 sha256:" + "0" * 64 + "web2:7512 sha256:" + "0" * 64,
    ],
)
def test_a_line_that_is_none_is_a_fault_with_its_place(tmp_path: Path, line: str) -> None:
    """Also where it is about another host: half a line may have been about this one."""
    path = written(tmp_path / "known hosts", f"# mine\nweb9:7512 {pin(KEY)}\n{line}\n")
    with pytest.raises(UsageError) as caught:
        load(path, WEB1)

    assert f"{path}:3: not a line 'HOST:PORT sha256:HEX'" == str(caught.value)
    assert f"sed -i 3d '{path}'" in str(caught.value.hint)


@pytest.mark.parametrize(
    ("typed", "name"),
    {
        "Web1.Example": "web1.example:7512",
        "web1:22": "web1:22",
        "[::1]:7512": "[::1]:7512",
        "FE80::1": "[fe80::1]:7512",
        "192.0.2.1": "192.0.2.1:7512",
        "B\u00fccher.example": "xn--bcher-kva.example:7512",
    }.items(),
)
def test_a_host_is_written_as_it_was_typed(tmp_path: Path, typed: str, name: str) -> None:
    """In lower case, as the network knows it, and always with its port."""
    path = tmp_path / "known_hosts"
    remember(str(path), parse_address(typed), pin(KEY))

    assert f"{name} {pin(KEY)}\n" == path.read_text()
    assert ((1, KEY),) == load(str(path), parse_address(typed)).keys
    assert () == load(str(path), parse_address(typed)._replace(port=9)).keys


def test_names_do_not_run_into_comments(tmp_path: Path) -> None:
    """A line that would not be read back is not written."""
    path = tmp_path / "known_hosts"
    with pytest.raises(UsageError, match="cannot be written"):
        remember(str(path), Address("#web1", 7512), pin(KEY))

    assert "" == path.read_text()


def test_a_host_with_several_lines_may_have_any_of_these_keys(tmp_path: Path) -> None:
    """So keys are changed over; spaces, capitals and line ends of Windows do no harm."""
    path = written(
        tmp_path / "k", f"web1:7512 {pin(KEY)}\n\n \tWEB1:7512\t {pin(OTHER).replace('ab', 'AB')}  \r\n"
    )
    known = load(path, WEB1)

    assert ((1, KEY), (3, OTHER)) == known.keys
    known.check(KEY, "web1:7512")
    known.check(OTHER, "web1:7512")
    with pytest.raises(ChangedKey) as caught:
        known.check(bytes(32), "web1:7512")
    assert f"{path}, lines 1, 3" in str(caught.value)
    assert f"sed -i '1d;3d' {path}" in str(caught.value.hint)


def test_a_host_without_a_line_is_unknown_and_its_key_is_shown(tmp_path: Path) -> None:
    """With the remark to compare it; where there is no file at all, too."""
    for path in (written(tmp_path / "k", f"web2:7512 {pin(KEY)}\n"), str(tmp_path / "no/such")):
        with pytest.raises(UnknownHost) as caught:
            load(path, WEB1).check(OTHER, "web1:7512")

        assert pin(OTHER) == caught.value.fingerprint
        assert pin(OTHER) in str(caught.value)
        assert f"--pin {pin(OTHER)}" in str(caught.value.hint)
        assert "compare" in str(caught.value.hint)


@pytest.mark.parametrize("umask", [0o000, 0o022, 0o077, 0o377])
def test_file_and_directories_are_for_their_owner_whatever_the_umask(tmp_path: Path, umask: int) -> None:
    """Nobody else may ever have had them open."""
    path = tmp_path / "state" / "rexec" / "known_hosts"
    before = os.umask(umask)
    try:
        remember(str(path), WEB1, pin(KEY))
    finally:
        os.umask(before)

    modes = [stat.S_IMODE(place.stat().st_mode) for place in (path, path.parent, path.parent.parent)]
    assert [0o600, 0o700, 0o700] == modes


@pytest.mark.parametrize("mode", [0o660, 0o602, 0o666])
def test_a_file_that_others_can_write_to_is_not_believed(tmp_path: Path, mode: int) -> None:
    """Neither for reading nor for adding; one that others can read is."""
    path = written(tmp_path / "k", f"web1:7512 {pin(KEY)}\n", mode)
    for use in (lambda: load(path, WEB1), lambda: remember(path, WEB1, pin(OTHER))):
        with pytest.raises(UsageError, match="others can write to it") as caught:
            use()

        assert "chmod 600" in str(caught.value.hint)
    Path(path).chmod(0o644)
    assert ((1, KEY),) == load(path, WEB1).keys


@pytest.mark.skipif(os.geteuid() != 0, reason="gives a file away")
def test_a_file_of_another_user_is_not_believed(tmp_path: Path) -> None:
    """Its owner could put any key there."""
    path = written(tmp_path / "k", f"web1:7512 {pin(KEY)}\n")
    os.chown(path, 12345, -1)
    with pytest.raises(UsageError, match="belongs to another user"):
        load(path, WEB1)


def test_what_cannot_be_read_is_a_fault_and_no_unknown_host(tmp_path: Path) -> None:
    """A directory, a pipe, a path through a file, one that is too long: each fails closed."""
    os.mkfifo(tmp_path / "pipe")
    written(tmp_path / "file", "")
    written(tmp_path / "long", "#" * (1024 * 1024 + 1))
    for name, said in {
        "": "not a file",
        "pipe": "not a file",
        "file/below": "Not a directory",
        "long": "more than 1048576 bytes",
        "x" * 300: "File name too long",
        "a\0b": "null byte",
    }.items():
        with pytest.raises(UsageError, match=said):
            load(f"{tmp_path}/{name}", WEB1)


def test_a_line_is_added_whole_or_not_at_all(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A full disk leaves the file as it was."""
    path = written(tmp_path / "k", f"web2:7512 {pin(KEY)}")
    write = os.write
    monkeypatch.setattr(os, "write", lambda descriptor, data: write(descriptor, data[:20]))
    with pytest.raises(OSError, match="No space left"):
        remember(path, WEB1, pin(KEY))

    assert f"web2:7512 {pin(KEY)}" == Path(path).read_text()


def test_a_file_that_is_broken_is_not_added_to(tmp_path: Path) -> None:
    """Whoever mends it should find it as it broke."""
    path = written(tmp_path / "k", "web2:7512 sha2")
    with pytest.raises(UsageError, match=":1: not a line"):
        remember(path, WEB1, pin(KEY))

    assert "web2:7512 sha2" == Path(path).read_text()


#: What each of several callers does.
_REMEMBER_MANY = """
import sys
from rexecd.client.address import Address
from rexecd.client.known_hosts import load, remember
path, number, pin = sys.argv[1:]
for count in range(20):
    remember(path, Address(f"host{number}-{count}", 7512), pin)
    remember(path, Address("shared", count + 1), pin)
    load(path, Address("web1", 7512))
"""


def test_callers_that_run_side_by_side_add_whole_lines(tmp_path: Path) -> None:
    """No line is lost, torn or written twice, and nobody ever reads half of one."""
    path = tmp_path / "rexec" / "known_hosts"
    line = [sys.executable, "-I", "-c", _REMEMBER_MANY, str(path)]
    crowd = [subprocess.Popen([*line, str(number), pin(KEY)]) for number in range(4)]
    statuses = [process.wait(PATIENCE) for process in crowd]

    assert [0] * len(crowd) == statuses
    hosts = [f"host{number}-{count}:7512" for number in range(4) for count in range(20)]
    hosts += [f"shared:{count + 1}" for count in range(20)]
    assert sorted(f"{host} {pin(KEY)}" for host in hosts) == sorted(path.read_text().splitlines())


def test_the_file_is_where_state_belongs() -> None:
    """A relative XDG_STATE_HOME is ignored, as its specification says, and so is a missing home."""
    home = os.path.expanduser("~")

    assert "/s/rexec/known_hosts" == default_path({"XDG_STATE_HOME": "/s"})
    for state in ("", "s", "./s", "~/s"):
        assert f"{home}/.local/state/rexec/known_hosts" == default_path({"XDG_STATE_HOME": state})


def test_without_a_home_there_is_no_file(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing is remembered relative to where somebody stands."""
    monkeypatch.setenv("HOME", "here")

    assert default_path({}) is None
    assert "web1:7512" == name_of(WEB1)

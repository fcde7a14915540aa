"""The files of a policy: which are read, in which order, and which are not trusted."""

import hashlib
import os
import re
import shutil
from pathlib import Path

import pytest

from rexecd import policyfiles
from rexecd.errors import ConfigError
from rexecd.execution.identity import MEANS
from rexecd.files import read_text
from rexecd.policy.load import load
from rexecd.policy.model import Defaults, Identity
from rexecd.policyfiles import check_identities, load_files, load_policy, show_policy
from tests.unit.policy.worlds import POLICIES, SHIPPED, Machine

ROOT_ONLY = pytest.mark.skipif(os.geteuid() != 0, reason="gives a file to another user")
MAIN = """version: 1
include: policy.d
principals: {{ann: {{roles: [all]}}}}
roles: {{all: {{allow: ["*"]}}}}
commands: {{main: {{summary: x, run: /bin/x{more}}}}}
"""


def write(path: Path, text: str) -> Path:
    """Return a file that only we can change."""
    path.write_text(text, encoding="utf-8")
    path.chmod(0o600)
    return path


def part(directory: Path, file: str, name: str) -> Path:
    """Return a file of an included directory, with one command."""
    return write(directory / file, f"version: 1\ncommands: {{{name}: {{summary: x, run: /bin/x}}}}\n")


@pytest.fixture
def main(tmp_path: Path) -> Path:
    """Return a policy that includes an empty directory."""
    (tmp_path / "policy.d").mkdir(mode=0o700)
    return write(tmp_path / "policy.yaml", MAIN.format(more=""))


@pytest.fixture
def parts(main: Path) -> Path:
    """Return the directory it includes."""
    return main.parent / "policy.d"


def faults(main: Path) -> tuple[str, ...]:
    """Return what is wrong with a policy."""
    with pytest.raises(ConfigError) as caught:
        load_policy(main)
    return caught.value.faults


def test_a_policy_alone_is_read(tmp_path: Path) -> None:
    """With its whole path in places, and the digest of its bytes."""
    path = write(tmp_path / "policy.yaml", "version: 1\ncommands: {x: {summary: x, run: /bin/x}}\n")
    policy = load_policy(path)

    assert f"{path}:2:12" == str(policy.rules["x"].place)
    assert hashlib.sha256(path.read_bytes()).hexdigest() == policy.digest


def test_the_files_of_a_directory_are_read_in_the_order_of_their_names(main: Path, parts: Path) -> None:
    """Not in the order in which the file system has them."""
    for file in ("20-b.yaml", "10-c.yaml", "9-a.yaml", "Z.yaml"):
        part(parts, file, file.split(".")[0].lower())
    policy, files = load_files(main)

    assert [str(main), *(str(parts / name) for name in ("10-c.yaml", "20-b.yaml", "9-a.yaml", "Z.yaml"))] == [
        file.source for file in files
    ]
    assert {"main", "10-c", "20-b", "9-a", "z"} == set(policy.principals["ann"].rules)


def test_the_digest_is_that_of_all_files_in_order(main: Path, parts: Path) -> None:
    """`cat policy.yaml policy.d/*.yaml | sha256sum` gives the same."""
    files = [main, part(parts, "a.yaml", "a"), part(parts, "b.yaml", "b")]
    data = b"".join(file.read_bytes() for file in files)

    assert hashlib.sha256(data).hexdigest() == load_policy(main).digest


def test_what_the_settings_say_holds_for_every_file(main: Path, parts: Path) -> None:
    """And changes nothing about the digest."""
    part(parts, "a.yaml", "a")
    nobody = Identity("nobody", 65534, 65534, ())
    policy = load_policy(main, Defaults(nobody, max_timeout=2.0))

    assert {"main": (nobody, 2.0), "a": (nobody, 2.0)} == {
        name: (rule.identity, rule.timeout) for name, rule in policy.rules.items()
    }
    assert load_policy(main).digest == policy.digest == load_files(main, Defaults(nobody)).policy.digest


def test_an_empty_directory_is_fine(main: Path) -> None:
    """There may be nothing in it yet."""
    assert {"main"} == set(load_policy(main).rules)


def test_what_editors_and_packages_leave_is_not_read(main: Path, parts: Path) -> None:
    """Neither backups nor hidden files, whatever is in them and whoever may write them."""
    for name in (
        "a.yaml~",
        "#a.yaml#",
        ".a.yaml.swp",
        ".hidden.yaml",
        "a.yaml.dpkg-old",
        "a.yaml.bak",
        "README",
    ):
        write(parts / name, "{{{ not a policy").chmod(0o666)
    (parts / "dir").mkdir()

    assert {"main"} == set(load_policy(main).rules)


def test_a_file_that_looks_meant_is_a_fault(main: Path, parts: Path) -> None:
    """What ends in .yml would otherwise grant nothing, in silence."""
    part(parts, "a.yml", "a")
    part(parts, "b.yml", "b")

    assert (
        f"{main}:2:10: {parts}/a.yml: ends in .yml; name it .yaml",
        f"{main}:2:10: {parts}/b.yml: ends in .yml; name it .yaml",
    ) == faults(main)


def test_places_and_faults_name_their_own_file(main: Path, parts: Path) -> None:
    """All faults of all files at once."""
    write(main, MAIN.format(more=", nice: 5"))
    write(parts / "a.yaml", "version: 1\ncommands: {a: {summary: x, run: x}}\n")
    write(parts / "b.yaml", "version: 1\nroles: {r: {allow: [nosuch]}}\n")

    program = "write its absolute path, without '//', '.' and '..' parts"

    assert (
        f"{parts}/a.yaml:2:33: 'x' is not a program; {program}",
        f"{parts}/b.yaml:2:21: 'nosuch' matches no command",
        f"{main}:5:44: unknown key 'nice'",
    ) == faults(main)


def test_a_name_stands_in_one_file(main: Path, parts: Path) -> None:
    """A command, a role or a principal of another file is not replaced, and not merged."""
    write(
        parts / "a.yaml",
        "version: 1\ncommands: {main: {summary: y, run: /bin/y}}\nroles: {all: {allow: [main]}}\n"
        "principals: {ann: {roles: [all]}}\n",
    )

    assert (
        f"{parts}/a.yaml:2:12: repeated key 'main', first at {main}:5:12",
        f"{parts}/a.yaml:3:9: repeated key 'all', first at {main}:4:9",
        f"{parts}/a.yaml:4:14: repeated key 'ann', first at {main}:3:14",
    ) == faults(main)


def test_an_included_file_includes_nothing(main: Path, parts: Path) -> None:
    """All directories are named in one place."""
    write(parts / "a.yaml", "version: 1\ninclude: more\n")

    assert (f"{parts}/a.yaml:2:1: unknown key 'include'",) == faults(main)


def test_an_absolute_directory_is_taken_as_it_is(main: Path, tmp_path: Path) -> None:
    """A relative one is seen from the policy's own file, not from where we stand."""
    other = tmp_path / "elsewhere"
    other.mkdir(mode=0o700)
    part(other, "a.yaml", "a")
    write(main, main.read_text(encoding="utf-8").replace("policy.d", str(other)))

    assert {"main", "a"} == set(load_policy(main).rules)


def test_a_missing_directory_is_a_fault(main: Path, parts: Path) -> None:
    """Silence would take its commands away."""
    parts.rmdir()
    (fault,) = faults(main)

    assert fault.startswith(f"{main}:2:10: {parts}: not found; ")


def test_a_file_in_place_of_the_directory_is_a_fault(main: Path, parts: Path) -> None:
    """It is not read as a policy."""
    parts.rmdir()
    write(parts, "version: 1\n")

    assert (f"{main}:2:10: {parts}: not a directory; put one in its place",) == faults(main)


def test_a_link_in_place_of_the_directory_is_a_fault(main: Path, parts: Path, tmp_path: Path) -> None:
    """Whoever may change where it leads could change the policy."""
    parts.rmdir()
    (tmp_path / "real").mkdir()
    parts.symlink_to("real")
    (fault,) = faults(main)

    assert fault.startswith(f"{main}:2:10: {parts}: ")


@pytest.mark.parametrize("mode", [0o770, 0o707, 0o1777])
def test_a_directory_that_others_may_write_to_is_a_fault(main: Path, parts: Path, mode: int) -> None:
    """They could put a file of theirs into it, sticky or not."""
    parts.chmod(mode)

    assert (f"{main}:2:10: {parts}: writable by group or others (mode {mode:04o}); chmod go-w it",) == faults(
        main
    )


@pytest.mark.parametrize("mode", [0o620, 0o602])
def test_a_file_that_others_may_write_to_is_a_fault(main: Path, parts: Path, mode: int) -> None:
    """Of the directory, and the policy itself."""
    path = part(parts, "a.yaml", "a")
    path.chmod(mode)

    assert (f"{main}:2:10: {path}: writable by group or others (mode {mode:04o}); chmod go-w it",) == faults(
        main
    )
    main.chmod(mode)
    assert (f"{main}: writable by group or others (mode {mode:04o}); chmod go-w it",) == faults(main)


@ROOT_ONLY
def test_what_belongs_to_somebody_else_is_a_fault(main: Path, parts: Path) -> None:
    """A file, and the directory."""
    path = part(parts, "a.yaml", "a")
    os.chown(path, 65533, 0)

    assert [f"{main}:2:10: {path}: owned by uid 65533, not by root or uid 0; chown it"] == list(faults(main))
    os.chown(parts, 65533, 0)
    assert [f"{main}:2:10: {parts}: owned by uid 65533, not by root or uid 0; chown it"] == list(faults(main))


def test_a_link_in_place_of_a_file_is_a_fault(main: Path, parts: Path, tmp_path: Path) -> None:
    """Though what it leads to would do."""
    (parts / "a.yaml").symlink_to(part(tmp_path, "real.yaml", "a"))

    assert (f"{main}:2:10: {parts}/a.yaml: is a symbolic link; name the file itself",) == faults(main)


def test_a_pipe_or_directory_in_place_of_a_file_is_a_fault(main: Path, parts: Path) -> None:
    """And nothing waits for a writer."""
    os.mkfifo(parts / "a.yaml", 0o600)

    assert (f"{main}:2:10: {parts}/a.yaml: not a regular file; put one in its place",) == faults(main)
    (parts / "a.yaml").unlink()
    (parts / "a.yaml").mkdir()
    assert (f"{main}:2:10: {parts}/a.yaml: not a regular file; put one in its place",) == faults(main)


def test_a_file_that_is_no_text_is_a_fault(main: Path, parts: Path) -> None:
    """It is not read with replacements."""
    (parts / "a.yaml").write_bytes(b"version: \xff\n")
    (parts / "a.yaml").chmod(0o600)

    assert (f"{main}:2:10: {parts}/a.yaml: not UTF-8 at byte 9; save it as UTF-8",) == faults(main)


def test_a_directory_with_too_many_files_is_a_fault(main: Path, parts: Path) -> None:
    """A reload takes a bounded time."""
    for number in range(257):
        part(parts, f"{number}.yaml", f"c{number}")

    assert (f"{main}:2:10: {parts}: has more than 256 files",) == faults(main)


@pytest.mark.parametrize("where", ["read_text", "list_directory"])
def test_whatever_the_system_says_is_a_fault(main: Path, monkeypatch: pytest.MonkeyPatch, where: str) -> None:
    """A reload and a check know one kind of error, with its place."""

    def fail(path: Path, **_: str) -> str:
        raise PermissionError(13, "Permission denied", str(path))

    monkeypatch.setattr(policyfiles, where, fail)
    place = main if where == "read_text" else main.parent / "policy.d"

    assert (f"{place}: cannot be read: Permission denied",) == faults(main)


@pytest.mark.parametrize("path", ["/dev/stdin", "/dev/fd/63", "/proc/self/fd/0"])
def test_a_policy_is_not_read_from_a_pipe(path: str) -> None:
    """It has no directory that could be judged; the message says what to do."""
    (fault,) = faults(Path(path))

    assert fault.startswith(f"{path}: a policy is read from a file, ")
    assert fault.endswith("; write it to a file in a directory of its own")


@pytest.fixture
def seen(monkeypatch: pytest.MonkeyPatch) -> list[Path]:
    """Return the files that are read, as they are."""
    files: list[Path] = []

    def count(path: Path, *, hint: str = "") -> str:
        files.append(path)
        return read_text(path, hint=hint)

    monkeypatch.setattr(policyfiles, "read_text", count)
    return files


def test_several_files_are_read_again_when_all_have_been_read(
    main: Path, parts: Path, seen: list[Path]
) -> None:
    """What is shown is what was checked, and all of it stood there at one and the same time."""
    part(parts, "a.yaml", "a")
    show_policy(main)

    assert 2 * [main, parts / "a.yaml"] == seen


def test_a_file_alone_is_read_once(tmp_path: Path, seen: list[Path]) -> None:
    """There is nothing it could fail to fit."""
    path = write(tmp_path / "policy.yaml", "version: 1\ncommands: {x: {summary: x, run: /bin/x}}\n")
    load_policy(path)

    assert [path] == seen


def test_files_that_change_together_are_never_mixed(
    main: Path, parts: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A change between one file and the next is seen, and all of them are read again."""
    part(parts, "a.yaml", "old")
    changes = iter([lambda: (part(parts, "a.yaml", "new"), write(main, MAIN.format(more=", umask: '077'")))])

    def change(path: Path, *, hint: str = "") -> str:
        text = read_text(path, hint=hint)
        if path == main:
            next(changes, lambda: None)()
        return text

    monkeypatch.setattr(policyfiles, "read_text", change)
    policy = load_policy(main)

    assert (0o077, {"main", "new"}) == (policy.rules["main"].umask, set(policy.rules))


def test_files_that_never_stand_still_are_no_policy(
    main: Path, parts: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is tried again a few times, and then said."""
    numbers = iter(range(100))

    def change(path: Path, *, hint: str = "") -> str:
        part(parts, "a.yaml", f"n{next(numbers)}")
        return read_text(path, hint=hint)

    part(parts, "a.yaml", "a")
    monkeypatch.setattr(policyfiles, "read_text", change)

    assert (f"{main}: its files change while they are read; try again when they are written",) == faults(main)


def test_text_cannot_move_from_one_file_to_the_next(main: Path, parts: Path) -> None:
    """The digest is that of all texts in a row: each has to end with the end of a line."""
    path = part(parts, "a.yaml", "a")
    write(path, path.read_text().rstrip())

    assert faults(main)[0].endswith("a.yaml:2:1: the last line has no end: is the file whole? add a newline")


def test_the_directory_of_the_policy_cannot_be_included(main: Path) -> None:
    """It would be read as a part of itself."""
    write(main, MAIN.format(more="").replace("policy.d", "."))

    assert "holds this policy itself" in faults(main)[0]


@pytest.mark.parametrize("wide", ["", "policy.d/.."])
def test_a_directory_in_which_others_can_rename_is_refused(main: Path, wide: str) -> None:
    """They could put an older policy in the place of this one (ATTACKS CFG-07)."""
    (main.parent / wide).chmod(0o777)

    assert "somebody else could replace it" in faults(main)[0]


def test_the_directories_above_an_included_one_are_judged(main: Path, parts: Path) -> None:
    """By their own way, which may be another one."""
    elsewhere = main.parent / "wide" / "policy.d"
    elsewhere.mkdir(parents=True)
    elsewhere.parent.chmod(0o777)
    write(main, MAIN.format(more="").replace("policy.d", str(elsewhere)))

    assert "somebody else could replace it" in faults(main)[0]


def test_an_identity_that_cannot_be_taken_is_a_fault(monkeypatch: pytest.MonkeyPatch) -> None:
    """At the place of its rule, for programs too; a rule without one is none."""
    text = (
        "version: 1\ncommands:\n  x: {summary: x, run: /bin/x, run_as: web}\n  y: {summary: y, run: /bin/y}\n"
    )
    policy = load(text, "p", accounts=Machine())
    monkeypatch.setattr(policyfiles, "can_become", lambda _: False)
    with pytest.raises(ConfigError) as caught:
        check_identities(policy)
    what = f"to run 'x' as web (uid 1001, gid 1001, groups 33,1001) takes {MEANS}"

    assert (f"p:3:3: {what}",) == caught.value.faults
    assert [(policy.rules["x"].place, what)] == list(caught.value.found)
    monkeypatch.setattr(policyfiles, "can_become", lambda _: True)
    check_identities(policy)


def test_a_missing_policy_says_how_to_get_one(tmp_path: Path) -> None:
    """The remedy stands in the message."""
    (fault,) = faults(tmp_path / "policy.yaml")

    assert re.fullmatch(r".*policy\.yaml: not found; .*'rexecd init'", fault)


@pytest.mark.parametrize("path", [*sorted(POLICIES.glob("good-*.yaml")), SHIPPED], ids=lambda path: path.stem)
def test_a_policy_that_is_shown_reads_as_the_same(
    path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In one text; rules, roles and grants are equal, whatever files they came from."""
    monkeypatch.setattr(policyfiles, "SystemAccounts", Machine)
    copy = Path(shutil.copy(path, tmp_path))
    if path.with_suffix("").is_dir():
        shutil.copytree(path.with_suffix(""), tmp_path / path.stem)
    for each in [tmp_path, *tmp_path.rglob("*")]:
        each.chmod(0o700 if each.is_dir() else 0o600)
    before = load_policy(copy)
    after = load(show_policy(copy), "shown", accounts=Machine())

    assert (before.rules, before.principals) == (after.rules, after.principals)
    for name, role in before.roles.items():
        assert (role.allowed, role.denied) == (after.roles[name].allowed, after.roles[name].denied)
    for name, rule in before.rules.items():
        assert list(rule.parameters) == list(after.rules[name].parameters)
        assert (rule.silenced, rule.written) == (after.rules[name].silenced, after.rules[name].written)

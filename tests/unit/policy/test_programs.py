"""The table of programs, and how their arguments are read."""

from collections import Counter
from types import MappingProxyType

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rexecd.policy.calls import Call, calls
from rexecd.policy.kinds import Flag, Text
from rexecd.policy.parameters import Parameter
from rexecd.policy.programs import PROGRAMS, ROWS, Sort, find
from rexecd.policy.template import Template, element

PARAMETERS = MappingProxyType(
    {"x": Parameter("x", Text(64)), "check": Parameter("check", Flag(("-c", "fixed text")))}
)


def read(*words: str) -> list[Call]:
    """Return the programs of an argument vector."""
    return list(calls(Template(tuple(map(element, words))), PARAMETERS))


def paths(*words: str) -> list[str]:
    """Return their paths."""
    return [call.path for call in read(*words)]


def scripts(*words: str) -> list[str]:
    """Return what any of them takes as a script, as the policy writes it."""
    return ["".join(map(str, script)) for call in read(*words) for script in call.scripts]


def test_no_program_stands_in_two_rows() -> None:
    """What is known of a program is said once."""
    names = Counter(name for names, _ in ROWS for name in names.split())

    assert [] == [name for name, count in names.items() if count > 1]
    assert len(PROGRAMS) == sum(names.values())


def test_every_sort_is_used() -> None:
    """A class of programs without a program would be a dead branch of lint."""
    assert set(Sort) == {program.sort for program in PROGRAMS.values()}


@pytest.mark.parametrize(
    ("path", "sort"),
    {
        "/bin/sh": Sort.SHELL,
        "/usr/bin/python3.11": Sort.INTERPRETER,
        "/opt/perl5.36": Sort.INTERPRETER,
        "/usr/bin/lua5.4": Sort.INTERPRETER,
        "/usr/bin/ruby3.1": Sort.INTERPRETER,
        "/usr/bin/php8.2": Sort.INTERPRETER,
        "/usr/bin/guile-3.0": Sort.INTERPRETER,
        "/usr/bin/vim.basic": Sort.EDITOR,
        "/usr/bin/less": Sort.EDITOR,
        "/usr/bin/sqlite3": Sort.TOOL,
        "/usr/bin/pip3": Sort.MANAGER,
        "/bin/busybox": Sort.MULTICALL,
        "env": Sort.WRAPPER,
        "/usr/bin/sudo": Sort.PRIVILEGE,
    }.items(),
)
def test_a_program_is_known_by_its_name(path: str, sort: Sort) -> None:
    """Wherever it lies, and with or without a version."""
    program = find(path)

    assert program is not None
    assert sort is program.sort


@pytest.mark.parametrize(
    "path", ["/usr/bin/df", "/bin/shred.py", "/opt/bash/run", "/opt/3.11", "/srv/my-env"]
)
def test_other_programs_are_not_known(path: str) -> None:
    """A part of a name, or of the way to it, is not the name."""
    assert find(path) is None


@pytest.mark.parametrize(
    ("words", "expected"),
    {
        "/bin/df {x}": "/bin/df",
        "/usr/bin/env bash -c {x}": "/usr/bin/env bash",
        "/usr/bin/env - A=1 B={x} -u C bash": "/usr/bin/env bash",
        "/usr/bin/timeout -k 5 10s nice -n 5 /bin/ls {x}": "/usr/bin/timeout nice /bin/ls",
        "/usr/bin/timeout --signal=KILL 10s /bin/ls": "/usr/bin/timeout /bin/ls",
        "/usr/bin/ionice -c2 -n 7 /bin/ls": "/usr/bin/ionice /bin/ls",
        "/usr/bin/nohup setsid stdbuf -oL -e L /bin/ls": "/usr/bin/nohup setsid stdbuf /bin/ls",
        "/usr/bin/xargs -0 -n 1 /bin/ls": "/usr/bin/xargs /bin/ls",
        "/usr/bin/sudo -u ann -- /bin/ls": "/usr/bin/sudo /bin/ls",
        "/usr/bin/find {x} -name y -exec /bin/ls {} ;": "/usr/bin/find /bin/ls",
        "/usr/bin/find {x} -name y": "/usr/bin/find",
        "/usr/sbin/chroot --userspec=a:b /srv /bin/ls": "/usr/sbin/chroot /bin/ls",
        "/usr/bin/flock -w 3 /run/lock /bin/ls": "/usr/bin/flock /bin/ls",
        "/bin/busybox sh -c {x}": "/bin/busybox sh",
        "/bin/busybox": "/bin/busybox",
        "/usr/bin/env {x}": "/usr/bin/env",
        "/bin/bash /usr/bin/env ls": "/bin/bash",
    }.items(),
)
def test_wrappers_are_looked_through(words: str, expected: str) -> None:
    """Options, their values and assignments stand between a wrapper and the program it starts."""
    assert expected.split() == paths(*words.split(" "))


@pytest.mark.parametrize(
    ("words", "expected"),
    {
        "/bin/bash -c {x}": ["{x}"],
        "/bin/bash -ec {x} name": ["{x}"],
        "/bin/bash -cx text {x}": ["text"],
        "/bin/bash -o pipefail -c text {x}": ["text"],
        "/bin/bash /srv/script {x}": ["/srv/script"],
        "/bin/bash -e -- {x}": ["{x}"],
        "/bin/bash": [],
        "/usr/bin/python3 -m {x}": ["{x}"],
        "/usr/bin/python3 -W error /srv/a.py {x}": ["/srv/a.py"],
        "/usr/bin/perl -lne {x}": ["{x}"],
        "/usr/bin/perl -MFile::Temp -e text": ["text"],
        "/usr/bin/perl -e1{x}": ["-e1{x}"],
        "/usr/bin/node --eval={x}": ["--eval={x}"],
        "/usr/bin/awk -F : {x} file": ["{x}"],
        "/usr/bin/awk -f /srv/a.awk {x}": ["/srv/a.awk"],
        "/usr/bin/env -S {x}": ["{x}"],
        "/usr/bin/env {x} more": ["{x}"],
        "/usr/bin/xargs /opt/{x}": ["/opt/{x}"],
        "/bin/busybox {x}": ["{x}"],
        "/usr/bin/watch -n 5 df {x}": ["df", "{x}"],
        "/bin/su ann -c {x}": ["{x}"],
        "/bin/su - ann -c {x}": ["{x}"],
        "/sbin/runuser -l ann -c {x}": ["{x}"],
        "/usr/bin/flock /run/lock -c {x}": ["{x}"],
        "/usr/bin/script -qc {x} /dev/null": ["{x}"],
        "/usr/bin/find /srv -exec {x} ;": ["{x}"],
        "/bin/bash {check} {x}": ["fixed text"],
        "/bin/df {x}": [],
    }.items(),
)
def test_scripts_are_found_among_the_arguments(words: str, expected: list[str]) -> None:
    """Text of a script, a file with one, or the name of a program: whatever is run."""
    assert expected == scripts(*words.split(" "))


def test_a_wrapper_keeps_its_own_arguments_only() -> None:
    """What belongs to the program it starts is that program's to read."""
    outer, inner = read("/usr/bin/timeout", "{x}", "/bin/ls", "-l")

    assert (element("{x}"),) == outer.arguments
    assert (element("-l"),) == inner.arguments


@pytest.mark.parametrize(
    ("words", "expected"),
    {
        "/bin/bash": True,
        "/bin/bash -s {x}": True,
        "/usr/bin/python3 -": True,
        "/usr/bin/python3 -I": True,
        "/usr/bin/env bash -l": True,
        "/bin/bash /srv/script": False,
        "/usr/bin/python3 -c text": False,
        "/usr/bin/sed -n p": False,
        "/bin/cat": False,
    }.items(),
)
def test_who_is_told_no_script_reads_one_from_its_input(words: str, expected: bool) -> None:
    """Then standard input is what runs."""
    assert expected is any(call.bare for call in read(*words.split()))


WORDS = st.one_of(
    st.sampled_from(["-c", "-", "--", "--x=y", "A=1", "{x}", "a{x}", "-e{x}", "{check}", "-exec", ";", "-u"]),
    st.sampled_from(sorted(PROGRAMS)),
)


@settings(max_examples=300, deadline=None)
@given(st.sampled_from(sorted(PROGRAMS)), st.lists(WORDS, max_size=8))
def test_every_argument_belongs_to_one_program(name: str, words: list[str]) -> None:
    """Whatever the words: programs and their arguments, one behind the other, are the whole vector."""
    given_ = [text for word in words for text in (["-c", "fixed text"] if word == "{check}" else [word])]
    found = read(f"/bin/{name}", *words)

    assert [f"/bin/{name}", *given_] == [
        text for call in found for text in [call.path, *("".join(map(str, each)) for each in call.arguments)]
    ]
    assert all(set(call.scripts) <= set(call.arguments) for call in found)

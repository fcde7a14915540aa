"""What a line can go on with, from what a server lists."""

import json
import shlex
from collections.abc import Mapping
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rexecd.client.completing import Candidate, Known
from rexecd.policy.bind import bind
from rexecd.policy.listing import entries
from rexecd.policy.load import load
from rexecd.wire.messages import Entry

POLICY = """\
version: 1
principals: {ann: {roles: [all]}}
roles: {all: {allow: ["*"]}}
commands:
  disk:
    summary: Free space
    run: /bin/df {place}
    parameters:
      place: {type: choice, of: [/srv, /var, "my data"]}
  deploy:
    summary: Bring a version out
    run: [/bin/deploy, "{stage}", "{count}", "{dry}", "{units...}"]
    parameters:
      stage: {type: choice, of: [test, live, -odd, --stage], leading_dash: allow}
      count: {type: integer, min: 1, max: 9, default: 2}
      dry: {type: flag, adds: [--dry-run]}
      units: {type: choice, of: [web, worker], least: 0, most: 3}
  account:
    summary: Set a password
    run: [/bin/account, "{name}"]
    parameters:
      name: {type: word}
      password: {type: secret, pass: stdin}
  uptime: {summary: Time since the start, run: /usr/bin/uptime}
"""


@pytest.fixture(scope="module")
def known() -> Known:
    """Return what the real server lists."""
    return Known(entries(load(POLICY, "policy.yaml"), "ann", "127.0.0.1"))


def texts(known: Known, line: str) -> list[str]:
    """Return the candidates, `+` for those that are not whole."""
    return [each.text + ("" if each.is_whole else "+") for each in known.complete(line).candidates]


@pytest.mark.parametrize(
    ("line", "expected"),
    {
        "": ["account", "deploy", "disk", "uptime", "help", "exit"],
        "d": ["deploy", "disk"],
        "'d": ["deploy", "disk"],
        "x": [],
        "e": ["exit"],
        "help ": ["account", "deploy", "disk", "uptime"],
        "help d": ["deploy", "disk"],
        "help disk ": [],
        "exit ": [],
        "nope ": [],
        "uptime ": [],
        "uptime -": ["--help"],
        "disk ": ["/srv", "/var", "'my data'", "--place=+"],
        "disk m": ["'my data'"],
        "disk 'my d": ["'my data'"],
        'disk "my d': ["'my data'"],
        "disk my\\ d": ["'my data'"],
        "disk --": ["--place=+", "--help"],
        "disk --place": ["--place=+"],
        "disk --place=": ["--place=/srv", "--place=/var", "'--place=my data'"],
        "disk --place=my": ["'--place=my data'"],
        "disk --place ": ["/srv", "/var", "'my data'"],
        "disk --place /s": ["/srv"],
        "disk /srv ": [],
        "disk --place=/srv ": [],
        "deploy ": ["test", "live", "-odd", "--stage=+", "--count=+", "--dry", "--units=+"],
        "deploy -": ["-odd", "--stage=+", "--count=+", "--dry", "--units=+", "--help"],
        "deploy --stage=-": ["--stage=-odd", "--stage=--stage"],
        "deploy -- -": ["-odd", "--stage"],
        "deploy --dry --": ["--stage=+", "--count=+", "--units=+"],
        "deploy --dry=": [],
        "deploy test --": ["--count=+", "--dry", "--units=+"],
        "deploy test 2 ": ["web", "worker", "--dry", "--units=+"],
        "deploy test 2 web wo": ["worker"],
        "deploy --count=2 test ": ["web", "worker", "--dry", "--units=+"],
        "deploy --count 2 --units web --units wo": ["worker"],
        "deploy --nope test l": [],
        "account ann --": ["--password=+"],
        "account --password ": [],
    }.items(),
)
def test_a_line_goes_on_as_the_server_would_read_it(known: Known, line: str, expected: list[str]) -> None:
    """Names, parameters and choices, by position and by name."""
    assert expected == texts(known, line)


def test_candidates_take_the_place_of_the_whole_word(known: Known) -> None:
    """Also of one that was begun with a quote."""
    assert 5 == known.complete("disk 'my d").start
    assert 5 == known.complete("disk ").start
    assert 0 == known.complete("di").start


def test_candidates_say_what_they_are(known: Known) -> None:
    """A summary, what a parameter takes, whose choice it is."""
    assert Candidate("disk", "Free space") in known.complete("di").candidates
    assert Candidate("--count=", "an integer from 1 to 9, 2 if left out", is_whole=False) in (
        known.complete("deploy --c").candidates
    )
    assert Candidate("live", "stage") in known.complete("deploy l").candidates


def test_every_choice_that_is_offered_is_taken() -> None:
    """The policy's own reading of the line, with each candidate in it."""
    policy = load(POLICY, "policy.yaml")
    known = Known(entries(policy, "ann", "127.0.0.1"))
    for line in ("disk ", "disk --place=", "disk --place ", "deploy ", "deploy -- ", "deploy --stage="):
        for each in known.complete(line).candidates:
            if not each.is_whole or each.text == "--dry":
                continue
            words = shlex.split(line[: known.complete(line).start] + each.text)
            bind(policy.rules[words[0]].parameters, words[1:], resolve=lambda path, *_: path)


@pytest.mark.parametrize(
    ("line", "is_kept"),
    {
        "disk /srv": True,
        "deploy test --dry": True,
        "help": True,
        "help account": True,
        "account": True,
        "account ann": False,
        "account ann hunter2": False,
        "account --name ann": False,
        "account 'ann": False,
        "'account' ann hunter2": False,
        "disk --password=hunter2": False,
        "disk --password hunter2": False,
        "acount ann hunter2": False,
        "nope": False,
        "": False,
    }.items(),
)
def test_lines_that_may_hold_a_secret_are_not_kept(known: Known, line: str, *, is_kept: bool) -> None:
    """Nor those of which nobody can say."""
    assert is_kept == known.may_be_kept(line)


def test_nothing_is_kept_before_anything_is_known() -> None:
    """Where the listing could not be had."""
    assert not Known().may_be_kept("disk /srv")
    assert Known().may_be_kept("help")


def made(name: str, schema: Any = None, **rest: Any) -> Entry:
    """Return an entry as a server might send it."""
    parts: dict[str, Any] = {"usage": "", "summary": "", "description": "", "parameters": ()} | rest
    return Entry(name=name, schema=schema if isinstance(schema, str) else json.dumps(schema), **parts)


EVIL = [
    "\x1b]0;x\x07",
    "a\nb",
    "\u202eevil",
    "\x9b2J",
    "x" * 5000,
    "",
    "a\u2028b",
    "\ud800",
    "$(reboot)",
    "; rm",
    "--",
    "--x",
]


def test_a_hostile_listing_makes_only_plain_candidates() -> None:
    """Every text of it is escaped, quoted, cut or left out."""
    properties: Mapping[str, Any] = {
        name: {"enum": EVIL, "description": "\x1b[2J\n" * 1000} for name in [*EVIL, "fine"]
    }
    schema = {"properties": properties}
    known = Known(
        [
            made(name, schema, summary="\x1b[31m\u202e" * 2000, parameters=("fine: \x1b[2J",) * 66)
            for name in [*EVIL, "help", "exit", "fine"]
        ]
    )
    for line in ("", "help ", "fine ", "fine --", "fine -- ", "fine --fine=", "fine --fine ", "'; rm' "):
        for each in known.complete(line).candidates:
            assert each.text.isprintable()
            assert each.about.isprintable()
            assert len(each.text) < 600
            assert len(each.about) <= 100
            assert 1 == len(shlex.split(each.text))
            assert each.text == shlex.quote(shlex.split(each.text)[0])
    assert 1 == texts(known, "").count("help")
    assert 1 == texts(known, "").count("exit")


SHAPES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(["properties", "items", "type", "enum", "writeOnly", "description", "fine"]),
            inner,
            max_size=4,
        )
    ),
    max_leaves=20,
)


@given(schema=SHAPES, line=st.sampled_from(["fine ", "fine --", "fine --fine=", "fine --fine ", "fine a b "]))
def test_no_schema_is_too_odd(schema: Any, line: str) -> None:
    """Whatever JSON it is."""
    for text in (json.dumps(schema), json.dumps({"properties": schema}), "{", "[" * 20_000):
        known = Known([made("fine", text)])
        known.complete(line)
        known.may_be_kept(line)

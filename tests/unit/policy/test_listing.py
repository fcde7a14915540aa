"""Listings: what callers are told of the commands they may run."""

import json

import jsonschema
import pytest

from rexecd.codec import Catalogue
from rexecd.limits import MAX_FRAME, MAX_PACKET, MAX_PARAMETERS, MAX_SCHEMA, MAX_TEXT
from rexecd.policy.listing import cut, entries, schema
from rexecd.policy.load import load
from rexecd.wire.messages import CATALOGUE, Entry
from tests.unit.policy.worlds import POLICIES, ask, read, rule

HERE = "192.0.2.7"

POLICY = load(
    """
version: 1
principals: {ann: {roles: [all]}, bob: {roles: [some]}}
roles: {all: {allow: ["*"]}, some: {allow: [disk]}}
commands:
  logs:
    summary: Log lines
    description: |
      Reads a log.
    run: [/bin/logs, "{follow}", "-n{lines}", "{unit}", "{note}"]
    parameters:
      unit: {type: choice, of: [nginx, postgresql], summary: the service}
      lines: {type: integer, min: 1, max: 500, default: 50}
      follow: {type: flag, adds: [-f]}
      note: {type: text, default: two words}
  disk:
    summary: Free space
    run: /bin/df {path}
    parameters: {path: {type: path, under: [/srv/secret], default: /srv/secret}}
  tag:
    summary: Tag
    run: /bin/tag {tag}
    parameters: {tag: {type: pattern, matches: 'v[0-9]+'}}
""",
    "p",
)


def test_an_entry_says_how_a_command_is_called() -> None:
    """Usage, texts and one line for each parameter."""
    entry = next(entry for entry in entries(POLICY, "ann", HERE) if entry.name == "logs")

    assert (
        Entry(
            name="logs",
            usage="logs <unit> [lines=50] [--follow] [note='two words']",
            summary="Log lines",
            description="Reads a log.",
            parameters=(
                "unit: one of nginx, postgresql (the service)",
                "lines: an integer from 1 to 500, 50 if left out",
                "--follow: no value",
                "note: a text of at most 256 characters, without control characters, 'two words' if left out",
            ),
            schema=entry.schema,
        )
        == entry
    )


def test_a_principal_sees_its_own_commands_by_name() -> None:
    """Entries are sorted, and what is not permitted is not shown."""
    assert ["disk", "logs", "tag"] == [entry.name for entry in entries(POLICY, "ann", HERE)]
    assert ["disk"] == [entry.name for entry in entries(POLICY, "bob", HERE)]


def test_a_stranger_sees_nothing() -> None:
    """A principal the policy does not know has an empty listing."""
    assert () == entries(POLICY, "eve", HERE)


def test_a_listing_shows_no_path_and_no_pattern() -> None:
    """Directories, defaults of paths and patterns stay on the server."""
    told = str([entry for entry in entries(POLICY, "ann", HERE) if entry.name in ("disk", "tag")])

    assert "secret" not in told
    assert "[0-9]" not in told
    assert "disk [path]" in told


def test_a_default_that_is_not_shown_is_mentioned() -> None:
    """A path may be left out, and the caller is not told which one is taken then."""
    (disk,) = entries(POLICY, "bob", HERE)

    assert (
        "path: an absolute path below a directory this command may use, or the command's own",
    ) == disk.parameters


def test_a_number_is_shown_as_a_caller_would_write_it() -> None:
    """Never with an exponent, which no number may have."""
    policy = rule("[/bin/x, '{n}']", n="type: number, min: 0.0000001, default: 0.0000002")
    (entry,) = entries(policy, "ann", HERE)

    assert "x [n=0.0000002]" == entry.usage
    assert ("n: a number of at least 0.0000001, 0.0000002 if left out",) == entry.parameters
    assert ("/bin/x", "0.0000002") == ask(policy, "x").argv


def test_texts_are_cut_to_the_bytes_the_wire_carries() -> None:
    """No character is cut in half."""
    assert "short" == cut("short", 10)
    assert "éé..." == cut("é" * 10, 8)
    assert 8 >= len(cut("é" * 10, 8).encode())


@pytest.mark.parametrize(
    ("summary", "each", "is_told"), [(300, 1, True), (5000, 1, False), (5000, 600, False)]
)
def test_the_largest_entry_fits_into_a_message(summary: int, each: int, *, is_told: bool) -> None:
    """Whatever a policy says, its listing can be sent, to the gateway and to the caller."""
    names = [f"p{number:03}{'x' * 60}" for number in range(MAX_PARAMETERS)]
    declared = "".join(f"      {name}: {{type: word, summary: {'é' * each}}}\n" for name in names)
    policy = load(
        "version: 1\nprincipals: {p: {roles: [r]}}\nroles: {r: {allow: [x]}}\ncommands:\n  x:\n"
        f"    summary: {'é' * summary}\n    description: {'é' * 4000}\n"
        f"    run: [/bin/x, {', '.join(f'{chr(34)}{{{name}}}{chr(34)}' for name in names)}]\n"
        f"    parameters:\n{declared}    stdin: accept\n    justification: required\n",
        "p",
    )
    (entry,) = entries(policy, "p", HERE)
    assert [*names, "standard input", "a reason"] == [line.partition(":")[0] for line in entry.parameters]
    catalogue: Catalogue = CATALOGUE
    data = catalogue.encode(entry)

    assert min(MAX_PACKET, MAX_FRAME) >= len(data)
    assert entry == catalogue.decode(data)
    assert MAX_TEXT >= len(entry.summary.encode())
    assert MAX_SCHEMA >= len(entry.schema)
    assert is_told is bool(entry.schema)


EVERY = read(POLICIES / "good-every-key.yaml")


def test_every_type_has_a_usage_and_a_line() -> None:
    """What may be left out stands in brackets; a repetition has dots behind it."""
    (entry,) = (each for each in entries(EVERY, "ann@example.org", "10.1.0.1") if each.name == "every.type")

    assert (
        "every.type [number=1] [host] <address> <network> [port=1024] [wait=30s] [when=2026-01-31] "
        "[key] [pin] [token] [file] [names]..." == entry.usage
    )
    assert (
        "number: a number from 0.5 to 2.25, 1 if left out",
        "host: a host name, such as web1.example.org, or nothing",
        "address: an IPv4 or IPv6 address this command may use",
        "network: a network such as 10.1.0.0/16 this command may use",
        "port: a port number from 1024 to 2048, 1024 if left out",
        "wait: a duration such as 250ms, 30s, 5m, 2h or 1d, from 1s to 1h, 30s if left out",
        (
            "when: a date such as 2026-01-31, with a time such as 2026-01-31T12:30:00Z if you like, "
            "2026-01-31 if left out"
        ),
        "key: a secret of 1 to 1024 bytes, without control characters, or nothing",
        "pin: a secret of 1 to 1024 bytes, without control characters, or nothing",
        "token: a secret of 1 to 1024 bytes, without control characters, or nothing",
        "file: an absolute path below a directory this command may use, or nothing",
        "names: a word of at most 256 letters, digits and . _ @ : + -, 0 to 3 times",
    ) == entry.parameters


def test_a_hidden_command_is_not_listed() -> None:
    """The others of the same principal are."""
    assert "every" in EVERY.principals["ann@example.org"].rules
    assert ["every.type"] == [entry.name for entry in entries(EVERY, "ann@example.org", "10.1.0.1")]


def test_input_and_reasons_are_said() -> None:
    """Behind the parameters, for people; in `x-rexec`, for programs."""
    policy = load(
        "version: 1\nprincipals: {p: {roles: [r]}}\nroles: {r: {allow: ['*']}}\ncommands:\n"
        "  a: {summary: x, run: /bin/x, stdin: accept}\n"
        "  b: {summary: x, run: /bin/x, stdin: require, justification: required, timeout: 250ms}\n",
        "p",
    )
    first, second = entries(policy, "p", HERE)

    assert ("standard input: read if there is any",) == first.parameters
    assert ("standard input: required", "a reason: required (--reason TEXT)") == second.parameters
    assert {"stdin": "require", "justification": "required", "timeout": 0.25} == json.loads(second.schema)[
        "x-rexec"
    ]


def test_a_schema_is_one_and_takes_what_the_command_takes() -> None:
    """Defaults fit their own schema; values that do not fit a type do not fit its schema either."""
    made = json.loads(next(each.schema for each in entries(EVERY, "ann@example.org", "10.1.0.1")))
    jsonschema.Draft202012Validator.check_schema(made)
    validator = jsonschema.Draft202012Validator(made)
    fits = {"address": "10.0.0.1", "network": "10.0.0.0/8"}

    assert ["address", "network"] == made["required"]
    assert {"number": 1.0, "port": 1024, "wait": "30s", "when": "2026-01-31"} == {
        name: each["default"] for name, each in made["properties"].items() if "default" in each
    }
    for name, each in made["properties"].items():
        if "default" in each:
            validator.validate({**fits, name: each["default"]})
    for more in ({}, {"names": ["a", "b"]}, {"key": "x", "number": 0.5}):
        validator.validate({**fits, **more})
    for wrong in (
        {"number": 3},
        {"port": 80},
        {"wait": "30"},
        {"when": "now"},
        {"names": ["a"] * 4},
        {"x": 1},
    ):
        assert not validator.is_valid({**fits, **wrong})


def test_a_schema_names_no_path_and_no_secret_default() -> None:
    """As in the words for people; a secret is only ever written."""
    schemas = {name: json.dumps(schema(rule)) for name, rule in EVERY.rules.items()}

    assert "/srv" not in schemas["every"] + schemas["every.type"]
    assert "[a-zé]" not in json.loads(schemas["every"])["properties"]["pattern"].get("pattern", "")
    assert json.loads(schemas["every.type"])["properties"]["key"]["writeOnly"]

"""Listings: what callers are told of the commands they may run."""

from rexecd.codec import Catalogue
from rexecd.limits import MAX_FRAME, MAX_PACKET, MAX_PARAMETERS, MAX_TEXT
from rexecd.policy.listing import cut, entries
from rexecd.policy.load import load
from rexecd.wire.messages import CATALOGUE, Entry

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
    entry = next(entry for entry in entries(POLICY, "ann") if entry.name == "logs")

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
        )
        == entry
    )


def test_a_principal_sees_its_own_commands_by_name() -> None:
    """Entries are sorted, and what is not permitted is not shown."""
    assert ["disk", "logs", "tag"] == [entry.name for entry in entries(POLICY, "ann")]
    assert ["disk"] == [entry.name for entry in entries(POLICY, "bob")]


def test_a_stranger_sees_nothing() -> None:
    """A principal the policy does not know has an empty listing."""
    assert () == entries(POLICY, "eve")


def test_a_listing_shows_no_path_and_no_pattern() -> None:
    """Directories, defaults of paths and patterns stay on the server."""
    told = str([entry for entry in entries(POLICY, "ann") if entry.name in ("disk", "tag")])

    assert "secret" not in told
    assert "[0-9]" not in told
    assert "disk [path]" in told


def test_texts_are_cut_to_the_bytes_the_wire_carries() -> None:
    """No character is cut in half."""
    assert "short" == cut("short", 10)
    assert "éé..." == cut("é" * 10, 8)
    assert 8 >= len(cut("é" * 10, 8).encode())


def test_the_largest_entry_fits_into_a_message() -> None:
    """Whatever a policy says, its listing can be sent, to the gateway and to the caller."""
    names = [f"p{number:03}{'x' * 60}" for number in range(MAX_PARAMETERS)]
    declared = "".join(f"      {name}: {{type: word, summary: {'é' * 600}}}\n" for name in names)
    policy = load(
        "version: 1\nprincipals: {p: {roles: [r]}}\nroles: {r: {allow: [x]}}\ncommands:\n  x:\n"
        f"    summary: {'é' * 5000}\n    description: {'é' * 5000}\n"
        f"    run: [/bin/x, {', '.join(f'{chr(34)}{{{name}}}{chr(34)}' for name in names)}]\n"
        f"    parameters:\n{declared}",
        "p",
    )
    (entry,) = entries(policy, "p")
    catalogue: Catalogue = CATALOGUE
    data = catalogue.encode(entry)

    assert min(MAX_PACKET, MAX_FRAME) >= len(data)
    assert entry == catalogue.decode(data)
    assert MAX_TEXT >= len(entry.summary.encode())

"""What the word at the cursor of a shell's command line can become."""

import json
from collections.abc import Sequence

import pytest

from rexecd.client.options import OPTIONS
from rexecd.client.suggesting import FILES, Sources, suggest
from rexecd.wire.messages import Entry

SCHEMA = json.dumps(
    {
        "type": "object",
        "properties": {
            "unit": {"enum": ["nginx", "postgresql", "two words"]},
            "force": {"type": "boolean"},
        },
    }
)
LISTED = [
    Entry("disk", "disk [path]", "Free space", "", (), "{}"),
    Entry("service.restart", "service.restart unit", "Restart\x1b[2J one", "", (), SCHEMA),
    Entry("evil\x1b[2J", "", "", "", (), ""),
    Entry("evil;name", "", "", "", (), ""),
    Entry("help", "", "a command of that name", "", (), ""),
]


class Asked:
    """Hosts and a listing, and for what they were asked."""

    def __init__(self) -> None:
        self.words: list[list[str]] = []

    def listing(self, words: Sequence[str]) -> Sequence[Entry]:
        """Return what may be run."""
        self.words.append(list(words))
        return LISTED

    def __call__(self, line: str) -> list[str]:
        """Return the candidates for a line, whose last word is behind its last blank."""
        found = suggest(line.split(" "), Sources(lambda: ["web1", "web2", "db"], self.listing))
        return [each.text for each in found]


@pytest.mark.parametrize(
    ("line", "expected"),
    {
        "": ["db", "web1", "web2", "login"],
        "we": ["web1", "web2"],
        "l": ["login"],
        "-n we": ["web1", "web2"],
        "-p 7513 we": ["web1", "web2"],
        "-p7513 we": ["web1", "web2"],
        "-vp 7513 d": ["db"],
        "--ca ": [FILES],
        "--ca=x": [FILES],
        "-F ": [FILES],
        "--value-file name": [],
        "--value-file name=": [FILES],
        "--token ": [],
        "--to": ["--token", "--token-file"],
        "--js": ["--json", "--json=lines"],
        "--completion ": ["bash", "zsh", "fish"],
        "--completion=z": ["--completion=zsh"],
        "-o conn": ["ConnectTimeout="],
        "-4": ["-4"],
        "login w": ["web1", "web2"],
        "-- d": ["db"],
        "-- l": [],
    }.items(),
)
def test_before_host_options_and_hosts_are_known(line: str, expected: list[str]) -> None:
    """No server is asked for them."""
    asked = Asked()

    assert (expected, []) == (asked(line), asked.words)


@pytest.mark.parametrize(
    ("line", "expected", "up_to_host"),
    [
        ("web1 ", ["disk", "service.restart", "evil;name"], ["web1"]),
        ("-p 1 web1 s", ["service.restart"], ["-p", "1", "web1"]),
        ("web1 -- s", ["service.restart"], ["web1"]),
        ("-- web1 s", ["service.restart"], ["--", "web1"]),
        ("web1 service.restart ", ["nginx", "postgresql", "two words", "--unit=", "--force"], ["web1"]),
        ("web1 service.restart n", ["nginx"], ["web1"]),
        ("web1 service.restart --unit=p", ["--unit=postgresql"], ["web1"]),
        ("web1 service.restart --f", ["--force"], ["web1"]),
        ("web1 nonsense ", [], ["web1"]),
        ("--json web1 --li", [], ["--json", "web1"]),
    ],
)
def test_behind_host_it_is_the_servers_list(line: str, expected: list[str], up_to_host: list[str]) -> None:
    """Asked for with the options that stand before it; candidates have no quotes, the shell makes them."""
    asked = Asked()

    assert expected == asked(line)
    assert [up_to_host] == asked.words


def test_all_options_are_offered_in_the_order_of_the_help() -> None:
    """Behind two dashes; letters behind one."""
    found = Asked()("-")
    long = [
        f"{name}={option.choice}" if option.choice else name
        for option in OPTIONS
        for name in option.names
        if name.startswith("--")
    ]

    assert [name for name in found if name.startswith("--")] == long
    assert {"-p", "-o", "-F", "-G", "-h"} < set(found)


def test_nothing_that_steers_a_terminal_comes_through() -> None:
    """Names, and what is said of them."""
    found = suggest(["web1", ""], Sources(list, lambda _words: LISTED))

    assert all(each.text.isprintable() and each.about.isprintable() for each in found)

"""A record as the journal and syslog take it: from the line, and nothing of it can be forged."""

import json
import re
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rexecd.audit import entries
from rexecd.audit.events import EVENTS, FIELDS, Action, Kind
from rexecd.audit.seal import Chain
from tests.receivers import taken_apart
from tests.trails import encoded, shaped

NOW = datetime(2026, 11, 28, 5, 42, 9, 317021, tzinfo=UTC)
TOKEN = "rxt_Abcdefgh_" + "s" * 49
#: RFC 5424, 6: PRI, VERSION, TIMESTAMP, HOSTNAME, APP-NAME, PROCID, MSGID, STRUCTURED-DATA, MSG.
RFC5424 = re.compile(
    r"<(?P<priority>[0-9]{1,3})>1 "
    r"(?P<time>[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}\.[0-9]{1,6}Z) "
    r"(?P<host>[!-~]{1,255}) (?P<program>[!-~]{1,48}) (?P<pid>[!-~]{1,128}) (?P<id>[!-~]{1,32}) "
    r"- (?P<message>[ -~]*)"
)


def _line(action: Action, **fields: object) -> bytes:
    record = shaped(action, fields, now=NOW)
    return Chain.begin(bytes(32)).seal(encoded(record))[0]


def test_an_entry_has_every_field_by_its_name_and_the_record_itself() -> None:
    """What can be searched for, and what was sealed."""
    line = _line(
        Action.COMMAND_ALLOWED,
        principal="ci",
        rule="disk",
        argv=["/usr/bin/df", "-h", "/srv/my files"],
        line="disk '/srv/my files'",
        timeout=30,
        duration=0.25,
        exit_code=0,
        truncated=False,
        reason=None,
    )
    entry = taken_apart(entries.journal_entry(line))
    record = json.loads(line)

    assert {
        "MESSAGE": "command-allowed principal=ci rule=disk outcome=success exit_code=0 duration=0.250000 "
        "line=\"disk '/srv/my files'\"",
        "PRIORITY": "6",
        "SYSLOG_FACILITY": "10",
        "SYSLOG_IDENTIFIER": "rexecd-audit",
        "REXECD_ACTION": "command-allowed",
        "REXECD_SEQUENCE": "1",
        "REXECD_KIND": "accept",
        "REXECD_SEAL": record["rexec"]["seal"],
        "REXECD_OUTCOME": "success",
        "REXECD_PRINCIPAL": "ci",
        "REXECD_RULE": "disk",
        "REXECD_ARGV": "/usr/bin/df -h '/srv/my files'",
        "REXECD_LINE": "disk '/srv/my files'",
        "REXECD_TIMEOUT": "30",
        "REXECD_DURATION": "0.250000",
        "REXECD_EXIT_CODE": "0",
        "REXECD_TRUNCATED": "false",
        "REXECD_RECORD": line.decode().rstrip("\n"),
    } == entry


@pytest.mark.parametrize("action", Action)
def test_a_message_has_the_form_of_rfc_5424(action: Action) -> None:
    """For every action; the level is that of its kind, the message the record."""
    line = _line(action, principal="ci")
    message = entries.syslog_message(line, host="db1.example.org", pid=4711).decode()
    level = {Kind.REJECT: 5, Kind.ALERT: 4}.get(EVENTS[action].kind, 6)
    match = RFC5424.fullmatch(message)

    assert match
    assert (str(80 + level), "2026-11-28T05:42:09.317021Z") == (match["priority"], match["time"])
    assert ("db1.example.org", "rexecd-audit", "4711", action.value) == match.group(
        "host", "program", "pid", "id"
    )
    assert line == match["message"].encode() + b"\n"
    assert str(level) == taken_apart(entries.journal_entry(line))["PRIORITY"]


@pytest.mark.parametrize(("host", "shown"), [("", "-"), ("a b\n", "ab"), ("h" * 300, "h" * 255)])
def test_a_host_is_a_word(host: str, shown: str) -> None:
    """Whatever the machine calls itself."""
    message = entries.syslog_message(_line(Action.SERVICE_STARTED), host=host, pid=1).decode()

    assert f"<86>1 2026-11-28T05:42:09.317021Z {shown} rexecd-audit 1 service-started - {{" in message


#: Unprintable by name, harmless.
_SPACES = set("\N{NO-BREAK SPACE}\N{NARROW NO-BREAK SPACE}\N{IDEOGRAPHIC SPACE}")
_ANY_FIELDS: st.SearchStrategy[dict[str, Any]] = st.dictionaries(
    st.sampled_from(["line", "reason", "justification", "principal", "note", "rule"]), st.text(max_size=40)
)


@given(_ANY_FIELDS, st.lists(st.text(max_size=20), max_size=5))
def test_no_text_forges_a_field_or_a_line(fields: dict[str, str], argv: list[str]) -> None:
    """Each is in the entry under its own name, escaped; nothing else is, and a message is one line."""
    line = _line(Action.COMMAND_REFUSED, **fields, argv=argv)
    entry = taken_apart(entries.journal_entry(line))
    names = {f"REXECD_{name.upper()}" for name in FIELDS}
    marks = {name for name in entry if name.endswith(("_LENGTH", "_SHA256"))}
    own = {"MESSAGE", "PRIORITY", "SYSLOG_FACILITY", "SYSLOG_IDENTIFIER"}
    extra = {f"REXECD_{name}" for name in ("ACTION", "KIND", "SEQUENCE", "SEAL", "RECORD")}

    assert set() == set(entry) - names - marks - own - extra
    assert set() == {each for text in entry.values() for each in text if not each.isprintable()} - _SPACES
    assert RFC5424.fullmatch(entries.syslog_message(line, host="h", pid=1).decode())


def test_a_token_is_masked_there_as_in_the_trail() -> None:
    """Entries are made of the line."""
    line = _line(Action.COMMAND_REFUSED, line=f"disk {TOKEN}", argv=[TOKEN], reason=TOKEN)

    assert b"sss" not in entries.journal_entry(line)
    assert b"sss" not in entries.syslog_message(line, host="h", pid=1)

"""A record as other log systems take it: an entry of the journal, a message of syslog (RFC 5424).

Rule 1: everything is taken from the line as it stands in the trail: there it is masked, cut and escaped.
Pure: host and process are arguments.
"""

import json
import re
import shlex
from collections.abc import Mapping
from typing import Any, Final

from rexecd import journal
from rexecd.audit.events import FIELDS, Kind
from rexecd.printable import printable, quoted

#: Who speaks, for whoever reads the journal or the syslog.
IDENTIFIER: Final = "rexecd-audit"
#: Of syslog(3): messages of security that not everybody may read. Every distribution has a file for them
#: that is closed to others, and knows no such place for 13 ("log audit").
_AUTHPRIV: Final = 10
_LEVELS: Final[Mapping[str, int]] = {Kind.REJECT.value: 5, Kind.ALERT.value: 4}
_INFO: Final = 6
#: By the path in a record: the journal's name of it.
_NAMES: Final = {path: f"REXECD_{name.upper()}" for name, path in FIELDS.items()}
_DURATION: Final = "REXECD_DURATION"
#: What a message for people shows behind the action.
_SHOWN: Final = {
    name: f"REXECD_{name.upper()}"
    for name in (
        "principal",
        "rule",
        "outcome",
        "code",
        "reason",
        "connection_id",
        "request_id",
        "address",
        "run_as",
        "justification",
        "exit_code",
        "signal",
        "duration",
        "count",
        "line",
    )
}
#: Not a name of a host that RFC 5424 has.
_UNPRINTABLE: Final = re.compile("[^!-~]")
_LONGEST_HOST: Final = 255
_NIL: Final = "-"


def journal_entry(line: bytes) -> bytes:
    """Return a line of the trail as an entry of the journal, a field each and the line itself."""
    record = json.loads(line)
    fields: dict[str, str] = {}
    _gather(record, (), fields)
    action = str(record["event"]["action"])
    words = [f"{name}={quoted(fields[field])}" for name, field in _SHOWN.items() if fields.get(field)]
    fields["MESSAGE"] = " ".join([action, *words])
    fields["PRIORITY"] = str(_level(record))
    fields["SYSLOG_FACILITY"] = str(_AUTHPRIV)
    fields["SYSLOG_IDENTIFIER"] = IDENTIFIER
    fields["REXECD_ACTION"] = action
    fields["REXECD_RECORD"] = line[:-1].decode()
    return journal.entry(fields)


def syslog_message(line: bytes, *, host: str, pid: int) -> bytes:
    """Return a line of the trail as a message of RFC 5424; it is ASCII, and has no line end."""
    record = json.loads(line)
    place = _UNPRINTABLE.sub("", host)[:_LONGEST_HOST] or _NIL
    header = (
        f"<{_AUTHPRIV * 8 + _level(record)}>1 {record['@timestamp']} {place} {IDENTIFIER} {pid} "
        f"{record['event']['action']} {_NIL} "
    )
    return header.encode("ascii") + line[:-1]


def _level(record: Mapping[str, Any]) -> int:
    return _LEVELS.get(record["rexec"]["kind"], _INFO)


def _gather(tree: Mapping[str, Any], above: tuple[str, ...], fields: dict[str, str]) -> None:
    """Put what a record holds into `fields`, by our names; what is of `rexec` alone by its own."""
    for name, value in tree.items():
        if isinstance(value, dict):
            _gather(value, (*above, name), fields)
            continue
        field = _NAMES.get((*above, name))
        if field is None and above == ("rexec",):
            field = f"REXECD_{name.upper()}"
        if field is not None and value is not None:
            fields[field] = _text(field, value)


def _text(field: str, value: Any) -> str:  # noqa: ANN401 - what JSON holds
    """Return a value as text that steers nothing."""
    if isinstance(value, str):
        return printable(value)
    if isinstance(value, list):
        return printable(shlex.join(map(str, value)))
    if isinstance(value, bool):
        return "true" if value else "false"
    return f"{value / 1e9:.6f}" if field == _DURATION else str(value)

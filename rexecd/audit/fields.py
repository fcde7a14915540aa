"""Every field of a record: our name of it, its place in Elastic's schema, its type, and what it is.

Rule 1: a field that is not here is a bug. What the schema has is named as there; the rest is under `rexec`.
Rule 2: tables only; docs/AUDIT.md is made of them (`make docs`).
"""

import enum
from collections.abc import Mapping
from typing import Final, NamedTuple


class Form(enum.Enum):
    """What JSON has there, in words for people; null may stand in its place."""

    TEXT = "text"
    INTEGER = "integer"
    NUMBER = "number"
    TRUTH = "true or false"
    TEXTS = "list of texts"


class Field(NamedTuple):
    """One field."""

    path: tuple[str, ...]
    form: Form
    about: str


def _at(path: str, about: str, form: Form = Form.TEXT) -> Field:
    return Field(tuple(path.split(".")), form, about)


def _ours(name: str, about: str, form: Form = Form.TEXT) -> Field:
    return Field(("rexec", name), form, about)


#: By our names. Names ending in `_length` or `_sha256` are for the marks of cut texts.
TABLE: Final[Mapping[str, Field]] = {
    "address": _at("source.ip", "the caller's address, the gateway's word"),
    "argv": _at(
        "process.args",
        "the argument vector; `process.args_count` is its true length. `/dev/fd/[PATH]` is a file passed by "
        "descriptor, `/dev/fd/[secret]` a secret",
        Form.TEXTS,
    ),
    "certificate": _at(
        "tls.client.hash.sha256",
        "SHA-256 of the client certificate, in upper-case hex, as the schema wants it",
    ),
    "code": _ours("code", "what the caller was told: one of the refusal codes"),
    "connection_id": _ours("connection_id", "one connection"),
    "count": _ours(
        "count",
        "how many events this record stands for; of a rejected policy, how many faults it has",
        Form.INTEGER,
    ),
    "cpu_time": _ours(
        "cpu_time",
        "nanoseconds of processor time, user and system, of the command and all it started that was waited "
        "for; its worker's word",
        Form.INTEGER,
    ),
    "cut_bytes": _ours("cut_bytes", "how much `trail-repaired` cut off", Form.INTEGER),
    "cut_digest": _ours("cut_digest", "SHA-256 of what was cut off"),
    "duration": _at("event.duration", "nanoseconds, by the monotonic clock", Form.INTEGER),
    "error_output_bytes": _ours(
        "error_output_bytes",
        "standard error that it wrote, also what was cut off; the gateway's word",
        Form.INTEGER,
    ),
    "exit_code": _at(
        "process.exit_code",
        "exit status; after a deadline, 128 and the number of the signal that ended it",
        Form.INTEGER,
    ),
    "expires": _ours("expires", "until when a token is good, UTC"),
    "input_bytes": _ours("input_bytes", "input that it was given, the gateway's word", Form.INTEGER),
    "justification": _ours("justification", "why the caller runs it, in the caller's words"),
    "limit": _ours(
        "limit", "which ceiling of its rule the command ran into: `memory`, `processes`, `cpu`, `file_size`"
    ),
    "line": _ours("line", "what the caller sent; `[withheld]` stands for what may be a secret (ADR 0013)"),
    "login": _ours("login", "the account of `rexec.login_id`, where it has a name"),
    "login_id": _ours(
        "login_id",
        "as whom the operator had logged in, before sudo or su: the login uid that the kernel keeps, where "
        "there is one",
    ),
    "networks": _ours("networks", "where a token is good from; without it anywhere"),
    "note": _ours("note", "what the operator wrote of a token"),
    "only": _ours("only", "which commands a token is good for; without it all of its principal's"),
    "operator": _ours("operator", "the account of `rexec.operator_id`, where it has a name"),
    "operator_id": _ours(
        "operator_id", "the user id of the operator's command that asked for this, the kernel's word"
    ),
    "outcome": _at("event.outcome", "`success`, `failure` or `unknown`"),
    "output_bytes": _ours(
        "output_bytes",
        "standard output that it wrote, also what was cut off; the gateway's word",
        Form.INTEGER,
    ),
    "peak_memory": _ours(
        "peak_memory",
        "bytes of memory (resident set) of the largest process of the command, at its largest; less than its "
        "worker has itself cannot be told from that (some 10 MiB); its worker's word",
        Form.INTEGER,
    ),
    "pid": _at("process.pid", "process id", Form.INTEGER),
    "policy_digest": _ours(
        "policy_digest",
        "SHA-256 of the policy that decided, or was in force; `none` where an operator's command needed none",
    ),
    "port": _at("source.port", "its port", Form.INTEGER),
    "previous_digest": _ours(
        "previous_digest", "in `trail-opened`: the digest of all records before this file"
    ),
    "principal": _at("user.name", "who the token belongs to"),
    "reason": _at("event.reason", "why; never shown to the caller"),
    "removed_until": _ours(
        "removed_until",
        "in `trail-pruned`: the last record of what is removed; what was before it was removed earlier",
        Form.INTEGER,
    ),
    "replaces": _ours("replaces", "the token that a new one replaces"),
    "request_id": _ours("request_id", "one command of a connection"),
    "rule": _at("rule.name", "the rule that allowed it, or that was asked for"),
    "rule_place": _ours("rule_place", "file, line and column of the rule"),
    "run_as": _at("process.user.name", "who the command runs as, where that is not the monitor's own user"),
    "run_as_id": _at("process.user.id", "its user id"),
    "signal": _ours("signal", "the number of the signal that ended it", Form.INTEGER),
    "thread": _at("process.thread.name", "the thread that wrote the record"),
    "timeout": _ours("timeout", "seconds that were allowed", Form.NUMBER),
    "tls": _ours("tls", "protocol and cipher, the gateway's word"),
    "token_id": _ours("token_id", "the public part of the token"),
    "truncated": _ours("truncated", "whether output or input was cut at its ceiling", Form.TRUTH),
    "unfinished": _ours(
        "unfinished",
        "in `service-started`: how many commands of a monitor that was killed were recorded as ended",
        Form.INTEGER,
    ),
    "version": _ours("version", "version of rexecd"),
    "working_directory": _at("process.working_directory", "where the program runs"),
}

#: Where each stands.
FIELDS: Final[Mapping[str, tuple[str, ...]]] = {name: field.path for name, field in TABLE.items()}

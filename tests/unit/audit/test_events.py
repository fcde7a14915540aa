"""The vocabulary: what a record looks like, and that nothing a caller sends breaks its bounds."""

import hashlib
import json
import secrets
import signal
from datetime import UTC, datetime, timedelta, timezone

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rexecd import limits
from rexecd.audit import seal
from rexecd.audit.events import FIELDS, Action, Context, compose
from rexecd.errors import Code
from rexecd.identity.tokens import mint
from tests.trails import shaped

NOW = datetime(2026, 1, 2, 3, 4, 5, 6, tzinfo=UTC)

STRANGERS = [Action.CONNECTION_OPENED, Action.TLS_FAILED, Action.AUTH_REFUSED, Action.LIMIT_REACHED]
HOSTILE = {
    "controls": "\x00\n\r\x1b\x7f" * 1000,
    "quotes": "\"\\'" * 1000,
    "C1, separators, bidi": "\x9b\u0085\u2028\u2029\u202e" * 1000,
    "emoji": "\U0001f600" * 3000,
    "lone surrogates": "\ud800" * 3000,
    "plain": "x" * 1024 * 1024,
    "dear first": "\U0001f600" * 600 + "x" * 600,
    "dear last": "x" * 600 + "\U0001f600" * 600,
}


def line_of(action: Action, **fields: object) -> bytes:
    """Return the sealed line of one event."""
    return seal.Chain.begin(bytes(32)).seal(compose(action, fields, now=NOW))[0]


def test_a_record_has_the_published_shape() -> None:
    """Names of the schema, ours below `rexec` and last, numbers as numbers."""
    record = shaped(
        Action.COMMAND_EXITED,
        {"principal": "ci", "argv": ("/bin/df", "-h"), "exit_code": 3, "duration": 0.25, "code": Code.BUSY},
        now=NOW,
    )

    assert json.loads(json.dumps(record)) == {
        "@timestamp": "2026-01-02T03:04:05.000006Z",
        "ecs": {"version": "9.4.0"},
        "event": {
            "action": "command-exited",
            "kind": "event",
            "category": ["process"],
            "type": ["end"],
            "outcome": "success",
            "dataset": "rexecd.audit",
            "module": "rexecd",
            "duration": 250_000_000,
        },
        "user": {"name": "ci"},
        "process": {"args": ["/bin/df", "-h"], "exit_code": 3, "args_count": 2},
        "rexec": {"kind": "exit", "code": "busy"},
    }
    assert list(record)[-1] == "rexec"


def test_times_are_utc() -> None:
    """A clock of another zone tells the same instant."""
    there = NOW.astimezone(timezone(timedelta(hours=5, minutes=30)))

    assert shaped(Action.POLICY_LOADED, {}, now=there) == shaped(Action.POLICY_LOADED, {}, now=NOW)


def test_an_outcome_may_differ_from_the_usual() -> None:
    """Whoever records knows better than the table."""
    record = shaped(Action.COMMAND_STARTED, {"outcome": "unknown"}, now=NOW)

    assert record["event"]["outcome"] == "unknown"


BUGS: dict[str, dict[str, object]] = {
    "unknown field": {"comand": "x"},
    "bytes": {"line": b"x"},
    "list where text belongs": {"line": ["x"]},
    "not a number": {"timeout": float("nan")},
    "endless": {"duration": float("inf")},
    "endless time of processors": {"cpu_time": float("inf")},
    "duration as text": {"duration": b"1"},
    "arguments as text": {"argv": b"df"},
    "arguments of numbers": {"argv": [1]},
    "outcome of our own": {"outcome": "maybe"},
}


@pytest.mark.parametrize("case", BUGS)
def test_a_bug_is_not_recorded_as_something_else(case: str) -> None:
    """A field that cannot be written is found by the first test that writes it."""
    with pytest.raises(ValueError, match=next(iter(BUGS[case])) + "|outcome|seconds"):
        shaped(Action.COMMAND_ALLOWED, BUGS[case], now=NOW)


def test_numbers_are_recorded_as_numbers() -> None:
    """Truth and fractions too; an enumeration of ours as its word, another as its number."""
    record = json.loads(
        line_of(Action.COMMAND_EXITED, truncated=True, timeout=0.5, code=Code.REVOKED, signal=signal.SIGTERM)
    )

    assert (
        record["rexec"].items()
        >= {"truncated": True, "timeout": 0.5, "code": "revoked", "signal": 15}.items()
    )


def test_nothing_is_recorded_as_null() -> None:
    """What is not known is there and null, for every field."""
    record = json.loads(line_of(Action.COMMAND_DRAINED, output_bytes=None, duration=None))

    assert record["rexec"]["output_bytes"] is None
    assert record["event"]["duration"] is None


@pytest.mark.parametrize("case", HOSTILE)
@pytest.mark.parametrize("action", Action)
def test_a_record_is_bounded_and_printable(action: Action, case: str) -> None:
    """Hostile text in every text field at once: one line, ASCII, under the ceiling, still JSON."""
    text = HOSTILE[case][:20_000]
    numbers = {"port", "count", "pid", "exit_code", "duration", "timeout", "argv", "outcome"}
    fields: dict[str, object] = dict.fromkeys(FIELDS.keys() - numbers, text)
    fields |= dict.fromkeys(numbers - {"argv", "outcome"}, 2**53) | {"argv": [text] * 100}
    line = line_of(action, **fields)

    assert len(line) <= limits.MAX_RECORD
    assert {*line[:-1]} <= {*range(0x20, 0x7F)}
    assert json.loads(line)["rexec"]["seal"] == line[-68:-4].decode()


@pytest.mark.parametrize("case", HOSTILE)
@pytest.mark.parametrize("action", STRANGERS)
def test_what_strangers_cause_stays_small(action: Action, case: str) -> None:
    """Under 1 KiB with hostile text in all they can reach (ATTACKS AUD-05)."""
    line = line_of(
        action,
        connection_id="0123456789abcdef",
        address="2001:0db8:0000:0000:0000:ff00:0042:8329",
        port=65535,
        count=2**31,
        tls="TLSv1.3 TLS_AES_256_GCM_SHA384",
        code=Code.AUTHENTICATION_FAILED,
        reason=HOSTILE[case],
        thread="Thread-123456 (process_request_thread)",
    )

    assert len(line) <= 1024


def test_an_address_and_an_id_survive_hostile_text_behind_them() -> None:
    """What identifies is kept, what was sent is cut."""
    record = json.loads(
        line_of(
            Action.COMMAND_REFUSED, connection_id="c1", address="10.0.0.1", line="\x01" * 16384, rule="disk"
        )
    )

    assert (record["source"]["ip"], record["rexec"]["connection_id"]) == ("10.0.0.1", "c1")
    assert record["rule"]["name"] == "disk"


@pytest.mark.parametrize("case", HOSTILE)
def test_a_cut_text_keeps_length_and_digest(case: str) -> None:
    """Whoever has the whole text can show that it was this one."""
    text = HOSTILE[case]
    rexec = json.loads(line_of(Action.COMMAND_REFUSED, line=text))["rexec"]

    assert text.startswith(rexec["line"])
    assert 100 < len(rexec["line"]) <= limits.MAX_RECORDED_TEXT
    assert rexec["line_length"] == len(text)
    assert rexec["line_sha256"] == hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()


@pytest.mark.parametrize("argv", [["x"] * 65, ["x" * 1025], ["\x01" * 1000] * 2, ["x" * 900] * 9])
def test_cut_arguments_keep_number_length_and_digest(argv: list[str]) -> None:
    """Too many, too long, too much: what is kept is the beginning."""
    record = json.loads(line_of(Action.COMMAND_ALLOWED, argv=argv))
    kept = record["process"]["args"]

    assert record["process"]["args_count"] == len(argv)
    assert all(whole.startswith(piece) for whole, piece in zip(argv, kept, strict=False))
    assert all(kept)
    assert record["rexec"]["argv_length"] == len("\0".join(argv))
    assert record["rexec"]["argv_sha256"] == hashlib.sha256("\0".join(argv).encode()).hexdigest()


def test_what_fits_exactly_is_not_marked() -> None:
    """The ceilings themselves are allowed."""
    line, argv = "x" * limits.MAX_RECORDED_TEXT, ["-"] * limits.MAX_RECORDED_ARGUMENTS
    record = json.loads(line_of(Action.COMMAND_ALLOWED, line=line, argv=argv))

    assert (record["rexec"]["line"], record["process"]["args"]) == (line, argv)
    assert {"kind", "line", "sequence", "seal"} == set(record["rexec"])


@settings(max_examples=200, deadline=None)
@given(st.text(max_size=150), st.lists(st.text(max_size=40), max_size=8))
def test_texts_come_back_as_they_were(line: str, argv: list[str]) -> None:
    """Escaping loses nothing (ATTACKS AUD-01)."""
    record = json.loads(line_of(Action.COMMAND_ALLOWED, line=line, argv=argv))

    assert (record["rexec"]["line"], record["process"]["args"]) == (line, argv)


@settings(max_examples=200, deadline=None)
@given(st.text(max_size=1100), st.text(max_size=20))
def test_tokens_are_masked_in_every_text(before: str, behind: str) -> None:
    """Wherever it stands, and whatever is cut: no eight characters of the secret get through."""
    token = mint(secrets.token_bytes)
    text = f"{before}{token.text}{behind}"
    fields = dict.fromkeys(FIELDS.keys() - {"argv", "outcome"}, text)
    line = line_of(Action.COMMAND_REFUSED, **fields, argv=[text, token.text]).decode()

    assert not any(token.text[at : at + 8] in line for at in range(13, 54))


CONTEXT = {
    "thread": st.sampled_from(["connection-1", "\x7f"]),
    "principal": st.text(max_size=20),
    "address": st.sampled_from(["10.0.0.1", "2001:db8::1"]),
    "port": st.integers(0, 65535),
    "rule": st.none() | st.text(max_size=1100),
    "justification": st.text(max_size=1100),
    "run_as": st.just("nobody"),
    "certificate": st.just("AB"),
    "reason": st.text(max_size=10),
    "outcome": st.just("unknown"),
    "argv": st.lists(st.text(max_size=10), max_size=3),
}
FURTHER = CONTEXT | {
    "run_as_id": st.just("65534"),
    "line": st.text(max_size=1100),
    "pid": st.integers(1, 9),
    "duration": st.floats(0, 10),
}


@settings(max_examples=300, deadline=None)
@given(
    st.sampled_from([Action.COMMAND_ALLOWED, Action.COMMAND_EXITED, Action.AUTH_REFUSED]),
    st.fixed_dictionaries({}, optional=CONTEXT),
    st.lists(st.fixed_dictionaries({}, optional=FURTHER), min_size=2, max_size=2),
)
def test_a_context_says_what_its_fields_would(
    action: Action, common: dict[str, object], records: list[dict[str, object]]
) -> None:
    """However often it is used, whatever is cut, and also where a record knows better."""
    context = Context(dict(list(common.items())[:1]))
    context = Context(context, **common)
    for fields in records:
        record = json.loads(compose(action, fields, now=NOW, context=context) + b"}}")

        assert shaped(action, {**common, **fields}, now=NOW) == record


def test_a_context_is_spelled_once() -> None:
    """A command has four records."""
    context = Context(principal="ci")
    compose(Action.COMMAND_ALLOWED, {}, now=NOW, context=context)
    common = context.common
    compose(Action.COMMAND_EXITED, {}, now=NOW, context=context)

    assert common is context.common


@pytest.mark.parametrize("value", [True, False, 7, Code.BUSY, signal.SIGKILL, 0.5, 60.0, 1e-7, 1e300])
def test_a_number_is_written_as_json_has_it(value: float) -> None:
    """Enumerations of ours as their words."""
    written = compose(Action.COMMAND_DRAINED, {"count": value}, now=NOW).rpartition(b'"count":')[2]

    assert json.dumps(getattr(value, "word", value)).encode() == written

"""The trusted side alone: what a gateway, good or taken over, can get from it."""

import errno
import os
import secrets
import socket
import threading
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from ipaddress import ip_network
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import serialization

from rexecd.audit.events import Action
from rexecd.audit.search import read
from rexecd.cli.init import lay_out
from rexecd.cli.monitor import opened_service, opened_workers
from rexecd.errors import Code, TrailError
from rexecd.identity.certificates import issue_client, make_authority
from rexecd.identity.tokens import Terms, TokenRecord, mint
from rexecd.monitor import session
from rexecd.monitor.service import Service
from rexecd.monitor.session import MonitorSession
from rexecd.seam import messages as seam
from rexecd.seam.channel import Channel
from rexecd.serving import RESTARTING, STOPPING
from rexecd.settings import load_settings
from rexecd.wire import messages as wire

SETTINGS = "version: 1\nkill_grace: 200ms\ncontainment: subreaper\n"
POLICY = """\
version: 1
principals:
  ann: {roles: [all]}
roles:
  all: {allow: ["*"]}
commands:
  yes:
    summary: x
    run: /bin/true
  long:
    summary: x
    run: /bin/sleep 60
""".replace("  yes:", '  "yes":')


class _Gateway:
    """The other end of a session's channel, in the test's hands."""

    def __init__(self, service: Service, token: str) -> None:
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        ours.settimeout(10)
        self.channel = Channel(ours, seam.SEAM, timeout=5)
        far = Channel(theirs, seam.SEAM, timeout=5)
        self._token = token

        def run() -> None:
            MonitorSession(far, service).run()
            far.close()

        self.thread = threading.Thread(target=run)
        self.thread.start()

    def authenticate(self) -> wire.Message:
        """Present the token."""
        return self.ask(seam.Authenticate("192.0.2.7", 1234, "TLSv1.3", self._token.encode()))

    def ask(self, message: seam.Message) -> wire.Message:
        """Send one question and return the answer; descriptors are closed."""
        self.channel.send(message)
        return self.hear()

    def hear(self) -> wire.Message:
        """Return what the monitor says next."""
        message, descriptors = self.channel.receive_with_descriptors()
        for descriptor in descriptors:
            os.close(descriptor)
        return message

    def end(self) -> None:
        """Close the channel and wait for the session's end."""
        self.channel.close()
        self.thread.join(10)
        assert not self.thread.is_alive()


@pytest.fixture
def service(tmp_path: Path) -> Iterator[Service]:
    """Give the state of a monitor, with one token."""
    made = lay_out(tmp_path, ["localhost"], settings=SETTINGS, policy=POLICY)
    settings = load_settings(made.config)
    with opened_workers(settings) as workers, opened_service(settings, workers=workers) as opened:
        yield opened


@pytest.fixture
def gateway(service: Service) -> Iterator[Callable[[], _Gateway]]:
    """Give a maker of channels; each is ended, and its session with it."""
    minted = mint(secrets.token_bytes)
    service.credentials.add(TokenRecord(minted.token_id, minted.digest, "ann", created=service.clock.now()))
    made: list[_Gateway] = []

    def make() -> _Gateway:
        made.append(_Gateway(service, minted.text))
        return made[-1]

    yield make
    for one in made:
        one.end()


def _actions(service: Service) -> list[str]:
    return [str(record["event"]["action"]) for record in read([service.settings.audit])]


RUN = wire.Run("yes", wire.Offer.NONE, "")
LONG = wire.Run("long", wire.Offer.NONE, "")


@pytest.mark.parametrize(
    ("before", "wrong"),
    {
        "a command from a stranger": ([], RUN),
        "a listing for a stranger": ([], wire.List()),
        "drained before anything": ([], seam.Drained(0, 0, 0, False)),
        "a second token": (["token"], seam.Authenticate("192.0.2.7", 1, "", b"x")),
        "a report in a session": (["token"], seam.Report(seam.Trouble.SHED, "", 0, 1, "")),
        "a signal for nothing": (["token"], wire.Signal(wire.SignalName.INT)),
        "drained without a command": (["token"], seam.Drained(0, 0, 0, False)),
        "a second command": (["token", LONG], RUN),
        "drained before the end": (["token", LONG], seam.Drained(0, 0, 0, False)),
        "a command before drained": (["token", RUN, "exited"], RUN),
        "an answer as a question": (["token"], seam.Exited(wire.Ending.EXITED, 0, 0)),
        "a session among reports": ([seam.Report(seam.Trouble.SHED, "", 0, 1, "")], RUN),
    }.values(),
    ids=str,
)
def test_a_wrong_question_is_recorded_and_ends_the_channel(
    service: Service, gateway: Callable[[], _Gateway], before: list[Any], wrong: seam.Message
) -> None:
    """The monitor does not argue; a command that runs is ended."""
    other = gateway()
    for step in before:
        match step:
            case "token":
                other.authenticate()
            case "exited":
                assert isinstance(other.hear(), seam.Exited)
            case seam.Report():
                other.channel.send(step)
            case _:
                other.ask(step)
    answer = other.ask(wrong)
    other.thread.join(10)

    assert answer is None
    assert "seam-violated" in _actions(service)


def test_descriptors_from_the_gateway_are_a_violation(
    service: Service, gateway: Callable[[], _Gateway]
) -> None:
    """Nothing can be slipped into the trusted process."""
    other = gateway()
    other.authenticate()
    with open(os.devnull) as file:
        other.channel.send(RUN, (file.fileno(),))

        assert other.hear() is None
    other.thread.join(10)
    assert "seam-violated" in _actions(service)


def test_a_late_signal_after_the_end_is_dropped(gateway: Callable[[], _Gateway]) -> None:
    """It was under way; the session goes on."""
    other = gateway()
    other.authenticate()
    other.ask(RUN)
    assert isinstance(other.hear(), seam.Exited)
    other.channel.send(wire.Signal(wire.SignalName.INT))
    other.channel.send(seam.Drained(0, 0, 0, False))

    assert isinstance(other.ask(RUN), seam.Started)
    assert isinstance(other.hear(), seam.Exited)


def test_a_closed_channel_ends_the_command(service: Service, gateway: Callable[[], _Gateway]) -> None:
    """Whatever became of the gateway."""
    other = gateway()
    other.authenticate()
    other.ask(LONG)
    begun = time.monotonic()
    other.end()

    assert time.monotonic() - begun < 5
    assert _actions(service)[-3:] == ["command-started", "command-killed", "connection-closed"]


def test_a_refused_request_leaves_the_session_open(gateway: Callable[[], _Gateway]) -> None:
    """Refused, and then allowed."""
    other = gateway()
    other.authenticate()
    refused = other.ask(wire.Run("nosuch", wire.Offer.NONE, ""))

    assert refused.code is Code.NOT_PERMITTED
    assert isinstance(other.ask(RUN), seam.Started)
    assert isinstance(other.hear(), seam.Exited)


def test_a_required_certificate_that_is_not_shown_looks_like_a_wrong_token(tmp_path: Path) -> None:
    """Missing, another's, damaged: one answer; the trail has four reasons. The right one is accepted."""
    now = datetime.now(UTC).replace(microsecond=0)
    authority = make_authority("callers", now=now, days=9)
    (tmp_path / "clients.pem").write_bytes(authority.certificate_pem)
    policy = POLICY.replace("{roles: [all]}", "{roles: [all], require: certificate}", 1)
    made = lay_out(
        tmp_path / "d", ["localhost"], settings=f"{SETTINGS}client_ca: ../clients.pem\n", policy=policy
    )
    shown = {
        name: x509.load_pem_x509_certificate(
            issue_client(authority, name, now=now, days=1).certificate_pem
        ).public_bytes(serialization.Encoding.DER)
        for name in ("ann", "bob")
    }
    answers = []
    with opened_service(load_settings(made.config)) as service:
        minted = mint(secrets.token_bytes)
        service.credentials.add(TokenRecord(minted.token_id, minted.digest, "ann", service.clock.now()))
        for certificate, token in (
            (b"", minted.text),
            (shown["bob"], minted.text),
            (b"noise", minted.text),
            (shown["ann"], minted.text[:-1]),
            (shown["ann"], minted.text),
        ):
            one = _Gateway(service, token)
            answers.append(one.ask(seam.Authenticate("192.0.2.7", 1, "TLSv1.3", token.encode(), certificate)))
            one.end()
        reasons = [
            record["event"]["reason"]
            for record in read([service.settings.audit])
            if record["event"]["action"] == "auth-refused"
        ]

    assert [wire.Closed(Code.AUTHENTICATION_FAILED, "authentication failed")] * 4 == answers[:4]
    assert isinstance(answers[4], wire.Accepted)
    assert [
        "'ann' has to show a client certificate",
        "the client certificate does not name 'ann'",
        "client certificate: not a certificate",
        "malformed token",
    ] == reasons


def test_no_refusal_tells_by_its_time_how_soon_something_was_found(service: Service) -> None:
    """All are answered so long after the token came, whatever the work was."""
    known = mint(secrets.token_bytes)
    service.credentials.add(
        TokenRecord(
            known.token_id,
            known.digest,
            "ann",
            service.clock.now(),
            Terms(networks=(ip_network("10.0.0.0/8"),)),
        )
    )
    taken = []
    for token in ("", known.text, mint(secrets.token_bytes).text):
        one = _Gateway(service, token)
        begun = time.monotonic()
        answer = one.authenticate()
        taken.append(time.monotonic() - begun)
        one.end()

        assert isinstance(answer, wire.Closed)
    assert min(taken) >= session._REFUSAL_TIME


def test_too_many_descriptors_in_flight_is_busy(
    gateway: Callable[[], _Gateway], monkeypatch: pytest.MonkeyPatch
) -> None:
    """ETOOMANYREFS: the command is ended again, the caller may try later."""
    send = Channel.send

    def full(channel: Channel, message: Any, descriptors: tuple[int, ...] = ()) -> None:
        if descriptors:
            raise OSError(errno.ETOOMANYREFS, "too many")
        send(channel, message)

    other = gateway()
    other.authenticate()
    monkeypatch.setattr(Channel, "send", full)

    assert other.ask(LONG).code is Code.BUSY
    monkeypatch.undo()
    assert isinstance(other.ask(RUN), seam.Started)
    assert isinstance(other.hear(), seam.Exited)


def test_a_trail_that_fails_after_the_start_ends_the_command_and_the_session(
    service: Service, gateway: Callable[[], _Gateway], monkeypatch: pytest.MonkeyPatch
) -> None:
    """What cannot be recorded does not go on."""
    append = service.trail.append

    def fails(action: Any, context: Any, /, **fields: Any) -> None:
        if action is Action.COMMAND_STARTED:
            raise TrailError("full")
        append(action, context, **fields)

    other = gateway()
    other.authenticate()
    monkeypatch.setattr(service.trail, "append", fails)

    assert isinstance(other.ask(LONG), seam.Started)
    closed = other.hear()
    assert (closed.code, closed.text) == (
        Code.UNAVAILABLE,
        "the audit trail cannot be written; try later",
    )
    assert other.hear() is None


def test_a_principal_that_left_the_policy_cannot_come_back_in(
    service: Service, gateway: Callable[[], _Gateway]
) -> None:
    """Its token looks like any wrong one; an open session may do nothing more."""
    early, late = gateway(), gateway()
    early.authenticate()
    service.settings.policy.write_text(POLICY.replace("ann:", "eve:"))
    service.reload()

    assert late.authenticate().code is Code.AUTHENTICATION_FAILED
    assert early.ask(RUN).code is Code.NOT_PERMITTED
    assert early.ask(wire.List()) == wire.Listed()


def test_reports_become_records(service: Service, gateway: Callable[[], _Gateway]) -> None:
    """With the address and the number the gateway gives."""
    other = gateway()
    for trouble in seam.Trouble:
        other.channel.send(seam.Report(trouble, "192.0.2.9", 7, 3, "why"))
    other.end()
    records = [record for record in read([service.settings.audit]) if record["event"].get("reason") == "why"]

    assert [(record["event"]["action"], record["rexec"]["count"]) for record in records] == [
        ("tls-failed", 3),
        ("auth-refused", 3),
        ("limit-reached", 3),
        ("source-penalized", 3),
        ("certificate-loaded", 3),
        ("certificate-rejected", 3),
        ("certificate-expiring", 3),
    ]
    assert {record["source"]["ip"] for record in records} == {"192.0.2.9"}


def test_a_session_is_ended_between_two_requests_when_the_service_drains(
    service: Service, gateway: Callable[[], _Gateway]
) -> None:
    """Not before it had its first answer, and not while the gateway still moves the output of a command."""
    fresh, busy = gateway(), gateway()
    fresh.authenticate()
    busy.authenticate()
    busy.channel.send(wire.Run("yes", wire.Offer.NONE, "", 0))
    assert isinstance(busy.hear(), seam.Started)
    assert isinstance(busy.hear(), seam.Exited)
    service.stop.draining.set()
    assert isinstance(fresh.ask(wire.Run("nosuch", wire.Offer.NONE, "", 0)), wire.Refused)
    closed = fresh.hear()
    busy.channel.send(seam.Drained(1, 2, 3, truncated=False))

    assert closed == wire.Closed(Code.UNAVAILABLE, RESTARTING)
    assert closed == busy.hear()
    assert "command-drained" in _actions(service)


def test_the_counts_of_a_command_that_has_just_ended_are_waited_for_when_the_service_stops(
    service: Service, gateway: Callable[[], _Gateway]
) -> None:
    """A moment, and no longer."""
    prompt, mute = gateway(), gateway()
    for one in (prompt, mute):
        one.authenticate()
        one.channel.send(wire.Run("yes", wire.Offer.NONE, "", 0))
        assert isinstance(one.hear(), seam.Started)
        assert isinstance(one.hear(), seam.Exited)
    service.stop.set()
    prompt.channel.send(seam.Drained(1, 2, 3, truncated=False))

    assert [STOPPING] * 2 == [prompt.hear().text, mute.hear().text]
    assert 1 == _actions(service).count("command-drained")


def test_a_report_that_is_there_is_recorded_before_the_service_goes(
    service: Service, gateway: Callable[[], _Gateway]
) -> None:
    """What the gateway has sent it does not send again."""
    one = gateway()
    for port in range(20):
        one.channel.send(seam.Report(seam.Trouble.TLS_FAILED, "192.0.2.7", port, 1, "plaintext"))
    service.stop.draining.set()

    assert RESTARTING == one.hear().text
    assert 20 == _actions(service).count("tls-failed")

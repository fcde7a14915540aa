"""Which metrics there are, how they are asked for in parts, and their file."""

import json
import re
import socket
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from rexecd.audit.events import Action
from rexecd.audit.sinks import Condition
from rexecd.cli.init import Layout, lay_out
from rexecd.cli.monitor import opened_service
from rexecd.identity.certificates import expires
from rexecd.limits import MAX_NAME
from rexecd.monitor import admin, tokens
from rexecd.monitor.exposition import Form, render
from rexecd.monitor.measure import certificate_end, metrics
from rexecd.monitor.meter import MOST_RULES, OUTCOMES, Meter
from rexecd.monitor.metrics import Facts, families
from rexecd.monitor.metricsfile import MetricsFile
from rexecd.monitor.service import Service
from rexecd.seam import messages as seam
from rexecd.seam.channel import Channel
from rexecd.settings import load_settings
from tests.catalogues import document_tables
from tests.harness import wait_for
from tests.openmetrics import Read, read
from tests.receivers import Told

POLICY = """\
version: 1
principals:
  ann: {roles: [some]}
roles:
  some: {allow: [disk]}
commands:
  disk: {summary: x, run: /bin/true}
"""
FACTS = Facts(
    is_up=True,
    version="1.0",
    began=1.5,
    policy_digest="ab",
    policy_loaded=2.5,
    is_policy_stale=False,
    rules=3,
    principals=4,
    sessions=5,
    running=6,
    workers_busy=7,
    workers_idle=8,
    tokens=9,
    tokens_expiring=1,
    token_expires=10.0,
    certificate_expires=11.0,
    trail_sequence=12,
    is_trail_healthy=True,
    trail_lost=0,
    trail_owed=0,
    sinks={"journal": Condition(13, 14, 15, None), "syslog": Condition(0, 0, 0, "deaf")},
)


@pytest.fixture
def made(tmp_path: Path) -> Layout:
    """Return a laid out directory."""
    return lay_out(tmp_path, ["localhost"], settings="version: 1\n", policy=POLICY)


@pytest.fixture
def service(made: Layout) -> Iterator[Service]:
    """Give a service without a gateway."""
    with opened_service(load_settings(made.config)) as opened:
        yield opened


def _read(meter: Meter, facts: Facts = FACTS, *, lag: float = 0.0) -> Read:
    return read(render(families(meter, facts, lag=lag), Form.OPENMETRICS))


def test_the_metrics_are_those_of_the_document() -> None:
    """Name, kind and labels of each, in the document's order."""
    meter = Meter()
    meter.certificate_expires = 1.0
    meter.count(Action.COMMAND_EXITED, {"rule": "disk", "exit_code": 0})
    shown = []
    for family in families(meter, FACTS, lag=0.0):
        labels = {label: None for sample in family.samples for label, _ in sample.labels if label != "le"}
        name = family.name + {"counter": "_total", "info": "_info"}.get(family.kind.value, "")
        shown.append((name, family.kind.value, ", ".join(labels) or "none"))

    assert [row[:3] for row in document_tables("AUDIT.md", "8.3 Metrics")[0]] == shown


def test_facts_are_as_they_are() -> None:
    """Each where it belongs."""
    found = _read(Meter(), lag=0.25)

    assert {
        "rexecd_up": 1,
        "rexecd_start_timestamp_seconds": 1.5,
        "rexecd_policy_loaded_timestamp_seconds": 2.5,
        "rexecd_policy_rules": 3,
        "rexecd_policy_principals": 4,
        "rexecd_sessions": 5,
        "rexecd_commands_running": 6,
        "rexecd_tokens": 9,
        "rexecd_token_expiry_timestamp_seconds": 10,
        "rexecd_trail_sequence": 12,
        "rexecd_trail_lag_seconds": 0.25,
    } == {
        name: value
        for (name, labels), value in found.samples.items()
        if not labels and value and not name.startswith("rexecd_tokens_") and name != "rexecd_trail_healthy"
    }
    assert (
        1 == found.value("rexecd_policy_info", digest="ab") == found.value("rexecd_build_info", version="1.0")
    )
    assert 7 == found.value("rexecd_workers", state="busy")
    assert 11 == found.value("rexecd_certificate_expiry_timestamp_seconds", certificate="file")
    assert 14 == found.value("rexecd_sink_dropped_records_total", sink="journal")
    assert [1, 0] == [found.value("rexecd_sink_up", sink=sink) for sink in ("journal", "syslog")]


def test_what_is_not_known_is_left_out() -> None:
    """A zero would be an alarm, or a lie."""
    found = _read(Meter(), FACTS._replace(token_expires=None, certificate_expires=None, sinks={}))

    assert not [name for name, _ in found.samples if "expiry" in name or "sink" in name]


def _largest(service: Service) -> int:
    """Let every label there can be come up; return how many series of commands that is."""
    meter = service.meter
    for outcome in OUTCOMES:
        for number in range(MOST_RULES):
            meter.commands[f"{number:03}".ljust(MAX_NAME, "x"), outcome] = 2**63
        for rule in ("_other", "_none"):
            meter.commands[rule, outcome] = 2**63
    return len(meter.commands)


def test_the_largest_metrics_fit_into_answers(service: Service) -> None:
    """In parts, each of which a packet holds, and all of one moment."""
    series = _largest(service)
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    channel = Channel(ours, seam.ADMIN, timeout=5)
    session = admin.AdminSession(Channel(theirs, seam.ADMIN, timeout=5), service)
    thread = threading.Thread(target=session.run, daemon=True)
    thread.start()
    texts: list[str] = []
    parts = 1
    with ours, theirs:
        while len(texts) < parts:
            channel.send(seam.Metrics(len(texts)))
            answer = channel.receive()
            assert answer
            assert answer.good
            body = json.loads(answer.body)
            texts.append(body["text"])
            parts = body["parts"]
            service.meter.commands["disk", "succeeded"] += 1  # is for whoever asks next
        channel.send(seam.Metrics(parts))
        beyond = channel.receive()
        ours.shutdown(socket.SHUT_RDWR)
        thread.join()
    found = read("".join(texts))

    assert 5 < parts < 16
    assert series == sum(name == "rexecd_commands_total" for name, _ in found.samples)
    assert not found.has("rexecd_commands_total", rule="disk", outcome="succeeded")
    assert beyond == seam.Answer(good=False, body=f"the metrics have no part {parts}: ask for part 0 first")


def test_a_service_is_measured(service: Service) -> None:
    """Its tokens, its certificate, its records, in both forms."""
    made = tokens.create(service, seam.CreateToken("ann", lifetime=3600))
    tokens.create(service, seam.CreateToken("ann", lifetime=90 * 86400))
    for form in Form:
        found = read(metrics(service, form), old=form is Form.PROMETHEUS)

        assert (2, 1) == (found.value("rexecd_tokens"), found.value("rexecd_tokens_expiring"))
        assert 2 == found.value("rexecd_records_total", action="token-created")
        assert found.value("rexecd_trail_sequence") == service.trail.sequence
        end = found.value("rexecd_token_expiry_timestamp_seconds")
        assert 0 <= end - service.began.timestamp() - 3590 < 60
        assert str(made["id"]) not in metrics(service, form)
    tokens.revoke(service, seam.RevokeTokens("", "ann"))
    assert not read(metrics(service, Form.OPENMETRICS)).has("rexecd_token_expiry_timestamp_seconds")


def test_the_certificates_end_is_that_of_its_file(made: Layout) -> None:
    """As the library that makes certificates reads it; a file that is none says nothing."""
    settings = load_settings(made.config)
    end = expires(settings.certificate.read_bytes())

    assert end.timestamp() == certificate_end(settings)
    for text in (b"", b"no", b"-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"):
        settings.certificate.write_bytes(text)
        assert certificate_end(settings) is None
    settings.certificate.unlink()
    assert certificate_end(settings) is None


def test_a_file_is_written_whole_and_again(tmp_path: Path) -> None:
    """For everybody to read, with no other file left beside it; at the end it says so."""
    said = iter(range(10**6))
    path = tmp_path / "rexecd.prom"
    file = MetricsFile(path, lambda up: f"{next(said)} {up}\n", Told(), interval=0.01)
    file.start()
    wait_for(lambda: path.exists() and int(path.read_text().split()[0]) > 3, "a fourth one")
    assert "True" == path.read_text().split()[1]
    file.stop()

    assert "False" == path.read_text().split()[1]
    assert [path] == list(tmp_path.iterdir())
    assert 0o644 == path.stat().st_mode & 0o7777


def test_a_file_that_cannot_be_written_is_told_once(tmp_path: Path) -> None:
    """With a remedy; and that it can, once that is so."""
    log = Told()
    place = tmp_path / "not/there"
    looked = threading.Semaphore(0)

    def describe(_: bool) -> str:
        looked.release()
        return "x\n"

    file = MetricsFile(place / "rexecd.prom", describe, log, interval=0.01)
    file.start()
    for _ in range(5):
        assert looked.acquire(timeout=10)
    fault = file.error
    place.mkdir(parents=True)
    wait_for((place / "rexecd.prom").exists, "the file")
    file.stop()

    assert (f"{place}/rexecd.prom: cannot be written: No such file or directory", None) == (fault, file.error)
    assert 2 == len(log.lines)
    assert re.search(r"make its directory and let uid \d+ write there, or change metrics_file", log.lines[0])
    assert log.lines[1].startswith(f"info: {place}/rexecd.prom: written again")


def test_a_fault_of_ours_ends_nothing(tmp_path: Path) -> None:
    """Metrics are worth nobody's end."""
    log = Told()

    def describe(_: bool) -> str:
        raise KeyError("x")

    file = MetricsFile(tmp_path / "rexecd.prom", describe, log, interval=0.01)
    file.start()
    wait_for(lambda: file.error is not None, "a fault")
    file.stop()

    assert f"{tmp_path}/rexecd.prom: internal error: KeyError" == file.error
    assert 1 == len(log.lines)

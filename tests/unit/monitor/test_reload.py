"""Reading the policy again: whole or not at all, and nobody waits for it."""

import secrets
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from rexecd.audit.search import read
from rexecd.cli.init import lay_out
from rexecd.cli.monitor import opened_service
from rexecd.errors import ConfigError
from rexecd.identity.tokens import TokenRecord, mint
from rexecd.monitor import service as monitor
from rexecd.monitor import tokens
from rexecd.monitor.service import Service
from rexecd.policy.model import Policy
from rexecd.seam import messages as seam
from rexecd.settings import Settings, load_settings

POLICY = "version: 1\ncommands: {x: {summary: x, run: /bin/true}}\n"


@pytest.fixture
def service(tmp_path: Path) -> Iterator[Service]:
    """Give a service without a gateway."""
    made = lay_out(tmp_path, ["localhost"], settings="version: 1\n", policy=POLICY)
    with opened_service(load_settings(made.config)) as opened:
        yield opened


@pytest.mark.parametrize("error", [OSError(5, "Input/output error"), RecursionError(), MemoryError()])
def test_whatever_goes_wrong_the_old_policy_stays(
    service: Service, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    """A fault nobody foresaw is a rejected policy, told to all three."""

    def fail(_: Settings) -> Policy:
        raise error

    before = service.policy
    monkeypatch.setattr(monitor, "load_feasible", fail)
    with pytest.raises(ConfigError, match="internal error"):
        service.reload()
    last = list(read([service.settings.audit]))[-1]

    assert before is service.policy
    assert "internal error" in str(service.status()["policy_error"])
    assert ("policy-rejected", 1) == (last["event"]["action"], last["rexec"]["count"])


def test_tokens_can_be_revoked_while_a_policy_is_read(
    service: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    """However long that takes: a leaked token cannot wait."""
    minted = mint(secrets.token_bytes)
    service.credentials.add(TokenRecord(minted.token_id, minted.digest, "x", created=service.clock.now()))
    reading, over = threading.Event(), threading.Event()
    load = monitor.load_feasible

    def slowly(settings: Settings) -> Policy:
        reading.set()
        over.wait(20)
        return load(settings)

    monkeypatch.setattr(monitor, "load_feasible", slowly)
    thread = threading.Thread(target=service.reload)
    thread.start()
    assert reading.wait(20)
    revoked = tokens.revoke(service, seam.RevokeTokens(minted.token_id, ""))
    is_reading = thread.is_alive()
    over.set()
    thread.join()

    assert is_reading
    assert [minted.token_id] == revoked["ids"]
    assert service.credentials.tokens[minted.token_id].revoked is not None


UNMARKED = """version: 1
principals: {ann: {roles: [all]}}
roles: {all: {allow: ["*"]}}
commands:
  x:
    summary: x
    run: /bin/true
    from: [10.0.0.0/8]
    justification: required
"""


def test_what_looks_cut_short_is_not_put_in_force(service: Service) -> None:
    """A file without marks is all there, or has been changed; its beginning alone would allow more."""
    path = service.settings.policy
    path.write_text(UNMARKED)
    service.reload()
    before = service.policy
    refused = []
    lines = UNMARKED.splitlines(keepends=True)
    for count in range(1, len(lines)):
        path.write_text("".join(lines[:count]))
        with pytest.raises(ConfigError) as caught:
            service.reload()
        refused.append(str(caught.value))

    assert before is service.policy
    assert ["ends where the one in force goes on"] * 2 == [
        "ends where the one in force goes on" if "ends where the one in force goes on" in text else text
        for text in refused[-2:]
    ]
    assert "may have been cut short" in str(service.status()["policy_error"])

    path.write_text(f"---\n{''.join(lines[:-1])}...\n")

    assert service.reload() is service.policy
    assert before is not service.policy


def test_what_was_changed_otherwise_is_put_in_force(service: Service) -> None:
    """Only the beginning of what was there says nothing of what was meant."""
    path = service.settings.policy
    path.write_text(UNMARKED)
    service.reload()
    path.write_text(UNMARKED.replace("    from: [10.0.0.0/8]\n", ""))

    assert () == service.reload().rules["x"].sources


def test_the_status_says_how_many_faults_there_are(service: Service) -> None:
    """The first one, and that there are more."""
    service.settings.policy.write_text("version: 1\ncommands: {x: {summary: x, run: bin, umsk: '1'}}\n")
    with pytest.raises(ConfigError) as caught:
        service.reload()

    assert 2 == len(caught.value.faults)
    assert f"{caught.value.faults[0]} (and 1 more)" == service.status()["policy_error"]

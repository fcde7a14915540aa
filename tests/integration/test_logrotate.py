"""logrotate, with the configuration that docs/AUDIT.md gives, beside a service at work."""

import re
import shutil
import subprocess
import threading
import time
from pathlib import Path

import pytest

from tests.harness import SETTINGS, Daemon, wait_for

ROOT = Path(__file__).parents[2]
LOGROTATE = shutil.which("logrotate", path="/usr/sbin:/usr/bin")


def documented(trail: Path) -> str:
    """Return the document's configuration for a trail of our own user."""
    text = (ROOT / "docs/AUDIT.md").read_text()
    found = re.search(r"^/var/log/rexecd/audit\.jsonl (\{.*?^\})", text, re.MULTILINE | re.DOTALL)
    assert found is not None
    # Only one file a day has a date for a name: a test has no days.
    text = found[1].replace("    su rexecd rexecd\n", "").replace("dateext", "dateext\n    dateformat -%s")
    return f"{trail} {text}\n"


@pytest.mark.slow
@pytest.mark.skipif(LOGROTATE is None, reason="needs logrotate (Debian: apt install logrotate)")
def test_the_documented_configuration_loses_nothing(tmp_path: Path) -> None:
    """Rotated under load, without a signal; all files together verify, compressed ones too."""
    assert LOGROTATE is not None
    audit = "audit: {file: audit/audit.jsonl, step: 50ms}\n"
    daemon = Daemon(tmp_path / "daemon", settings=SETTINGS + audit).start()
    trail = daemon.settings.audit
    config = tmp_path / "logrotate.conf"
    config.write_text(documented(trail))
    config.chmod(0o644)
    rotate = [LOGROTATE, "--force", "--state", str(tmp_path / "state"), str(config)]
    done = threading.Event()

    def work() -> None:
        with daemon.caller() as caller:
            while not done.is_set():
                caller.run("echo x")

    callers = [threading.Thread(target=work) for _ in range(3)]
    try:
        for caller in callers:
            caller.start()
        for _ in range(3):
            sequence = daemon.status()["trail"]["sequence"]
            wait_for(lambda: daemon.status()["trail"]["sequence"] > sequence + 50, "records")  # noqa: B023
            second = int(time.time())
            wait_for(lambda: int(time.time()) > second, "another name")  # noqa: B023
            subprocess.run(rotate, check=True, capture_output=True)
    finally:
        done.set()
        for caller in callers:
            caller.join()
        daemon.stop()
    verified = daemon.rexecd("audit", "verify")
    records = daemon.records()

    assert 0 == verified.returncode, verified.stdout + verified.stderr
    assert list(range(1, len(records) + 1)) == [record["rexec"]["sequence"] for record in records]
    assert list(trail.parent.glob("audit.jsonl-*.gz"))

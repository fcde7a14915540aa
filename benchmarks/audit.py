"""Finding records in a large trail: `make bench-audit`.

A million records of sessions that run one command each are written and sealed once; then the verbs
read them, each in a process of its own, and verify them: with the sealing key, with a checkpoint and
the public key alone, and compressed. Printed are seconds and the most memory that was held. Nothing is
asserted.
"""

import argparse
import gzip
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

from rexecd.audit.checkpoint import Signer
from rexecd.audit.events import Action, compose
from rexecd.audit.seal import Chain

_BEGIN = datetime(2026, 11, 1, tzinfo=UTC)
_VERBS = {
    "show --connection": ["show", "--connection", "c000000000000100"],
    "show --rule (no such)": ["show", "--rule", "nobody.knows"],
    "show --text (one in a thousand)": ["show", "--text", "/srv/0077"],
    "show --action command-refused": ["show", "--action", "command-refused"],
    "show --from NETWORK --since": ["show", "--from", "10.0.7.0/24", "--since", "2026-11-11T00:00Z"],
    "show --limit 20": ["show", "--limit", "20"],
    "show --principal --csv": ["show", "--principal", "p7", "--csv"],
    "show": ["show"],
    "story": ["story", "c000000000000100"],
    "stats": ["stats"],
    "stats --principal --since": ["stats", "--principal", "p7", "--since", "2026-11-11T00:00Z"],
}


def events() -> Iterator[tuple[Action, dict[str, object]]]:
    """Yield the events of session after session, each with one command, and in one of five with a refusal."""
    number = 0
    while True:
        number += 1
        who: dict[str, object] = {
            "connection_id": f"c{number:015x}",
            "address": f"10.0.{number % 40}.{number % 200}",
        }
        yield Action.CONNECTION_OPENED, {**who, "port": 40000 + number % 20000, "tls": "TLSv1.3 TLS_AES_256"}
        who |= {"principal": f"p{number % 20}", "token_id": f"tok{number % 20:05}"}
        yield Action.AUTH_ACCEPTED, who
        asked = {**who, "request_id": f"{who['connection_id']}-1", "policy_digest": "ab" * 32}
        line = f"disk /srv/{number % 1000:04} --unit=G"
        if not number % 5:
            yield (
                Action.COMMAND_REFUSED,
                {**asked, "line": line, "code": "not-permitted", "reason": "no role"},
            )
        rule = {**asked, "rule": f"disk{number % 30}", "rule_place": "policy.yaml:9:3"}
        yield Action.COMMAND_ALLOWED, {**rule, "line": line, "argv": line.split(), "timeout": 60}
        yield Action.COMMAND_STARTED, {**rule, "pid": 1000 + number % 30000}
        yield (
            Action.COMMAND_EXITED,
            {**rule, "pid": 1, "exit_code": number % 7 // 6, "duration": 0.01 * number},
        )
        yield Action.COMMAND_DRAINED, {**rule, "output_bytes": number, "error_output_bytes": 0}
        yield Action.CONNECTION_CLOSED, {**who, "reason": "goodbye"}


def write(path: Path, count: int) -> Chain:
    """Write a sealed trail, and return the chain behind it."""
    chain = Chain.begin(bytes(32))
    with path.open("wb", buffering=1024 * 1024) as file:
        for number, (action, fields) in zip(range(count), events(), strict=False):
            now = _BEGIN + timedelta(seconds=number)
            line, chain = chain.seal(compose(action, fields, now=now))
            file.write(line)
    return chain


def verifying(path: Path, chain: Chain) -> dict[str, list[str]]:
    """Return how the trail is verified, and make what that needs."""
    signer = Signer.create("bench", bytes(32))
    key, public, checkpoint = (path.with_name(name) for name in ("key", "public", "checkpoint"))
    key.write_text(f"{bytes(32).hex()}\n")
    public.write_text(f"{signer.verifier.encode()}\n")
    for each in (key, public):
        each.chmod(0o600)
    checkpoint.write_text(signer.sign(chain.sequence - 1, chain.digest))
    packed = path.with_name("packed.gz")
    with path.open("rb") as source, gzip.open(packed, "wb", 6) as target:
        shutil.copyfileobj(source, target)
    return {
        "verify, sealing key": ["verify", "--key", str(key), str(path)],
        "verify, checkpoint": ["verify", "--key", str(public), "--checkpoint", str(checkpoint), str(path)],
        "verify, sealing key, compressed": ["verify", "--key", str(key), str(packed)],
    }


def main() -> None:
    """Write the trail and read it with each verb."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--records", type=int, default=1_000_000)
    count = parser.parse_args().records
    with tempfile.TemporaryDirectory() as directory:
        path = Path(directory, "audit.jsonl")
        begun = time.monotonic()
        chain = write(path, count)
        size = path.stat().st_size
        took = time.monotonic() - begun
        print(f"{count} records, {size / 1e6:.0f} MB, written and sealed in {took:.1f} s")
        reading = {name: [*words, str(path)] for name, words in _VERBS.items()}
        for name, words in {**reading, **verifying(path, chain)}.items():
            line = [sys.executable, "-I", "-m", "rexecd", "audit", *words]
            begun = time.monotonic()
            with subprocess.Popen(line, stdout=subprocess.PIPE) as process:
                assert process.stdout
                shown = sum(1 for _ in process.stdout)
                _, _, usage = os.wait4(process.pid, 0)
                process.returncode = 0
            took = time.monotonic() - begun
            print(f"{name:34} {took:6.2f} s  {usage.ru_maxrss // 1024:4} MiB  {shown:8} lines")


if __name__ == "__main__":
    main()

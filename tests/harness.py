"""A real daemon, both processes, on a port of its own, and callers to use it with."""

import contextlib
import functools
import json
import os
import signal
import socket
import ssl
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Self

import pytest

from rexecd.audit.lines import whole
from rexecd.cli.init import Layout, lay_out
from rexecd.cli.monitor import opened_service
from rexecd.monitor import tokens
from rexecd.seam import messages as seam
from rexecd.settings import load_settings
from rexecd.wire import messages as wire
from rexecd.wire.connection import Connection, Role

COMMANDS = Path(__file__).parent / "data" / "commands"
#: More where a machine is only emulated.
PATIENCE = float(os.environ.get("TEST_PATIENCE", "20"))

#: Root's commands would by default run as somebody who may not enter the tests' directories.
AS_OURSELVES = "" if os.geteuid() else "run_as: root\n"
SETTINGS = f"""\
version: 1
listen: "127.0.0.1:0"
banner: |
  Welcome to the test house.
max_connections: 40
reserved_connections: 0
exempt: [127.0.0.1, "::1"]
grace_time: 1500ms
write_timeout: 3s
monitor_wait: 1500ms
kill_grace: 400ms
drain: 0s
stop_time: 4s
{AS_OURSELVES}"""

POLICY = f"""\
version: 1
principals:
  ann: {{roles: [tester]}}
  bob: {{roles: [guest]}}
roles:
  tester: {{allow: ["*"], deny: [forbidden]}}
  guest: {{allow: [echo]}}
commands:
  echo:
    summary: Print one word
    run: /bin/echo {{word}}
    parameters:
      word: {{type: text, max: 4000}}
  many:
    summary: Every type of parameter of this version
    run: [{sys.executable}, -I, {COMMANDS}/describe.py, "{{color}}", "--count={{count}}", "{{name}}",
          "{{tag}}", "{{place}}", "{{loud}}", "{{note}}"]
    parameters:
      color: {{type: choice, of: [red, green]}}
      count: {{type: integer, min: 1, max: 10}}
      name: {{type: word}}
      tag: {{type: pattern, matches: "v[0-9]+(\\\\.[0-9]+)*"}}
      place: {{type: path, under: [/usr], default: /usr/bin}}
      note: {{type: text, default: none}}
      loud: {{type: flag, adds: [--loud, very]}}
  describe:
    summary: Say what a command finds
    run: {sys.executable} -I {COMMANDS}/describe.py
    environment: {{HOUSE: test}}
    working_directory: /usr
  both:
    summary: Write to both streams and exit with 3
    run: [/bin/sh, -c, "echo out; echo err >&2; exit 3"]
  forbidden:
    summary: Nobody may run this
    run: /bin/echo forbidden
  missing:
    summary: A program that is not there
    run: /nonexistent/program
  cat:
    summary: Give back what comes in
    run: /bin/cat
    stdin: accept
  count:
    summary: Count what comes in
    run: /usr/bin/wc -c
    stdin: require
  deaf:
    summary: End without reading any input
    run: [/bin/sh, -c, "echo done"]
    stdin: accept
  sleep:
    summary: Sleep for long
    run: /bin/sleep 300
  stubborn:
    summary: Ignore TERM, and have a child that does
    run: [/bin/sh, -c, "trap '' TERM INT; echo up; /bin/sleep 300 & while :; do /bin/sleep 1; done"]
  brief:
    summary: Take longer than allowed
    run: [/bin/sh, -c, "echo begun; /bin/sleep 300"]
    timeout: 300ms
  background:
    summary: Leave a grandchild of another session that holds the output open
    run: {sys.executable} -I {COMMANDS}/background.py
  family:
    summary: Leave a child in the group
    run: [/bin/sh, -c, "/bin/sleep 300 & echo $!"]
  zeros:
    summary: Write many bytes
    run: /usr/bin/head -c {{bytes}} /dev/zero
    parameters:
      bytes: {{type: integer, min: 0, max: 4000000000}}
  flood:
    summary: Write for ever
    run: /usr/bin/yes
    timeout: 20s
  capped:
    summary: Write more than may be seen
    run: [/bin/sh, -c, "/usr/bin/head -c 100000 /dev/zero; echo end >&2; exit 5"]
    limits: {{output: 10KiB}}
  trap:
    summary: Say which signal came
    run: [/bin/sh, -c, "trap 'echo int; exit 7' INT; echo ready; while :; do /bin/sleep 0.05; done"]
  farewell:
    summary: Have a last word when asked to end
    run: [/bin/sh, -c, "trap 'echo bye; exit 0' TERM; echo ready; while :; do /bin/sleep 0.05; done"]
  self:
    summary: Die of a signal
    run: [/bin/sh, -c, "kill -SEGV $$"]
  script:
    summary: Write text of many scripts
    run: [{sys.executable}, -I, -X, utf8, -c, "print('世界 мир שלום 🎈é' * 20000)"]
"""


def wait_for(question: Callable[[], Any], what: str = "a condition") -> Any:
    """Return the first true answer; fail when none comes in time."""
    deadline = time.monotonic() + PATIENCE
    while time.monotonic() < deadline:
        answer = question()
        if answer:
            return answer
        time.sleep(0.01)
    pytest.fail(f"waited in vain for {what}")


def as_login(uid: int, line: Sequence[str]) -> list[str]:
    """Return a command line that runs another one as after a login of that user; skip where none can be."""
    begin = ["/bin/sh", "-c", 'echo "$0" > /proc/self/loginuid && exec "$@"', str(uid)]
    if subprocess.run([*begin, "/bin/true"], stderr=subprocess.DEVNULL, check=False).returncode:
        pytest.skip("the login uid cannot be set here")
    return [*begin, *line]


def is_alive(pid: int) -> bool:
    """Return whether a process runs (a zombie does not)."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return False
    return stat.rpartition(")")[2].split()[0] not in "ZX"


def children(pid: int) -> list[int]:
    """Return the children of a process."""
    listed: list[int] = []
    for task in Path(f"/proc/{pid}/task").glob("*/children"):
        with contextlib.suppress(OSError):
            listed += [int(word) for word in task.read_text().split()]
    return listed


def _has_ipv6() -> bool:
    """Return whether the loopback has its address: a kernel may know IPv6 and not use it."""
    try:
        with socket.create_server(("::1", 0), family=socket.AF_INET6):
            return socket.has_dualstack_ipv6()
    except OSError:
        return False


needs_ipv6 = pytest.mark.skipif(not _has_ipv6(), reason="no IPv6 here")


@functools.cache
def _parse(line: str) -> dict[str, Any]:
    """Return a record; the same lines are asked for again and again."""
    parsed: dict[str, Any] = json.loads(line)
    return parsed


class Caller:
    """A caller that speaks the protocol by hand, and can misspeak."""

    def __init__(
        self, daemon: "Daemon", token: str | None = None, *, source: str = "", pair: Path | None = None
    ) -> None:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.load_verify_locations(daemon.made.authority)
        context.set_alpn_protocols(["rexec/1"])
        if pair is not None:
            context.load_cert_chain(pair, pair.with_suffix(".key"))
        raw = daemon.connect(source)
        self.tls = context.wrap_socket(raw, server_hostname="127.0.0.1")
        self.connection = Connection(Role.CLIENT)
        self.accepted: wire.Accepted | None = None
        self.answer: wire.Message | None = None
        if token is not None:
            self.say(wire.Authenticate(token.encode()))
            self.answer = self.hear()
            if isinstance(self.answer, wire.Accepted):
                self.accepted = self.answer

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.tls.close()

    def say(self, message: wire.Message) -> None:
        """Send one message."""
        self.tls.sendall(self.connection.send(message))

    def hear(self) -> wire.Message:
        """Return the next message, or None when the server ends the connection."""
        while (message := self.connection.next_message()) is None:
            try:
                data = self.tls.recv(65536)
            except (ConnectionError, ssl.SSLError):
                data = b""
            if not data:
                return None
            self.connection.receive(data)
        return message

    def run(self, line: str, offer: wire.Offer = wire.Offer.NONE) -> list[wire.Message]:
        """Run one command and return every message up to its end."""
        self.say(wire.Run(line, offer, ""))
        heard: list[wire.Message] = []
        while not heard or not isinstance(heard[-1], wire.Exit | wire.Refused | wire.Closed | None):
            heard.append(self.hear())
        return heard


class Daemon:
    """`rexecd serve` in a directory of its own."""

    def __init__(self, directory: Path, *, settings: str = SETTINGS, policy: str = POLICY) -> None:
        self.made: Layout = lay_out(directory, ["127.0.0.1", "localhost"], settings=settings, policy=policy)
        self.settings = load_settings(self.made.config)
        with opened_service(self.settings) as service:
            self.tokens = {
                name: str(tokens.create(service, seam.CreateToken(name))["token"])
                for name in service.policy.principals
            }
        self.process: subprocess.Popen[str] | None = None
        self.port = 0
        #: Everywhere it listens, as it says itself.
        self.addresses: list[str] = []

    def start(self, *before: str) -> "Daemon":
        """Start both processes and wait until they are ready; `before` stands before their program."""
        self.errors = (self.made.config.parent / "stderr").open("a+")
        self.process = subprocess.Popen(
            [*before, sys.executable, "-I", "-m", "rexecd", "serve", "--config", str(self.made.config)],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=self.errors,
            text=True,
        )
        line = self.process.stdout.readline() if self.process.stdout else ""
        assert line.startswith("rexecd: ready on 127.0.0.1:"), self.complaints()
        self.addresses = line.removeprefix("rexecd: ready on ").strip().split(", ")
        self.port = int(self.addresses[0].rpartition(":")[2])
        return self

    def stop(self) -> int:
        """Stop both in order and return the exit status."""
        if self.process is None:
            return 0
        self.process.terminate()
        return self.wait()

    def kill(self) -> None:
        """Kill both processes and `serve`, as a power cut would."""
        assert self.process is not None
        for pid in (self.monitor_pid, self.gateway_pid):
            os.kill(pid, signal.SIGKILL)
        self.wait()

    def wait(self) -> int:
        """Wait for the end of `serve`, close what it was given, and return its exit status."""
        assert self.process is not None
        status = self.process.wait(PATIENCE)
        if self.process.stdout:
            self.process.stdout.close()
        self.errors.close()
        self.process = None
        return status

    @property
    def monitor_pid(self) -> int:
        """Return the monitor's process id."""
        return self._child("monitor")

    @property
    def gateway_pid(self) -> int:
        """Return the gateway's process id."""
        return self._child("gateway")

    @property
    def launcher_pid(self) -> int:
        """Return the process id of what workers are forked from."""
        for pid in children(self.monitor_pid):
            if b"rexecd.execution.launcher" in Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0"):
                return pid
        raise LookupError("launcher")

    def _child(self, verb: str) -> int:
        assert self.process is not None
        for pid in children(self.process.pid):
            if verb in Path(f"/proc/{pid}/cmdline").read_text().split("\0"):
                return pid
        raise LookupError(verb)

    def resident(self) -> int:
        """Return the resident memory of both processes in bytes."""
        pages = [
            Path(f"/proc/{pid}/statm").read_text().split()[1] for pid in (self.monitor_pid, self.gateway_pid)
        ]
        return sum(map(int, pages)) * os.sysconf("SC_PAGE_SIZE")

    def held(self) -> dict[str, int]:
        """Return how many threads and descriptors each process has."""
        pids = {"monitor": self.monitor_pid, "gateway": self.gateway_pid}
        return {
            f"{name}: {what}": len(os.listdir(f"/proc/{pid}/{where}"))
            for name, pid in pids.items()
            for what, where in (("threads", "task"), ("descriptors", "fd"))
        }

    @property
    def address(self) -> str:
        """Return what callers connect to."""
        return f"127.0.0.1:{self.port}"

    def complaints(self) -> str:
        """Return what both processes wrote to standard error."""
        return (self.made.config.parent / "stderr").read_text()

    def rexec(self, *arguments: str, token: str = "ann", **options: Any) -> subprocess.CompletedProcess[Any]:
        """Run the real `rexec` against this daemon; COMMAND and its arguments come last."""
        options = {"capture_output": True, "text": True, "timeout": PATIENCE} | options
        if "input" not in options and "stdin" not in options:
            options["stdin"] = subprocess.DEVNULL
        return subprocess.run(self.rexec_line(*arguments, token=token), check=False, **options)

    def rexec_line(self, *arguments: str, token: str = "ann") -> list[str]:
        """Return the command line of `rexec`; `HOST` in the arguments stands for the address."""
        given = list(arguments) if "HOST" in arguments else ["HOST", *arguments]
        given[given.index("HOST")] = self.address
        # Not by its secret: file names stand in command lines.
        file = self.made.config.parent / f"token-{token[4:12] if token.startswith('rxt_') else token}"
        if not file.exists():
            file.touch(mode=0o600)
            file.write_text(self.tokens.get(token, token))
        trust = ["--ca", str(self.made.authority), "--token-file", str(file)]
        return [sys.executable, "-I", "-m", "rexecd.cli.rexec", *trust, *given]

    def status(self) -> dict[str, Any]:
        """Return what `rexecd status` says."""
        found: dict[str, Any] = json.loads(self.rexecd("status", "--json").stdout)
        return found

    def rexecd(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        """Run the real `rexecd` on this daemon's settings."""
        line = [sys.executable, "-I", "-m", "rexecd", *arguments, "--config", str(self.made.config)]
        return subprocess.run(line, check=False, capture_output=True, text=True, timeout=PATIENCE)

    def rexecd_read_once(self, *arguments: str) -> tuple[int, bytes]:
        """Run the operator's program for a reader who goes after a line; return status and complaints."""
        line = [sys.executable, "-I", "-m", "rexecd", *arguments, "--config", str(self.made.config)]
        with subprocess.Popen(line, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
            assert process.stdout
            assert process.stderr
            process.stdout.readline()
            process.stdout.close()
            complaint = process.stderr.read()
        return process.returncode, complaint

    def connect(self, source: str = "") -> socket.socket:
        """Connect, from an address of one's own on the loopback (127.0.0.5) where it matters."""
        return socket.create_connection(
            ("127.0.0.1", self.port), timeout=PATIENCE, source_address=(source, 0) if source else None
        )

    def caller(self, token: str | None = "ann", *, source: str = "", pair: Path | None = None) -> Caller:
        """Return a caller that speaks the protocol by hand.

        `source` is as for `connect`, `pair` a client certificate; its key is beside it.
        """
        named = None if token is None else self.tokens.get(token, token)
        return Caller(self, named, source=source, pair=pair)

    def records(self, action: str | None = None, **fields: Any) -> list[dict[str, Any]]:
        """Return the records of the trail with this action and these `rexec` or event fields."""
        found = [
            _parse(line.data.decode()) for line in whole(self.settings.audit) if line.data.endswith(b"}\n")
        ]
        return [
            record
            for record in found
            if action in (None, record["event"]["action"])
            and all(
                value in (record["rexec"].get(name), record["event"].get(name))
                for name, value in fields.items()
            )
        ]

    def wait_for_record(self, action: str, **fields: Any) -> dict[str, Any]:
        """Return the first such record, once it is there."""
        try:
            found: list[dict[str, Any]] = wait_for(lambda: self.records(action, **fields), action)
        except pytest.fail.Exception:
            print(*self.records()[-20:], sep="\n")
            raise
        return found[0]

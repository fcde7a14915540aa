"""Another host, as far as the network goes: a namespace at the other end of a virtual cable. For root."""

import contextlib
import os
import subprocess
from collections.abc import Iterator
from typing import Self

import pytest

from tests.harness import PATIENCE, wait_for


class Away:
    """A network namespace at the other end of a cable, whose answers can be lost."""

    _made = 0

    def __init__(self) -> None:
        Away._made += 1
        self._number = (os.getpid() * 3 + Away._made) % 250
        self.here, self.there = f"198.18.{self._number}.1", f"198.18.{self._number}.2"
        self.here6, self.there6 = f"2001:db8:{self._number:x}::1", f"2001:db8:{self._number:x}::2"

    def __enter__(self) -> Self:
        self._holder = subprocess.Popen(["unshare", "-n", "sleep", "600"])
        wait_for(lambda: os.stat(self._net) != os.stat("/proc/self/ns/net"), "a namespace")
        self._near = near = f"rx{self._number}a"
        far = f"rx{self._number}b"
        self._run(
            "ip", "link", "add", near, "type", "veth", "peer", "name", far, "netns", str(self._holder.pid)
        )
        self._run("ip", "addr", "add", f"{self.here}/24", "dev", near)
        self._run("ip", "addr", "add", f"{self.here6}/64", "dev", near, "nodad")
        self._run("ip", "link", "set", near, "up")
        self.run("ip", "addr", "add", f"{self.there}/24", "dev", far)
        for last in (2, 3):
            self.run("ip", "addr", "add", f"2001:db8:{self._number:x}::{last}/64", "dev", far, "nodad")
        self.run("ip", "link", "set", far, "up")
        return self

    def __exit__(self, *_: object) -> None:
        self._run("ip", "link", "del", self._near)
        self._holder.kill()
        self._holder.wait()

    @property
    def _net(self) -> str:
        return f"/proc/{self._holder.pid}/ns/net"

    @staticmethod
    def _run(*line: str) -> None:
        subprocess.run(line, check=True, capture_output=True, timeout=PATIENCE)

    def line(self, *line: str) -> list[str]:
        """Return a command line that runs there."""
        return ["nsenter", f"--net={self._net}", *line]

    def run(self, *line: str) -> None:
        """Run something there."""
        self._run(*self.line(*line))

    def lose_answers(self) -> None:
        """From now on nothing comes back."""
        self.run("ip", "route", "add", "blackhole", f"{self.here}/32")
        self.run("ip", "-6", "route", "add", "blackhole", f"{self.here6}/128")


@contextlib.contextmanager
def cable() -> Iterator[Away]:
    """Give such a host; skip the test where there can be none."""
    line = ["unshare", "-n", "ip", "link", "add", "rxprobe", "type", "veth"]
    try:
        probe = subprocess.run(line, check=False, capture_output=True, timeout=PATIENCE)
    except FileNotFoundError as error:
        pytest.skip(f"no {error.filename} here")
    if probe.returncode:
        pytest.skip("no network namespace with a virtual cable can be made here")
    with Away() as made:
        yield made

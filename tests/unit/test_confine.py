"""What a process denies itself, seen from inside and by the kernel."""

import platform
import resource
import signal
import struct
import subprocess
import sys

import pytest

from rexecd import confine
from rexecd.errors import ConfigError


def _run(program: str) -> str:
    """Run Python in a process of its own, since all of this is for good."""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    return done.stdout


def test_exec_is_denied_in_every_thread_also_those_that_were_there_before() -> None:
    """The filter is synchronised to all threads, and new ones inherit it."""
    program = """
import os, threading
from rexecd.confine import deny_exec
go = threading.Event()
def attempt():
    go.wait()
    try:
        os.execv("/bin/true", ["true"])
    except OSError as error:
        print(error.strerror)
early = threading.Thread(target=attempt); early.start()
deny_exec(); go.set(); early.join()
late = threading.Thread(target=attempt); late.start(); late.join()
if (child := os.fork()) == 0:
    attempt(); os._exit(0)
os.waitpid(child, 0)
"""

    assert _run(program).splitlines() == ["Operation not permitted"] * 3


def test_an_unknown_machine_does_not_start_unconfined(monkeypatch: pytest.MonkeyPatch) -> None:
    """Fail closed."""
    monkeypatch.setattr(platform, "machine", lambda: "vax")

    with pytest.raises(ConfigError, match="cannot deny itself exec on 'vax'"):
        confine.deny_exec()


@pytest.mark.parametrize("machine", sorted(confine._MACHINES))
def test_every_jump_of_the_filter_lands_where_it_should(machine: str) -> None:
    """Interpreted here for each architecture: foreign ones, x32, execve and execveat are denied."""
    facts = confine._MACHINES[machine]
    code = confine._exec_filter(facts)
    rows = [struct.unpack_from("=HBBI", code, at) for at in range(0, len(code), 8)]

    def verdict(architecture: int, number: int) -> bool:
        at, word = 0, 0
        while True:
            operation, if_true, if_false, operand = rows[at]
            match operation:
                case confine._LOAD:
                    word = number if operand == 0 else architecture
                    at += 1
                case confine._JUMP_IF_EQUAL:
                    at += 1 + (if_true if word == operand else if_false)
                case confine._JUMP_IF_AT_LEAST:
                    at += 1 + (if_true if word >= operand else if_false)
                case _:
                    return bool(operand == confine._SECCOMP_RET_ALLOW)

    here = facts.architecture
    denied = [(here, facts.execve), (here, facts.execveat), (here ^ 1, 0)]
    if machine == "x86_64":
        denied.append((here, confine._X32_BIT + 520))

    assert [verdict(*call) for call in denied] == [False] * len(denied)
    assert [verdict(here, number) for number in range(450) if not verdict(here, number)] == [False, False]


def test_a_hidden_process_cannot_be_read_and_leaves_no_core() -> None:
    """Not dumpable: the kernel gives its memory to nobody without CAP_SYS_PTRACE."""
    program = """
import ctypes, resource
from rexecd.confine import hide_memory
hide_memory()
print(ctypes.CDLL(None).prctl(3, 0, 0, 0, 0), resource.getrlimit(resource.RLIMIT_CORE))
"""

    assert _run(program) == "0 (0, 0)\n"


def test_ignored_and_blocked_signals_are_given_back() -> None:
    """What nohup and shells leave behind would otherwise reach every command."""
    program = """
import signal
from rexecd.confine import restore_signals
signal.signal(signal.SIGHUP, signal.SIG_IGN)
signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGTERM])
restore_signals()
print(signal.getsignal(signal.SIGHUP).name, signal.pthread_sigmask(signal.SIG_BLOCK, []))
"""

    assert _run(program) == "SIG_DFL set()\n"
    assert signal.getsignal(signal.SIGPIPE) is signal.SIG_IGN


def test_limits_that_cannot_fit_are_refused_at_start() -> None:
    """Who would run out of descriptors under load hears of it before."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)

    with pytest.raises(ConfigError, match="max_connections: 9 needs"):
        confine.raise_descriptor_limit(hard + 1, what="max_connections: 9")


def test_the_soft_limit_is_lifted_as_far_as_needed() -> None:
    """And no further: commands inherit it."""
    program = """
import resource
from rexecd.confine import raise_descriptor_limit
hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
resource.setrlimit(resource.RLIMIT_NOFILE, (64, hard))
raise_descriptor_limit(65, what="x")
print(resource.getrlimit(resource.RLIMIT_NOFILE) == (65, hard))
"""

    assert _run(program) == "True\n"


def test_inheritable_capabilities_are_given_up_and_nothing_else() -> None:
    """What this process may do itself stays."""
    program = """
import re
from rexecd.confine import drop_inheritable
def sets():
    text = open("/proc/thread-self/status").read()
    return dict(re.findall(r"Cap(Inh|Prm|Eff|Amb):\\s*(\\w+)", text))
before = sets()
drop_inheritable()
print(sets() == before | {"Inh": "0" * 16, "Amb": "0" * 16})
"""

    assert _run(program) == "True\n"

"""What a call of `rexec` loads: all it needs, and nothing else."""

import json
import subprocess
import sys

from tests.harness import PATIENCE, Daemon

#: What a call uses of the standard library; whatever these load themselves comes with them.
USED = "binascii contextlib enum gc math os re resource select shlex signal socket ssl stat"

if sys.version_info >= (3, 14):  # where rexecd.typed is typing itself
    USED += " typing"

#: Our own part of it.
OURS = """
rexecd
rexecd.cli
rexecd.cli.call
rexecd.cli.firstuse
rexecd.cli.interrupts
rexecd.cli.rexec
rexecd.cli.running
rexecd.cli.say
rexecd.client
rexecd.client.address
rexecd.client.arguments
rexecd.client.configuration
rexecd.client.conversation
rexecd.client.credentials
rexecd.client.deadline
rexecd.client.dial
rexecd.client.errors
rexecd.client.exchange
rexecd.client.keywords
rexecd.client.link
rexecd.client.options
rexecd.client.request
rexecd.client.results
rexecd.client.runner
rexecd.client.session
rexecd.client.trust
rexecd.codec
rexecd.errors
rexecd.limits
rexecd.portable
rexecd.typed
rexecd.wire
rexecd.wire.connection
rexecd.wire.frames
rexecd.wire.messages
rexecd.wire.states
rexecd.wire.transport
"""

_CALL = """
import json, sys
from rexecd.cli.rexec import main
status = main(sys.argv[1:])
print(json.dumps([status, sorted(sys.modules)]))
"""
_ALONE = "import json, sys, {}; print(json.dumps(sorted(sys.modules)))"


def test_a_call_loads_what_it_needs_and_nothing_else(daemon: Daemon) -> None:
    """One that runs a command, over a real connection, by an authority and a file with a token.

    A name that is missing below is time that every call would take from here on.
    """
    words = daemon.rexec_line("HOST", "echo", "x")
    words = words[words.index("rexecd.cli.rexec") + 1 :]
    # Twice: what compiles a module that was never loaded is not what a call needs.
    for _ in range(2):
        ran = subprocess.check_output([sys.executable, "-I", "-c", _CALL, *words], timeout=PATIENCE)
    alone = subprocess.check_output([sys.executable, "-I", "-c", _ALONE.format(USED.replace(" ", ", "))])
    printed, told = ran.splitlines()
    status, loaded = json.loads(told)

    assert (b"x", 0) == (printed, status)
    assert OURS.split() == [name for name in loaded if name.split(".")[0] == "rexecd"]
    assert [] == sorted({name for name in loaded if name.split(".")[0] != "rexecd"} - set(json.loads(alone)))

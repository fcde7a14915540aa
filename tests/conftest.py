"""What holds for all tests."""

import os
import signal

from hypothesis import HealthCheck, settings

from rexecd.confine import restore_signals

# A slow machine is no failure: how long examples take to make and to try is not what is tested.
settings.register_profile("rexecd", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("rexecd")

# Started in the background (`nohup`, a shell's `&`) the suite would hand ignored signals on to the programs
# it interrupts, and those rightly keep to it.
restore_signals()
if signal.getsignal(signal.SIGINT) is signal.SIG_DFL:
    signal.signal(signal.SIGINT, signal.default_int_handler)

# What whoever runs the tests has configured for himself is not what is tested, and his home is not for what
# they leave: below a device nobody makes a directory, root neither.
os.environ["XDG_CONFIG_HOME"] = "/nonexistent"
os.environ["XDG_CACHE_HOME"] = "/dev/null"

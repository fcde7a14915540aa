"""A hardened remote-execution daemon: a limited set of commands on a server, without a shell."""

__version__ = "0.1.0"

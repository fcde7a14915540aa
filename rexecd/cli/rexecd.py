"""The operator's program: the arguments of every verb, and which file does it.

A verb's file is imported only when it is asked for: the gateway must not even hold the code
that decides or executes.
"""

import argparse
import importlib
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Final, NamedTuple

from rexecd import __version__
from rexecd.cli import say
from rexecd.cli.arguments import add_arguments
from rexecd.errors import ConfigError, RexecError

_INSTALLED: Final = Path("/etc/rexecd/rexecd.yaml")

_FINDING: Final = 1
#: As a shell says of a program whose reader went away, and of one that was interrupted.
_BROKEN_PIPE: Final = 141
_INTERRUPTED: Final = 130


class _Verb(NamedTuple):
    """Where a verb is done: `module:function`, and what it says of itself."""

    where: str
    summary: str


_VERBS: Final = {
    "demo": _Verb("demo:demo", "run the whole thing on loopback in a temporary directory"),
    "init": _Verb("init:init", "lay out configuration, certificates and state in a directory"),
    "serve": _Verb("serve:serve", "run gateway and monitor together"),
    "gateway": _Verb("gateway:gateway", "run the exposed process"),
    "monitor": _Verb("monitor:monitor", "run the trusted process"),
    "check": _Verb("check:check", "check settings, policy, certificate and state"),
    "config show": _Verb("config:show", "print the settings in effect, or the policy in one piece"),
    "config schema": _Verb("config:schema", "print the JSON Schema of the policy or the settings"),
    "policy explain": _Verb("policy:explain", "say what would come of a request, and why"),
    "policy list": _Verb("policy:list_power", "show all that a principal may run"),
    "policy diff": _Verb("policydiff:diff", "say who gains and who loses what between two policies"),
    "token create": _Verb("token:create", "make a token for a principal; it is shown once"),
    "token list": _Verb("token:show", "show the tokens, never their secrets"),
    "token revoke": _Verb("token:revoke", "end a token at once, or all of a principal"),
    "token rotate": _Verb("token:rotate", "make a token in place of another, which goes on for a while"),
    "token mint": _Verb("token:make", "make a token without any server, to be imported by its digest"),
    "token import": _Verb("token:take", "accept a token made elsewhere, by its digest"),
    "token purge": _Verb("token:purge", "forget tokens that have been dead for some time"),
    "cert init": _Verb("cert:init", "make a small authority for one site"),
    "cert issue": _Verb("cert:issue", "issue a certificate to a server or to a principal"),
    "cert renew": _Verb("cert:prolong", "issue a certificate anew for the same key and names"),
    "cert revoke": _Verb("cert:revoke", "refuse a client certificate from now on"),
    "cert show": _Verb("cert:show", "show what certificates say, and what is revoked"),
    "audit show": _Verb("audit:show", "print the trail, or what is asked for of it, a line each record"),
    "audit follow": _Verb("audit:follow", "print what is recorded from now on"),
    "audit stats": _Verb("audit:stats", "say who ran what how often, what took longest, who was refused"),
    "audit story": _Verb("audit:story", "tell one connection from its beginning to its end"),
    "audit verify": _Verb("verify:verify", "find the first record that was touched"),
    "audit init-key": _Verb("verify:init_key", "make the trail's keys, and show the auditor's half once"),
    "reload": _Verb("operate:reload", "put a changed policy in force"),
    "status": _Verb("status:status", "say how the running service is"),
    "install": _Verb("install:install", "make a service of it, started at boot"),
    "uninstall": _Verb("install:uninstall", "stop the service and remove its units"),
}
_WITHOUT_CONFIG: Final = {"demo", "init", "install", "uninstall", "token mint"}
_GROUPS: Final = {
    "config": "show what is in effect, and what may be written",
    "policy": "explain, list and compare what the policy allows",
    "token": "make, show, exchange and end tokens",
    "cert": "make, issue, renew, revoke and show certificates",
    "audit": "search, follow, sum up and verify the trail",
}


def build_parser() -> argparse.ArgumentParser:
    """Return the parser of every verb."""
    parser = argparse.ArgumentParser(
        prog="rexecd",
        description="Run a limited set of commands for callers with tokens. Not the BSD rexecd.",
        allow_abbrev=False,
    )
    parser.add_argument("-V", "--version", action="version", version=f"rexecd {__version__}")
    verbs = parser.add_subparsers(metavar="VERB", required=True)
    groups = {
        name: verbs.add_parser(name, help=text, description=text, allow_abbrev=False).add_subparsers(
            metavar="VERB", required=True
        )
        for name, text in _GROUPS.items()
    }
    parsers = {}
    for name, verb in _VERBS.items():
        group, _, word = name.rpartition(" ")
        made = (groups[group] if group else verbs).add_parser(
            word, help=verb.summary, description=verb.summary, allow_abbrev=False
        )
        made.set_defaults(where=verb.where)
        if name not in _WITHOUT_CONFIG:
            made.add_argument("--config", metavar="FILE", type=Path, default=None, help="the settings file")
        parsers[name] = made
    add_arguments(parsers)
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """Do one verb and return its exit status: 0 good, 1 a finding, 2 usage."""
    arguments = build_parser().parse_args(argv)
    if getattr(arguments, "config", None) is None:
        here = Path("rexecd.yaml")
        arguments.config = here if here.exists() else _INSTALLED
    module, function = arguments.where.split(":")
    try:
        work = getattr(importlib.import_module(f"rexecd.cli.{module}"), function)
        return int(work(arguments))
    except ConfigError as error:
        for fault in error.faults:
            say.error("rexecd", fault)
        return _FINDING
    except BrokenPipeError:  # `rexecd audit show | head`
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return _BROKEN_PIPE
    except (RexecError, OSError) as error:
        say.error("rexecd", str(error))
        return _FINDING
    except KeyboardInterrupt:
        return _INTERRUPTED


if __name__ == "__main__":
    sys.exit(main())

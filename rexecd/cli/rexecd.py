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
from rexecd.errors import ConfigError, RexecError
from rexecd.settingkeys import address

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
    "policy diff": _Verb("policy:diff", "say who gains and who loses what between two policies"),
    "token create": _Verb("operate:token_create", "make a token for a principal; it is shown once"),
    "token list": _Verb("operate:token_list", "show the tokens, never their secrets"),
    "token revoke": _Verb("operate:token_revoke", "end a token at once"),
    "audit show": _Verb("operate:audit_show", "print the trail, a line each record"),
    "audit verify": _Verb("operate:audit_verify", "find the first record that was touched"),
    "reload": _Verb("operate:reload", "put a changed policy in force"),
    "status": _Verb("status:status", "say how the running service is"),
    "install": _Verb("install:install", "make a service of it, started at boot"),
    "uninstall": _Verb("install:uninstall", "stop the service and remove its units"),
}
_WITH_JSON: Final = (
    "check",
    "config show",
    "policy explain",
    "policy list",
    "policy diff",
    "token list",
    "audit show",
    "status",
)
_WITHOUT_CONFIG: Final = {"demo", "init", "install", "uninstall"}
_GROUPS: Final = {
    "config": "show what is in effect, and what may be written",
    "policy": "explain, list and compare what the policy allows",
    "token": "make, show and end tokens",
    "audit": "read and verify the trail",
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
        if word not in _WITHOUT_CONFIG:
            made.add_argument("--config", metavar="FILE", type=Path, default=None, help="the settings file")
        parsers[name] = made
    _add_arguments(parsers)
    return parser


def _add_arguments(parsers: dict[str, argparse.ArgumentParser]) -> None:
    """Add what each verb takes besides --config."""
    init = parsers["init"]
    init.add_argument("directory", metavar="DIR", nargs="?", type=Path, default=Path())
    init.add_argument("--host", metavar="NAME", action="append", help="a name or address callers use")
    _add_install_arguments(parsers)
    for name in ("serve", "gateway"):
        parsers[name].add_argument(
            "--listen",
            metavar="ADDR:PORT",
            type=_listen,
            action="append",
            help="instead of the settings' addresses; may be repeated",
        )
    for name in ("gateway", "monitor"):
        # For `serve`: a pipe that ends when it does (and tells the monitor the gateway's pid).
        parsers[name].add_argument("--lifeline", metavar="FD", type=int, help=argparse.SUPPRESS)
    for name, default in (("config show", "settings"), ("config schema", "policy")):
        parsers[name].add_argument(
            "what", choices=("settings", "policy"), nargs="?", default=default, help=f"default: {default}"
        )
    parsers["token create"].add_argument("principal", metavar="NAME")
    parsers["token revoke"].add_argument("token_id", metavar="ID")
    _add_policy_arguments(parsers)
    for name in _WITH_JSON:
        parsers[name].add_argument("--json", action="store_true", help="print JSON")
    for name in ("audit show", "audit verify"):
        parsers[name].add_argument("files", metavar="FILE", nargs="*", type=Path, help="instead of the trail")
    parsers["audit verify"].add_argument(
        "--key", metavar="FILE", type=Path, help="the verification key that 'rexecd init' made"
    )


def _add_install_arguments(parsers: dict[str, argparse.ArgumentParser]) -> None:
    install = parsers["install"]
    install.add_argument("--host", metavar="NAME", action="append", help="a name or address callers use")
    install.add_argument("--dry-run", action="store_true", help="only say what would be done")
    install.add_argument("--no-start", action="store_true", help="start it at the next boot, not now")
    install.add_argument(
        "--prefix", metavar="DIR", type=Path, help="for packagers: write the units below DIR/lib, no more"
    )
    parsers["uninstall"].add_argument(
        "--purge", action="store_true", help="also remove configuration, state, trail and users"
    )


def _add_policy_arguments(parsers: dict[str, argparse.ArgumentParser]) -> None:
    """Add what the verbs take that look at a policy."""
    parsers["check"].add_argument("--strict", action="store_true", help="let warnings count")
    for name in ("check", "policy explain", "policy list"):
        parsers[name].add_argument(
            "--policy", metavar="FILE", type=Path, help="this policy instead of the settings' one"
        )
    for name, help_ in (
        ("policy explain", "where the request comes from; default: 127.0.0.1"),
        ("policy list", "only what may be run from there"),
    ):
        parsers[name].add_argument("--as", metavar="NAME", dest="principal", required=True, help="who asks")
        parsers[name].add_argument("--from", metavar="ADDR", dest="address", type=_address, help=help_)
    explain = parsers["policy explain"]
    explain.add_argument(
        "--reason", metavar="TEXT", default="", help="why it is run, as for 'rexec --reason'"
    )
    explain.add_argument("--stdin", action="store_true", help="send input that the command has to take")
    explain.add_argument("line", metavar="LINE", nargs="+", help="what would be asked for, behind '--'")
    parsers["policy diff"].add_argument("old", metavar="OLD", type=Path, help="a policy file")
    parsers["policy diff"].add_argument("new", metavar="NEW", type=Path, help="another one")


def _address(text: str) -> str:
    """Return an address a caller can come from; a wrong one is a usage error."""
    from ipaddress import ip_address  # noqa: PLC0415 - the gateway needs none of it

    try:
        ip_address(text)
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r} is no IPv4 or IPv6 address") from None
    return text


def _listen(text: str) -> str:
    """Return an address that can be listened on; a wrong one is a usage error."""
    try:
        address(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from None
    return text


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

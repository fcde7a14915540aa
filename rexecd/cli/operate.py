"""The operator's door from outside, and the verb that asks a service to reload."""

import argparse
import contextlib
import functools
import json
import os
import select
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Final

from rexecd.cli import say
from rexecd.cli.monitor import opened_service
from rexecd.cli.owner import MONITORS, act_as_owner
from rexecd.errors import ConfigError, LocalProtocolError, Unavailable
from rexecd.monitor import admin
from rexecd.monitor.asker import this_process
from rexecd.policy.model import Policy
from rexecd.seam import messages as seam
from rexecd.seam.channel import Channel, connect
from rexecd.settings import Settings, load_settings
from rexecd.yamltext import spell_duration

_ANSWER_TIME: Final = 10.0
#: A large policy with many profiles to try takes its time.
_RELOAD_TIME: Final = 120.0
_LOOK_AGAIN: Final = 0.05


class NotRunning(Unavailable):
    """Nobody answers at the operator's door: nothing was asked."""


def reload(arguments: argparse.Namespace) -> int:
    """Put a changed policy in force; a faulty one leaves the old one, and its faults are shown."""
    settings = load_settings(arguments.config)
    try:
        answer = ask(settings, seam.Reload(), seconds=_RELOAD_TIME)
    except ConfigError as error:
        raise ConfigError(*error.faults, "the old policy stays in force") from None
    size = say.count(answer["rules"], "command")
    say.out(f"rexecd: policy {str(answer['policy_digest'])[:12]} is in force, {size}")
    return 0


def ask(settings: Settings, question: seam.Message, *, seconds: float | None = None) -> dict[str, Any]:
    """Ask the running monitor; raise Unavailable if none runs, ConfigError for a no."""
    with asking(settings) as put:
        return put(question, _ANSWER_TIME if seconds is None else seconds)


@contextlib.contextmanager
def asking(settings: Settings) -> Iterator[Callable[[seam.Message, float], dict[str, Any]]]:
    """Give what asks the running monitor over one connection, and waits for so many seconds; as `ask`."""
    if _is_closed(settings.admin_socket):
        raise ConfigError(
            f"{settings.admin_socket}: closed to uid {os.geteuid()}: ask as root, or as the service's user"
        )
    try:
        channel = connect(settings.admin_socket, seam.ADMIN, timeout=_ANSWER_TIME)
    except Unavailable as error:
        raise NotRunning(f"rexecd does not run here ({error}): start it, or check --config") from None
    try:
        yield functools.partial(_ask, channel)
    finally:
        channel.close()


def _ask(channel: Channel, question: seam.Message, seconds: float) -> dict[str, Any]:
    try:
        channel.send(question)
    except LocalProtocolError as error:
        raise ConfigError(f"more than can be asked for at once: {error}") from None
    if not select.select([channel], [], [], seconds)[0]:
        what = f"the monitor does not answer in {spell_duration(seconds)}"
        raise Unavailable(f"{what}; it may still do what was asked: see 'rexecd status'")
    answer = channel.receive()
    if answer is None:
        raise Unavailable("the monitor went away before it answered")
    if not answer.good:
        raise ConfigError(*answer.body.split("\n"))
    return dict(json.loads(answer.body))


def ask_for_metrics(settings: Settings) -> str:
    """Return the running monitor's metrics; raise as `ask`."""
    text, part, parts = "", 0, 1
    with asking(settings) as put:
        while part < parts:
            answer = put(seam.Metrics(part), _ANSWER_TIME)
            text, part, parts = text + answer["text"], part + 1, answer["parts"]
    return text


def _is_closed(path: Path) -> bool:
    """Return whether a socket is there that we may not open."""
    try:
        return path.exists() and not os.access(path, os.W_OK)
    except PermissionError:  # its directory is closed already
        return True


def change(
    arguments: argparse.Namespace, question: seam.Message, *, policy: Policy | None = None
) -> dict[str, Any]:
    """Change something through the running monitor or, if none runs, in its place.

    Who holds the lock of the state directory is the one writer of the trail. Several commands that meet while
    no monitor runs wait for each other, and for a monitor that just starts.
    """
    settings = load_settings(arguments.config)
    asker = this_process()  # the service's user from here on
    act_as_owner(settings.state, keep=MONITORS)
    deadline = time.monotonic() + _ANSWER_TIME
    while True:
        with contextlib.ExitStack() as stack:
            try:
                service = stack.enter_context(opened_service(settings, policy))
            except Unavailable as error:  # the monitor holds the lock, or a command like this one
                held = error
            else:
                return admin.do(service, question, asker)
        try:
            return ask(settings, question)
        except NotRunning as error:
            if time.monotonic() >= deadline:
                raise Unavailable(f"{error} ({held})") from None
        time.sleep(_LOOK_AGAIN)

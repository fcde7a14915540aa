"""The verbs of whoever audits: verify, and init-key."""

import argparse
import os
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Final

from rexecd.audit.checkpoint import Checkpoint, Verifier, notes
from rexecd.audit.keys import AuditorKey, create_keys, decode_auditor_key, load_chain, load_signer
from rexecd.audit.lines import lines, parts, whole
from rexecd.audit.verify import Knowledge, Report
from rexecd.audit.verify import verify as verify_lines
from rexecd.cli import say
from rexecd.cli.init import VERIFICATION_KEY
from rexecd.cli.owner import MONITORS, act_as_owner
from rexecd.errors import ConfigError
from rexecd.files import check_directory, lock, read_file
from rexecd.printable import printable
from rexecd.settings import Settings, load_settings

#: A checkpoint has some 200 bytes: a hundred thousand of them.
_MOST: Final = 32 * 1024 * 1024


def verify(arguments: argparse.Namespace) -> int:
    """Say good, or the first record that was touched; 1 if there is one."""
    named: list[Path] = list(arguments.files)
    # With files and something to hold them against this is another machine, without our settings.
    is_elsewhere = bool(named and (arguments.key or arguments.checkpoints))
    settings = None if is_elsewhere else load_settings(arguments.config)
    # Root's own files are read first: the trail is read as whoever owns it.
    key = _read_key(arguments.key, settings)
    texts = [(path, _read(path)) for path in arguments.checkpoints]
    head = None
    if settings is not None and not named:
        act_as_owner(settings.state)
        head = load_chain(settings.trail_key)
        if key.checkpoints is None and texts:
            signer = load_signer(settings.state)
            key = key._replace(checkpoints=None if signer is None else signer.verifier)
    elif named:
        act_as_owner(named[0])
    checkpoints = [each for path, text in texts for each in _checkpoints(path, text, key.checkpoints)]
    if key.seals is None and head is None and not checkpoints:
        raise ConfigError("nothing to hold it against: name the verification key (--key) or a --checkpoint")
    known = Knowledge(key=key.seals, head=head, checkpoints=checkpoints, is_whole=not named)
    if settings is None or named:
        report = verify_lines((line for path in named for line in lines(path)), known, where=named[-1])
    else:
        report = _verify_whole(settings.audit, known)
    if report.good and key.seals is None and report.known_end < report.first:
        raise ConfigError("no checkpoint is of these records: without the sealing key nothing was checked")
    say.out(f"rexecd: {printable(str(report))}")
    return 0 if report.good else 1


def _verify_whole(path: Path, known: Knowledge) -> Report:
    """Verify all files; again if the oldest were removed while they were read."""
    while True:
        before = [part.first for part in parts(path)[:1]]
        report = verify_lines(whole(path), known, where=path)
        if report.good or before == [part.first for part in parts(path)[:1]]:
            return report


def init_key(arguments: argparse.Namespace) -> int:
    """Make what of the trail's keys is missing, and give the auditor's half away, once."""
    settings = load_settings(arguments.config)
    out = None if arguments.out is None else _new_file(arguments.out)  # as whoever asks, not as the owner
    act_as_owner(settings.state, keep=MONITORS)
    check_directory(settings.state)
    with lock(settings.lock):
        if not os.path.lexists(settings.trail_key) and (old := parts(settings.audit)):
            what = "is another key's trail: move it away, all its files, to begin a new one"
            raise ConfigError(f"{old[-1].path}: {what}")
        key = create_keys(settings.state, socket.gethostname())
    if out is None:
        say.out(key.encode().rstrip("\n"))
    else:
        with out:
            out.write(key.encode().encode())
    say.note("rexecd", "that is the auditor's, and is shown this once: keep it on another machine")
    return 0


def _new_file(path: Path) -> IO[bytes]:
    try:
        return os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb")
    except FileExistsError:
        raise ConfigError(f"{path}: already there, and never overwritten: name another file") from None
    except OSError as error:
        raise ConfigError(f"{path}: cannot be made: {error.strerror}") from None


def _read_key(path: Path | None, settings: Settings | None) -> AuditorKey:
    """Return the auditor's key: of the file that is named, or what 'rexecd init' left, which may be gone."""
    if path is None:
        path = None if settings is None else settings.source.parent / VERIFICATION_KEY
        if path is None or not path.exists():
            return AuditorKey(None, None)
    key = decode_auditor_key(read_file(path).decode(errors="replace"), str(path))
    if key.seals is not None:  # the other half is public
        read_file(path, secret=True)
    return key


def _read(path: Path) -> str:
    return read_file(path, most=_MOST).decode(errors="replace")


def _checkpoints(path: Path, text: str, verifier: Verifier | None) -> Iterator[Checkpoint]:
    """Yield the checkpoints of a file; raise ConfigError for one that nobody signed whom we know."""
    if verifier is None:
        raise ConfigError(
            f"{path}: whose checkpoints these are is not known: name the auditor's key with --key"
        )
    found = notes(text)
    if not found:
        raise ConfigError(f"{path}: no checkpoint in it")
    for number, note in enumerate(found, 1):
        try:
            yield verifier.read(note)
        except ValueError as error:
            raise ConfigError(f"{path}: checkpoint {number}: {error}") from None

"""The keys of a trail: the one that seals, the one that signs, and what an auditor gets of both.

Rule 1: the sealing key lives in the state directory alone. When a later one takes its place, the past one is
written over before its blocks are given back.
Rule 2: what verifies is shown once and kept nowhere on this host.
"""

import contextlib
import json
import os
import secrets
from collections.abc import Callable
from pathlib import Path
from typing import Final, NamedTuple

from rexecd import files
from rexecd.audit import seal
from rexecd.audit.checkpoint import Signer, Verifier
from rexecd.audit.seal import Chain
from rexecd.errors import ConfigError

KEY_NAME: Final = "trail.key"
SIGNER_NAME: Final = "checkpoint.key"

_VERSION: Final = 2
_MAX_KEY_FILE: Final = 4 * 1024
_SEAL_SIZE: Final = 64
_REMEDY: Final = (
    "restore it, or begin a new trail: move the old one away, remove this and run 'rexecd audit init-key'"
)


class AuditorKey(NamedTuple):
    """What verifies a trail: its first sealing key, and its checkpoints' public key, as far as known."""

    seals: bytes | None
    checkpoints: Verifier | None

    def __repr__(self) -> str:
        return "AuditorKey()"

    def encode(self) -> str:
        """Return it as the lines of a file."""
        lines = [] if self.seals is None else [self.seals.hex()]
        lines += [] if self.checkpoints is None else [self.checkpoints.encode()]
        return "".join(f"{line}\n" for line in lines)


def decode_auditor_key(text: str, where: str = "the verification key") -> AuditorKey:
    """Return the key in such a file; empty lines and `#` comments count nothing. Raise ConfigError."""
    seals: bytes | None = None
    checkpoints: Verifier | None = None
    lines = [line.strip() for line in text.splitlines()]
    for line in filter(lambda line: line and not line.startswith("#"), lines):
        try:
            if "+" in line and checkpoints is None:
                checkpoints = Verifier.decode(line)
            elif "+" not in line and seals is None:
                seals = bytes.fromhex(line)
            else:
                raise ValueError
        except ValueError:
            seals = b""
        if seals is not None and len(seals) != seal.KEY_SIZE:
            break
    else:
        if seals is not None or checkpoints is not None:
            return AuditorKey(seals, checkpoints)
    what = f"is neither {2 * seal.KEY_SIZE} hexadecimal digits nor NAME+ID+KEY, nor one line of each"
    raise ConfigError(f"{where}: {what}, as 'rexecd audit init-key' shows them")


def create_keys(
    state: Path, host: str, *, random: Callable[[int], bytes] = secrets.token_bytes
) -> AuditorKey:
    """Make what of both keys is not in the state directory, and return what verifies that.

    The return value belongs to the auditor and off this host: it is kept nowhere. Raise ConfigError if both
    keys are there already.
    """
    key_path, signer_path = state / KEY_NAME, state / SIGNER_NAME
    if os.path.lexists(key_path) and os.path.lexists(signer_path):
        what = "there is a key already; another one would orphan its trail"
        raise ConfigError(f"{key_path}: {what}. What verifies it was shown when it was made")
    seals: bytes | None = None
    checkpoints: Verifier | None = None
    if not os.path.lexists(signer_path):
        signer = Signer.create(host, random(seal.KEY_SIZE))
        files.write_file(signer_path, f"{signer.encode()}\n".encode(), mode=0o600)
        checkpoints = signer.verifier
    if not os.path.lexists(key_path):
        seals = random(seal.KEY_SIZE)
        save_chain(key_path, Chain.begin(seals))
    return AuditorKey(seals, checkpoints)


def load_signer(state: Path) -> Signer | None:
    """Return the key that signs checkpoints, None where there is none; raise ConfigError."""
    path = state / SIGNER_NAME
    if not os.path.lexists(path):
        return None
    data = files.read_file(path, secret=True, most=_MAX_KEY_FILE)
    try:
        return Signer.decode(data.decode().strip())
    except ValueError:
        what = "damaged; restore it, or remove it and make another with 'rexecd audit init-key'"
        raise ConfigError(f"{path}: {what}") from None


def load_chain(key_path: Path) -> Chain:
    """Return the chain where it was last persisted; raise ConfigError."""
    hint = "restore it, or make one with 'rexecd audit init-key'"
    data = files.read_file(key_path, secret=True, most=_MAX_KEY_FILE, hint=hint)
    damaged = ConfigError(f"{key_path}: damaged; {_REMEDY}")
    try:
        kept = json.loads(data)
        version = kept["version"]
        if version != _VERSION:
            raise ConfigError(f"{key_path}: made by another rexecd (version {version!r}); {_REMEDY}")
        sequence, sealed = kept["sequence"], kept["seal"].encode("ascii")
        key, digest = bytes.fromhex(kept["key"]), bytes.fromhex(kept["digest"])
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError):
        raise damaged from None
    if type(sequence) is not int or sequence < 1 or len(sealed) != (_SEAL_SIZE if sequence > 1 else 0):
        raise damaged
    if (len(key), len(digest)) != (seal.KEY_SIZE, len(seal.NOTHING)):
        raise damaged
    return Chain(sequence, key, digest, sealed)


def save_chain(key_path: Path, chain: Chain, *, durable: bool = True) -> None:
    """Keep the chain in the place of the one before, whose key is written over; raise ConfigError."""
    if chain.key is None:
        raise ValueError("a chain without its key cannot be continued")
    kept = {
        "version": _VERSION,
        "sequence": chain.sequence,
        "key": chain.key.hex(),
        "digest": chain.digest.hex(),
        "seal": chain.seal_text.decode(),
    }
    with contextlib.ExitStack() as stack:
        past = _open_past(key_path, stack)
        files.write_file(key_path, json.dumps(kept).encode() + b"\n", mode=0o600, durable=durable)
        if past is not None:
            _erase(past, durable=durable)


def _open_past(path: Path, stack: contextlib.ExitStack) -> int | None:
    """Return a descriptor of the file that is to be replaced; None where there is none."""
    try:
        descriptor = os.open(path, os.O_WRONLY | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK)
    except OSError:
        return None
    stack.callback(os.close, descriptor)
    return descriptor


def _erase(descriptor: int, *, durable: bool) -> None:
    """Write over a key that has been replaced, where its file system writes in place."""
    with contextlib.suppress(OSError):
        os.pwrite(descriptor, bytes(os.fstat(descriptor).st_size), 0)
        if durable:
            os.fdatasync(descriptor)

"""Checkpoints: how far a trail went and its digest, signed, as notes of C2SP (signed-note.md).

```
web1.example/rexecd        whose trail: the name of the key
4711                       how many records
<digest, base64>           of all of them

— web1.example/rexecd <key id and Ed25519 signature, base64>
```

A trail is no tree: the third line is the digest of `Chain`, not a Merkle root as in tlog-checkpoint.md.
Whoever has one of these and the public key can check a trail without any secret. Pure.
"""

import base64
import binascii
import hashlib
import re
from typing import Final, NamedTuple, Self

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

#: The type of the signature in a key: Ed25519.
_TYPE: Final = b"\x01"
_SECRET: Final = "PRIVATE+KEY+"  # noqa: S105 - what a key begins with
_DIGEST_SIZE: Final = 32
_ID_SIZE: Final = 4
_NAME: Final = re.compile(r"[!-*,-~]{1,255}")
_SIZE: Final = re.compile("0|[1-9][0-9]{0,18}")
_NOT_IN_NAMES: Final = re.compile("[^!-*,-~]")


class Checkpoint(NamedTuple):
    """A trail of `records` records, and the digest of all of them."""

    name: str
    records: int
    digest: bytes

    def text(self) -> str:
        """Return what is signed."""
        return f"{self.name}\n{self.records}\n{_encoded(self.digest)}\n"


class Signer(NamedTuple):
    """A key to sign with, and its name."""

    name: str
    key: Ed25519PrivateKey

    def __repr__(self) -> str:
        return f"Signer(name={self.name!r})"  # the key is nobody's business

    @classmethod
    def create(cls, host: str, seed: bytes) -> Self:
        """Return a new key for a host; `seed` is 32 random bytes."""
        name = _NOT_IN_NAMES.sub("-", host)[:200] or "localhost"
        return cls(f"{name}/rexecd", Ed25519PrivateKey.from_private_bytes(seed))

    @classmethod
    def decode(cls, text: str) -> Self:
        """Return the key that `encode` wrote; raise ValueError."""
        if not text.startswith(_SECRET):
            raise ValueError("not a signing key")
        name, data = _split(text.removeprefix(_SECRET))
        signer = cls(name, Ed25519PrivateKey.from_private_bytes(data))
        if _id(name, signer.verifier.raw) != text.split("+")[3]:
            raise ValueError("damaged")
        return signer

    def encode(self) -> str:
        """Return the key as text, `PRIVATE+KEY+NAME+ID+DATA`."""
        seed = self.key.private_bytes(
            serialization.Encoding.Raw, serialization.PrivateFormat.Raw, serialization.NoEncryption()
        )
        return f"{_SECRET}{self.name}+{_id(self.name, self.verifier.raw)}+{_encoded(_TYPE + seed)}"

    @property
    def verifier(self) -> "Verifier":
        """Return the public half."""
        return Verifier(self.name, self.key.public_key())

    def sign(self, records: int, digest: bytes) -> str:
        """Return the signed note of a checkpoint."""
        text = Checkpoint(self.name, records, digest).text()
        key_id = bytes.fromhex(_id(self.name, self.verifier.raw))
        return f"{text}\n— {self.name} {_encoded(key_id + self.key.sign(text.encode()))}\n"


class Verifier(NamedTuple):
    """A public key, and its name."""

    name: str
    key: Ed25519PublicKey

    @classmethod
    def decode(cls, text: str) -> Self:
        """Return the key in `NAME+ID+DATA`; raise ValueError."""
        name, data = _split(text)
        if _id(name, data) != text.split("+")[1]:
            raise ValueError("damaged")
        return cls(name, Ed25519PublicKey.from_public_bytes(data))

    def encode(self) -> str:
        """Return the key as text, `NAME+ID+DATA`."""
        return f"{self.name}+{_id(self.name, self.raw)}+{_encoded(_TYPE + self.raw)}"

    @property
    def raw(self) -> bytes:
        """Return the 32 bytes of the key."""
        return self.key.public_bytes(serialization.Encoding.Raw, serialization.PublicFormat.Raw)

    def open(self, note: str) -> str:
        """Return the text of a note that this key has signed; raise ValueError for any other.

        Signatures of others, of witnesses for example, are passed over.
        """
        text, found, signatures = note.rpartition("\n\n")
        if not found or not signatures.endswith("\n"):
            raise ValueError("not a signed note")
        text += "\n"
        key_id = bytes.fromhex(_id(self.name, self.raw))
        for line in signatures.splitlines():
            dash, _, rest = line.partition(" ")
            name, _, encoded = rest.partition(" ")
            signature = _decoded(encoded)
            if dash != "—" or name != self.name or signature[:_ID_SIZE] != key_id:
                continue
            try:
                self.key.verify(signature[_ID_SIZE:], text.encode())
            except InvalidSignature:
                raise ValueError(f"not signed by {self.name}, though it says so") from None
            return text
        raise ValueError(f"not signed by {self.name}")

    def read(self, note: str) -> Checkpoint:
        """Return the checkpoint in a note that this key has signed; raise ValueError.

        Lines behind the three that we know are somebody's extension.
        """
        lines = self.open(note).split("\n")
        if len(lines) < len(Checkpoint._fields) or not _SIZE.fullmatch(lines[1]):
            raise ValueError("not a checkpoint")
        digest = _decoded(lines[2])
        if lines[0] != self.name or len(digest) != _DIGEST_SIZE:
            raise ValueError("not a checkpoint of this trail")
        return Checkpoint(lines[0], int(lines[1]), digest)


def notes(text: str) -> list[str]:
    """Return the notes that were written one behind the other, as a file collects them."""
    found: list[str] = []
    lines: list[str] = []
    for line in text.splitlines():
        if lines and lines[-1].startswith("— ") and not line.startswith("— "):
            found.append("\n".join(lines) + "\n")
            lines = []
        if lines or line:  # empty lines between two notes are nobody's
            lines.append(line)
    return [*found, "\n".join(lines) + "\n"] if lines else found


def _split(text: str) -> tuple[str, bytes]:
    """Return name and 32 bytes of a key's text; raise ValueError."""
    name, _, rest = text.partition("+")
    data = _decoded(rest.partition("+")[2])
    if not _NAME.fullmatch(name) or data[:1] != _TYPE or len(data) != 1 + _DIGEST_SIZE:
        raise ValueError("not an Ed25519 key")
    return name, data[1:]


def _id(name: str, key: bytes) -> str:
    return hashlib.sha256(name.encode() + b"\n" + _TYPE + key).digest()[:_ID_SIZE].hex()


def _encoded(data: bytes) -> str:
    return base64.b64encode(data).decode()


def _decoded(text: str) -> bytes:
    """Return what base64 says; nothing for what is none, or is spelled in another way than ours."""
    try:
        data = base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        return b""
    return data if _encoded(data) == text else b""

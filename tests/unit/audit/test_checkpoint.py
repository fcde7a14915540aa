"""Checkpoints: the form of C2SP's signed notes, and what is none."""

import base64

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rexecd.audit.checkpoint import Checkpoint, Signer, Verifier, notes

SIGNER = Signer.create("web1.example", bytes(range(32)))
NOTE = SIGNER.sign(4711, b"\x01" * 32)

#: From the documentation of golang.org/x/mod/sumdb/note.
FOREIGN_KEY = "PeterNeumann+c74f20a3+ARpc2QcUPDhMQegwxbzhKqiBfsVkmqq/LDE4izWy10TW"
FOREIGN_NOTE = (
    "If you think cryptography is the answer to your problem,\n"
    "then you don't know what your problem is.\n"
    "\n"
    "— PeterNeumann "
    "x08go/ZJkuBS9UG/SffcvIAQxVBtiFupLLr8pAcElZInNIuGUgYN1FFYC2pZSNXgKvqfqdngotpRZb6KE6RyyBwJnAM=\n"
)


def test_a_note_is_what_the_document_says() -> None:
    """Three lines, an empty one, and a signature behind an em dash."""
    text, signature = NOTE.split("\n\n")
    dash, name, encoded = signature.rstrip("\n").split(" ")

    assert text == f"web1.example/rexecd\n4711\n{base64.b64encode(bytes([1] * 32)).decode()}"
    assert (dash, name, len(base64.b64decode(encoded))) == ("—", "web1.example/rexecd", 4 + 64)


def test_what_was_signed_is_read_again() -> None:
    """By whoever has the public key, written as C2SP writes it."""
    verifier = Verifier.decode(SIGNER.verifier.encode())

    assert verifier.read(NOTE) == Checkpoint("web1.example/rexecd", 4711, b"\x01" * 32)


def test_notes_of_others_are_opened() -> None:
    """The form is everybody's: this one was made by Go."""
    verifier = Verifier.decode(FOREIGN_KEY)

    assert verifier.open(FOREIGN_NOTE).startswith("If you think")
    assert verifier.encode() == FOREIGN_KEY
    with pytest.raises(ValueError, match="not a checkpoint"):
        verifier.read(FOREIGN_NOTE)


def test_a_witness_may_sign_as_well() -> None:
    """Signatures of keys that we do not know are passed over, in any order."""
    witness = Signer.create("witness.example", bytes(32))
    text, signature = NOTE.split("\n\n")
    theirs = witness.sign(4711, b"\x01" * 32).split("\n\n")[1]

    assert SIGNER.verifier.read(f"{text}\n\n{theirs}{signature}").records == 4711


@given(st.integers(0, len(NOTE.encode()) - 1), st.integers(1, 255))
def test_any_changed_byte_is_found(place: int, change: int) -> None:
    """In the text, the name, the key id or the signature."""
    changed = bytearray(NOTE.encode())
    changed[place] ^= change
    with pytest.raises(ValueError, match=r".+"):
        SIGNER.verifier.read(changed.decode(errors="surrogateescape"))


BROKEN = {
    "empty": "",
    "text alone": "web1.example/rexecd\n4711\n",
    "no end": NOTE[:-1],
    "another key of that name": Signer.create("web1.example", bytes(32)).sign(4711, b"\x01" * 32),
    "two lines": f"{NOTE.splitlines()[0]}\n\n{NOTE.splitlines()[-1]}\n",
}


@pytest.mark.parametrize("case", BROKEN)
def test_what_nobody_signed_is_refused(case: str) -> None:
    """With the reason, and nothing else."""
    with pytest.raises(ValueError, match="signed"):
        SIGNER.verifier.read(BROKEN[case])


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("x\n1\nAAAA\n", "not a checkpoint of this trail"),
        ("web1.example/rexecd\n-1\nAAAA\n", "not a checkpoint"),
        ("web1.example/rexecd\n01\nAAAA\n", "not a checkpoint"),
        ("web1.example/rexecd\n1\n", "not a checkpoint"),
        ("web1.example/rexecd\n1\nAAAA\n", "not a checkpoint of this trail"),
    ],
)
def test_what_is_signed_and_no_checkpoint_is_refused(text: str, complaint: str) -> None:
    """The key may have signed other things."""
    key_id = bytes.fromhex(SIGNER.verifier.encode().split("+")[1])
    signature = base64.b64encode(key_id + SIGNER.key.sign(text.encode())).decode()
    with pytest.raises(ValueError, match=complaint):
        SIGNER.verifier.read(f"{text}\n— {SIGNER.name} {signature}\n")


def test_keys_are_written_and_read() -> None:
    """As Go's tools write them: name, id, and the key in base64."""
    again = Signer.decode(SIGNER.encode())

    assert again.sign(1, bytes(32)) == SIGNER.sign(1, bytes(32))
    assert SIGNER.encode().startswith("PRIVATE+KEY+web1.example/rexecd+")
    assert "PRIVATE" not in repr(SIGNER)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "x",
        "a+b+c",
        FOREIGN_KEY.replace("c74f20a3", "c74f20a4"),
        FOREIGN_KEY.replace("+AR", "+AB"),
        FOREIGN_KEY[:-4],
        FOREIGN_KEY.replace("PeterNeumann", "Peter Neumann"),
    ],
)
def test_a_damaged_key_is_refused(text: str) -> None:
    """The id says which key it is: another one is none."""
    with pytest.raises(ValueError, match=r".+"):
        Verifier.decode(text)
    with pytest.raises(ValueError, match=r".+"):
        Signer.decode(text)


@pytest.mark.parametrize(
    ("host", "name"),
    [("web1", "web1/rexecd"), ("a b+c", "a-b-c/rexecd"), ("ü", "-/rexecd"), ("", "localhost/rexecd")],
)
def test_any_host_has_a_name(host: str, name: str) -> None:
    """Without blanks and pluses, which the form does not allow."""
    assert (
        Signer.create(host, bytes(32)).verifier.read(Signer.create(host, bytes(32)).sign(1, bytes(32))).name
        == name
    )


def test_notes_behind_each_other_are_told_apart() -> None:
    """As a file collects them, with empty lines between or without."""
    other = SIGNER.sign(5000, bytes(32))

    assert notes(NOTE + other) == [NOTE, other]
    assert notes(f"\n{NOTE}\n\n{other}\n") == [NOTE, other]
    assert notes("") == []

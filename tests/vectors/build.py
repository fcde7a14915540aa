"""Make the protocol's test vectors (PROTOCOL 11); with --check, say whether they are as made.

The bytes are spelled out here by hand and not by `rexecd.codec`: the vectors are a second
opinion on the specification, not a copy of the first.
"""

import itertools
import struct
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Final, NamedTuple

HERE: Final = Path(__file__).parent
#: Runs of one byte at least this long are written `HH*COUNT`.
_RUN: Final = 24
_ON_A_LINE: Final = 16


class Vector(NamedTuple):
    """Bytes for one side in one state, and what has to come of them."""

    name: str
    expect: str
    side: str
    state: str
    section: str
    comment: str
    data: bytes


class Sample(NamedTuple):
    """A good message, field by field, and who takes it in which state."""

    name: str
    side: str
    state: str
    kind: int
    fields: tuple[bytes, ...] = ()

    def frame(self) -> bytes:
        """Return the whole frame."""
        return frame(self.kind, b"".join(self.fields))


def frame(kind: int, body: bytes = b"") -> bytes:
    """Return length, kind and body."""
    return struct.pack(">IB", 1 + len(body), kind) + body


def text(value: str | bytes) -> bytes:
    """Return a two-byte length and the bytes."""
    raw = value.encode() if isinstance(value, str) else value
    return struct.pack(">H", len(raw)) + raw


def texts(*values: str) -> bytes:
    """Return a one-byte number and the texts."""
    return struct.pack(">B", len(values)) + b"".join(map(text, values))


#: Unsigned integers of one, four and eight bytes.
u8 = struct.Struct(">B").pack
u32 = struct.Struct(">I").pack
u64 = struct.Struct(">Q").pack

_ENTRY: Final = (
    text("disk"),
    text("disk [PATH]"),
    text("free space below one directory"),
    text(""),
    texts("path: a directory below /srv or /var"),
    text('{"type": "object", "properties": {"path": {"type": "string"}}}'),
)

SAMPLES: Final = (
    Sample("authenticate", "server", "greeting", 1, (text("a-token"),)),
    Sample("run", "server", "ready", 2, (text("disk /srv"), u8(0), text("the disk is full"), u32(30_000))),
    Sample("input", "server", "feeding", 3, (b"some\nbytes\x00\xff",)),
    Sample("input-end", "server", "feeding", 4),
    Sample("signal", "server", "running", 5, (u8(1),)),
    Sample("list", "server", "ready", 6),
    Sample("goodbye", "server", "ready", 7),
    Sample(
        "accepted", "client", "authenticating", 128, (text("c-1"), text("ci"), text("welcome\n"), u32(86400))
    ),
    Sample("refused", "client", "requested", 129, (text("r-1"), u8(2), text("not permitted"), u32(0))),
    Sample("started", "client", "requested", 130, (text("r-1"),)),
    Sample("input-wanted", "client", "running", 131),
    Sample("output", "client", "running", 132, (b"\x00\xff\r\n",)),
    Sample("error-output", "client", "running", 133, (b"\xe2\x82",)),
    Sample("exit", "client", "running", 134, (u8(0), u8(3), u8(0), u64(1500))),
    Sample("entry", "client", "listing", 135, _ENTRY),
    Sample("listed", "client", "listing", 136),
    Sample("closed", "client", "ready", 137, (u8(8), text("the service stops"))),
)
_BY_NAME: Final = {sample.name: sample for sample in SAMPLES}
_DATA: Final = frozenset({"input", "output", "error-output"})


def good_messages() -> Iterator[Vector]:
    """Every message once, in a state that takes it."""
    for name, side, state, kind, fields in SAMPLES:
        data = frame(kind, b"".join(fields))
        yield Vector(f"{name}-ok", "ok", side, state, "4.2", f"{name}, well formed", data)


def variants() -> Iterator[Vector]:
    """Good messages at the edges of what their fields may hold."""
    for name, number in (("optional", 1), ("essential", 2)):
        data = frame(2, text("put x") + u8(number) + text("") + u32(0))
        yield Vector(f"run-offer-{name}", "ok", "server", "ready", "4.3", f"input is {name}", data)
    for name, number in (("term", 2), ("hup", 3), ("quit", 4), ("usr1", 5), ("usr2", 6)):
        data = frame(5, u8(number))
        yield Vector(f"signal-{name}", "ok", "server", "running", "4.3", f"signal {name}", data)
    for name, number in (("signalled", 1), ("timed-out", 2)):
        data = frame(134, u8(number) + u8(137) + u8(1) + u64(2**64 - 1))
        yield Vector(f"exit-{name}", "ok", "client", "feeding", "4.3", f"{name}, and truncated", data)
    for name, number in (("shortest", 1), ("longest", 2**32 - 1)):
        data = frame(2, text("disk") + u8(0) + text("") + u32(number))
        yield Vector(f"run-timeout-{name}", "ok", "server", "ready", "4.4", f"{number} ms at most", data)
        data = frame(129, text("r-2") + u8(7) + text("") + u32(number))
        comment = f"to be asked again in {number} ms"
        yield Vector(f"refused-retry-{name}", "ok", "client", "requested", "4.5", comment, data)
    for code in range(1, 13):
        data = frame(137, u8(code) + text(""))
        yield Vector(f"closed-code-{code}", "ok", "client", "requested", "6", f"code {code}", data)


def longest_fields() -> Iterator[Vector]:
    """Fields as long as they may be, and empty where they may be."""
    euros = text("echo \u20ac \U0001f600")
    rows = (
        ("authenticate-longest", "server", "greeting", frame(1, text(b"t" * 256))),
        ("authenticate-empty", "server", "greeting", frame(1, text(""))),
        ("run-longest", "server", "ready", frame(2, text(b"x" * 16384) + u8(0) + text(b"j" * 512) + u32(1))),
        ("run-many-bytes-a-character", "server", "ready", frame(2, euros + u8(0) + euros + u32(0))),
        ("input-longest", "server", "feeding", frame(3, b"i" * 65536)),
        ("output-longest", "client", "running", frame(132, b"o" * 65536)),
        ("entry-longest", "client", "listing", frame(135, _longest_entry())),
        (
            "accepted-longest",
            "client",
            "authenticating",
            frame(128, text("c" * 64) * 2 + text("b" * 4096) + u32(2**32 - 1)),
        ),
    )
    for name, side, state, data in rows:
        yield Vector(name, "ok", side, state, "4.1", name.replace("-", " "), data)


def _longest_entry() -> bytes:
    long_texts = text("u" * 4096) + text("s" * 4096) + text("d" * 4096)
    return text("n" * 64) + long_texts + texts(*["p" * 512] * 64) + text("{" * 16384)


def crossings() -> Iterator[Vector]:
    """Messages that may be under way when a command ends, and several messages at once."""
    crossing = {name: _BY_NAME[name].frame() for name in ("input", "input-end", "signal")}
    for name, data in crossing.items():
        comment = f"{name} was under way when the command ended"
        yield Vector(f"{name}-crosses-exit", "ok", "server", "ended", "5.2", comment, data)
    everything = b"".join([*crossing.values(), _BY_NAME["run"].frame()])
    comment = "all three cross Exit, and the next request is behind them"
    yield Vector("run-behind-crossing", "ok", "server", "ended", "5.2", comment, everything)
    names = ("started", "input-wanted", "output", "error-output", "output", "exit")
    whole = b"".join(_BY_NAME[name].frame() for name in names)
    yield Vector("whole-command", "ok", "client", "requested", "5.1", "a command from first to last", whole)
    listing = _BY_NAME["entry"].frame() * 2 + _BY_NAME["listed"].frame()
    yield Vector("whole-listing", "ok", "client", "listing", "5.1", "two entries and the end", listing)


def incomplete() -> Iterator[Vector]:
    """Beginnings of good frames: nothing may come of them, nor may they be an error."""
    whole = _BY_NAME["run"].frame()
    for size in (0, 1, 3, 4, 5, len(whole) - 1):
        comment = f"the first {size} bytes of a frame of {len(whole)}"
        yield Vector(f"frame-cut-at-{size}", "need-more", "server", "ready", "3.1", comment, whole[:size])
    most = struct.pack(">I", 65537)
    yield Vector("frame-largest-begins", "need-more", "server", "ready", "3.2", "65537 is allowed", most)
    comment = "a caller takes large frames from the start"
    yield Vector("frame-largest-begins-client", "need-more", "client", "authenticating", "3.2", comment, most)
    most = struct.pack(">I", 4096)
    comment = "4096 is allowed to a stranger"
    yield Vector("frame-largest-begins-stranger", "need-more", "server", "greeting", "3.2", comment, most)


def bad_frames() -> Iterator[Vector]:
    """Lengths that are refused from the first four bytes."""
    strangers = itertools.product(("server",), ("greeting", "authenticating"), (4097, 65537))
    known = itertools.product(("server", "client"), ("ready",), (65538, 2**31, 2**32 - 1))
    for side, state, size in itertools.chain(strangers, known):
        name = f"frame-{size}-{side}-{state}"
        data = struct.pack(">I", size)
        yield Vector(name, "bad-frame", side, state, "3.2", f"a frame of {size} bytes", data)
    for side, state in (("server", "greeting"), ("server", "ready"), ("client", "ready")):
        name = f"frame-zero-{side}-{state}"
        yield Vector(name, "bad-frame", side, state, "3.1", "length zero: no kind byte", bytes(4))


def left_over_and_cut() -> Iterator[Vector]:
    """Every message with a byte too many, and ending inside its last field."""
    for name, side, state, kind, fields in SAMPLES:
        body = b"".join(fields)
        if name not in _DATA:
            comment = f"{name} and one byte more"
            data = frame(kind, body + b"\x00")
            yield Vector(f"{name}-left-over", "bad-message", side, state, "4.1", comment, data)
        else:
            comment = f"{name} of no bytes"
            yield Vector(f"{name}-empty", "bad-message", side, state, "4.1", comment, frame(kind))
        for number in range(0 if name in _DATA else len(fields)):
            short = b"".join(fields[:number]) + fields[number][:-1]
            comment = f"{name} ends inside field {number + 1}"
            cut = f"{name}-cut-in-field-{number + 1}"
            yield Vector(cut, "bad-message", side, state, "4.1", comment, frame(kind, short))


def too_long_fields() -> Iterator[Vector]:
    """Every field with a ceiling, one byte above it."""
    rows = (
        ("authenticate", 0, text(b"t" * 257)),
        ("run", 0, text(b"x" * 16385)),
        ("run", 2, text(b"j" * 513)),
        ("accepted", 0, text(b"c" * 65)),
        ("accepted", 1, text(b"p" * 65)),
        ("accepted", 2, text(b"b" * 4097)),
        ("refused", 0, text(b"r" * 65)),
        ("refused", 2, text(b"t" * 4097)),
        ("started", 0, text(b"r" * 65)),
        ("entry", 0, text(b"n" * 65)),
        ("entry", 1, text(b"u" * 4097)),
        ("entry", 2, text(b"s" * 4097)),
        ("entry", 3, text(b"d" * 4097)),
        ("entry", 4, texts(*["p"] * 67)),
        ("entry", 5, text(b"{" * 16385)),
        ("closed", 1, text(b"t" * 4097)),
    )
    yield from map(_too_long, rows)
    data = frame(135, b"".join(_ENTRY[:4]) + texts("p" * 513) + _ENTRY[5])
    comment = "a parameter's line of 513 bytes"
    yield Vector("entry-line-too-long", "bad-message", "client", "listing", "4.2", comment, data)


def _too_long(row: tuple[str, int, bytes]) -> Vector:
    name, number, long = row
    comment = f"{name}, field {number + 1} is longer than allowed"
    return _with_field(f"{name}-field-{number + 1}-too-long", name, number, long, comment)


def _with_field(title: str, name: str, number: int, field: bytes, comment: str) -> Vector:
    _, side, state, kind, fields = _BY_NAME[name]
    body = b"".join((*fields[:number], field, *fields[number + 1 :]))
    return Vector(title, "bad-message", side, state, "4.1", comment, frame(kind, body))


def bad_values() -> Iterator[Vector]:
    """Fields of the right length with what they may not hold."""
    rows = (
        ("run", 1, "offer-3", u8(3)),
        ("run", 1, "offer-255", u8(255)),
        ("signal", 0, "number-0", u8(0)),
        ("signal", 0, "number-7", u8(7)),
        ("signal", 0, "number-9", u8(9)),
        ("refused", 1, "code-0", u8(0)),
        ("refused", 1, "code-13", u8(13)),
        ("exit", 0, "ending-3", u8(3)),
        ("exit", 2, "flag-2", u8(2)),
        ("exit", 2, "flag-255", u8(255)),
        ("closed", 0, "code-0", u8(0)),
        ("closed", 0, "code-13", u8(13)),
        ("run", 0, "not-utf-8", text(b"disk \xff")),
        ("run", 0, "overlong-utf-8", text(b"disk \xc0\xaf")),
        ("run", 0, "surrogate", text(b"disk \xed\xa0\x80")),
        ("run", 0, "half-a-character", text(b"disk \xe2\x82")),
        ("run", 0, "beyond-unicode", text(b"disk \xf4\x90\x80\x80")),
        ("run", 2, "justification-not-utf-8", text(b"\xff")),
        ("accepted", 2, "banner-not-utf-8", text(b"\x80")),
        ("refused", 2, "text-not-utf-8", text(b"\xfe")),
        ("entry", 4, "line-not-utf-8", u8(1) + text(b"\xff")),
        ("entry", 5, "schema-not-utf-8", text(b"{\xff}")),
        ("closed", 1, "text-not-utf-8", text(b"\xc3")),
    )
    for name, number, fault, field in rows:
        comment = f"{name}, field {number + 1}: {fault.replace('-', ' ')}"
        yield _with_field(f"{name}-{fault}", name, number, field, comment)


def unknown_kinds() -> Iterator[Vector]:
    """Numbers no message has."""
    for kind in (0, 8, 127, 138, 255):
        for side in ("server", "client"):
            name = f"kind-{kind}-{side}"
            yield Vector(name, "bad-message", side, "ready", "4.2", f"kind {kind} is none", frame(kind))


def bad_order() -> Iterator[Vector]:
    """Good messages where they may not stand."""
    rows = (
        ("greeting", "run list goodbye input input-end signal"),
        ("authenticating", "authenticate run goodbye"),
        ("ready", "authenticate input input-end signal"),
        ("listing", "list run goodbye"),
        ("requested", "run list goodbye signal input input-end"),
        ("running", "authenticate run list goodbye input input-end"),
        ("feeding", "authenticate run list goodbye"),
        ("ended", "authenticate"),
        ("closed", "authenticate run list goodbye input input-end signal"),
    )
    yield from _misplaced("server", rows)
    rows = (
        ("greeting", "accepted output"),
        ("authenticating", "refused started output exit listed"),
        ("ready", "accepted refused started input-wanted output error-output exit entry listed"),
        ("listing", "accepted refused output"),
        ("requested", "accepted input-wanted output exit entry"),
        ("running", "accepted refused started entry listed"),
        ("feeding", "input-wanted started refused"),
        ("ended", "output error-output exit input-wanted started"),
        ("closed", "accepted output closed"),
    )
    yield from _misplaced("client", rows)


def _misplaced(side: str, rows: tuple[tuple[str, str], ...]) -> Iterator[Vector]:
    for state, names in rows:
        for name in names.split():
            title = f"order-{side}-{state}-{name}"
            comment = f"{name} has no place in {state}"
            yield Vector(title, "bad-order", side, state, "5.1", comment, _BY_NAME[name].frame())


def wrong_way() -> Iterator[Vector]:
    """Messages that come back to the side that alone may send them."""
    for name, taker, state, kind, fields in SAMPLES:
        side = "client" if taker == "server" else "server"
        comment = f"only the {side} may send {name}"
        data = frame(kind, b"".join(fields))
        yield Vector(f"direction-{name}", "bad-order", side, state, "4.2", comment, data)


def second_frames() -> Iterator[Vector]:
    """Messages behind a good one: they are judged by the state it led to."""
    authenticate, run, goodbye = (_BY_NAME[name].frame() for name in ("authenticate", "run", "goodbye"))
    rows = (
        ("twice-authenticate", "greeting", "5.1", authenticate * 2, "a second token"),
        ("early-run", "greeting", "5.3", authenticate + run, "a request before the answer"),
        ("early-second-run", "ready", "5.3", run * 2, "a second request before the first is over"),
        ("behind-goodbye", "ready", "9", goodbye + run, "a request behind Goodbye"),
    )
    for name, state, section, data, comment in rows:
        yield Vector(f"order-{name}", "bad-order", "server", state, section, comment, data)


def all_vectors() -> dict[str, Vector]:
    """Return every vector by its name; raise ValueError if two have the same."""
    good = (good_messages, variants, longest_fields, crossings, incomplete)
    bad_bytes = (bad_frames, left_over_and_cut, too_long_fields, bad_values, unknown_kinds)
    misplaced = (bad_order, wrong_way, second_frames)
    vectors: dict[str, Vector] = {}
    for vector in itertools.chain.from_iterable(make() for make in (*good, *bad_bytes, *misplaced)):
        if vector.name in vectors:
            raise ValueError(f"two vectors are called {vector.name!r}")
        vectors[vector.name] = vector
    return vectors


def hex_words(data: bytes) -> Iterator[str]:
    """Return the bytes in hex, long runs as `HH*COUNT`."""
    for byte, run in itertools.groupby(data):
        count = len(list(run))
        if count >= _RUN:
            yield f"{byte:02x}*{count}"
        else:
            yield from [f"{byte:02x}"] * count


def render(vector: Vector) -> str:
    """Return the file's text."""
    words = list(hex_words(vector.data))
    lines = [" ".join(words[at : at + _ON_A_LINE]) for at in range(0, len(words), _ON_A_LINE)]
    headers = zip(Vector._fields[1:6], vector[1:6], strict=True)
    return "\n".join([*(f"{key}: {value}" for key, value in headers), "", *lines]) + "\n"


def differences(files: dict[str, str]) -> list[str]:
    """Return the names of files that are missing, different or surplus."""
    there = {path.name: path.read_text(encoding="ascii") for path in HERE.glob("*.txt")}
    return sorted(name for name in there.keys() | files.keys() if there.get(name) != files.get(name))


def all_files() -> dict[str, str]:
    """Return every file's text by its name."""
    return {f"{vector.name}.txt": render(vector) for vector in all_vectors().values()}


def main(arguments: list[str]) -> int:
    """Write the files, or only compare them; return the exit status."""
    files = all_files()
    different = differences(files)
    if arguments == ["--check"]:
        print("".join(f"tests/vectors/{name}: not as build.py makes it\n" for name in different), end="")
        return 1 if different else 0
    for name in different:
        if name in files:
            (HERE / name).write_text(files[name], encoding="ascii")
        else:
            (HERE / name).unlink()
    print(f"{len(files)} vectors, {len(different)} changed")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

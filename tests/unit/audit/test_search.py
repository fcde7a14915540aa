"""Reading a trail: every change is found where it is, and showing it is safe."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rexecd import files
from rexecd.audit.events import Action
from rexecd.audit.seal import Change, encode
from rexecd.audit.search import Report, read, render, verify
from rexecd.audit.trail import KEY_NAME, Trail, create_key, load_chain
from rexecd.clock import Clock
from rexecd.errors import ConfigError

COUNT = 60
Lines = list[bytes]


class Sample:
    """A trail of 60 records, its key file and its verification key."""

    def __init__(self, directory: Path) -> None:
        self.path = directory / "audit.jsonl"
        self.head = directory / KEY_NAME
        self.key = create_key(directory)
        with Trail.open(self.path, self.head, clock=Clock()) as trail:
            for number in range(COUNT - 1):
                trail.append(
                    list(Action)[number % 20], line=f"disk /srv/{number}", principal="ci", port=number
                )
        self.lines = self.path.read_bytes().splitlines(keepends=True)

    def verify(self, lines: Lines) -> Report:
        """Return what is found in a trail of these lines."""
        changed = self.path.with_name("changed.jsonl")
        changed.write_bytes(b"".join(lines))
        return verify([changed], self.key, head=self.head)


@pytest.fixture(scope="module")
def sample(tmp_path_factory: pytest.TempPathFactory) -> Sample:
    """Return a trail that no test changes."""
    return Sample(tmp_path_factory.mktemp("sample"))


@pytest.fixture(scope="module")
def other(tmp_path_factory: pytest.TempPathFactory) -> Sample:
    """Return another trail of the same length."""
    return Sample(tmp_path_factory.mktemp("other"))


def test_a_whole_trail_is_good(sample: Sample) -> None:
    """All records, from the first, and the last seal to note down."""
    report = sample.verify(sample.lines)

    assert (report.good, report.records, report.first, report.last) == (True, COUNT, 1, COUNT)
    assert report.seal == sample.lines[-1][-68:-4].decode()
    assert str(report) == f"records 1 to {COUNT} unbroken, last seal {report.seal}"


def found_at(report: Report, line: int, *changes: Change) -> bool:
    """Return whether the first finding is in this line and of one of these kinds."""
    finding = report.finding
    return (
        finding is not None and (finding.line, finding.sequence) == (line, line) and finding.change in changes
    )


#: Places in a line, each standing for a class of bytes: by distance from the front or the end.
BYTES = {
    "brace": 0,
    "time": 20,
    "body": 150,
    "number": -79,
    "mark": -75,
    "first of the seal": -68,
    "last of the seal": -5,
    "end": -3,
    "newline": -1,
}


@pytest.mark.parametrize("kind", BYTES)
def test_an_edited_byte_is_found_in_every_line(sample: Sample, kind: str) -> None:
    """One bit, anywhere: file, line and record are named."""
    for at in range(COUNT):
        line = bytearray(sample.lines[at])
        line[BYTES[kind]] ^= 1
        report = sample.verify([*sample.lines[:at], bytes(line), *sample.lines[at + 1 :]])

        assert report.finding is not None
        assert report.finding.line == at + 1
        assert report.finding.path.name == "changed.jsonl"


def deleted(lines: Lines, at: int, _: Lines) -> Lines:
    """Leave a line out."""
    return lines[:at] + lines[at + 1 :]


def swapped(lines: Lines, at: int, _: Lines) -> Lines:
    """Exchange a line with the next."""
    return lines[:at] + lines[at + 1 : at + 2] + lines[at : at + 1] + lines[at + 2 :]


def repeated(lines: Lines, at: int, _: Lines) -> Lines:
    """Write a line twice."""
    return lines[: at + 1] + lines[at:]


def inserted(lines: Lines, at: int, _: Lines) -> Lines:
    """Add a line of somebody's own making, with a number that fits."""
    record = encode({"event": {"action": "command-allowed"}, "rexec": {"line": "forged"}})
    return [*lines[:at], b'%b,"sequence":%d,"seal":"%b"}}\n' % (record, at + 1, b"0" * 64), *lines[at:]]


def spliced(lines: Lines, at: int, other: Lines) -> Lines:
    """Go on with another trail."""
    return lines[:at] + other[at:]


def replaced(lines: Lines, at: int, other: Lines) -> Lines:
    """Take one record from another trail."""
    return lines[:at] + other[at : at + 1] + lines[at + 1 :]


def blank(lines: Lines, at: int, _: Lines) -> Lines:
    """Add an empty line."""
    return [*lines[:at], b"\n", *lines[at:]]


MOVES: dict[str, tuple[Callable[[Lines, int, Lines], Lines], tuple[Change, ...]]] = {
    "deleted": (deleted, (Change.MISSING, Change.CUT)),
    "swapped": (swapped, (Change.MISSING,)),
    "inserted": (inserted, (Change.EDITED,)),
    "spliced": (spliced, (Change.EDITED,)),
    "replaced": (replaced, (Change.EDITED,)),
    "blank": (blank, (Change.NOT_A_RECORD,)),
}


@pytest.mark.parametrize("kind", MOVES)
def test_a_moved_line_is_found_everywhere(sample: Sample, other: Sample, kind: str) -> None:
    """Each change at each line is found at that line, with its kind."""
    move, changes = MOVES[kind]
    for at in range(COUNT - 1):
        assert found_at(sample.verify(move(sample.lines, at, other.lines)), at + 1, *changes), at


def test_a_repeated_line_is_found_everywhere(sample: Sample) -> None:
    """The second one is where it is found."""
    for at in range(COUNT):
        report = sample.verify(repeated(sample.lines, at, []))

        assert found_at(report, at + 2, Change.OUT_OF_ORDER), at


def test_a_cut_end_is_found_against_the_key_file(sample: Sample) -> None:
    """After any whole line, and inside any."""
    for at in range(COUNT):
        report = sample.verify(sample.lines[:at])

        assert report.finding is not None
        assert (report.finding.change, report.finding.sequence) == (Change.CUT, at + 1)
        assert f"records {at + 1} to {COUNT} were written and are missing" in report.finding.text
        torn = sample.verify([*sample.lines[:at], sample.lines[at][:100]])
        assert found_at(torn, at + 1, Change.TORN)


def test_a_cut_beginning_is_found_everywhere(sample: Sample) -> None:
    """A file has to begin with trail-opened."""
    for at in range(1, COUNT):
        report = sample.verify(sample.lines[at:])

        assert report.finding is not None
        assert (report.finding.change, report.finding.line) == (Change.MISSING, 1)


def test_two_futures_of_one_trail_do_not_mix(tmp_path: Path) -> None:
    """The same key, copied: from where they part, neither continues the other."""
    (tmp_path / "one").mkdir()
    key = create_key(tmp_path / "one")
    shutil.copytree(tmp_path / "one", tmp_path / "two")
    paths = []
    for name in ("one", "two"):
        paths.append(tmp_path / name / "audit.jsonl")
        with Trail.open(paths[-1], tmp_path / name / KEY_NAME, clock=Clock()) as trail:
            for count in range(5):
                trail.append(Action.COMMAND_ALLOWED, line=name, count=count)
    one, two = (path.read_bytes().splitlines(keepends=True) for path in paths)
    paths[0].write_bytes(b"".join(one[:3] + two[3:]))

    assert found_at(verify(paths[:1], key), 4, Change.EDITED)
    paths[0].write_bytes(b"".join(two))
    report = verify(paths[:1], key, head=tmp_path / "one" / KEY_NAME)
    assert found_at(report, 6, Change.EDITED)
    assert "not the one that was persisted" in str(report)


@pytest.fixture
def rotated(tmp_path: Path) -> tuple[list[Path], str, Path]:
    """Return the three files of one trail, its verification key and its key file."""
    key, head = create_key(tmp_path), tmp_path / KEY_NAME
    paths = [tmp_path / f"{number}.jsonl" for number in range(3)]
    for path in paths:
        with Trail.open(path, head, clock=Clock()) as trail:
            for _ in range(3):
                trail.append(Action.COMMAND_ALLOWED)
    return paths, key, head


def test_files_of_one_trail_verify_together_and_alone(rotated: tuple[list[Path], str, Path]) -> None:
    """Older files may be gone: it is said, not judged."""
    paths, key, head = rotated

    assert verify(paths, key, head=head).last == 12
    later = verify(paths[1:], key, head=head)
    assert (later.good, later.first, later.last) == (True, 5, 12)
    assert "records before 5 are in none of these files" in str(later)


def test_a_missing_or_misplaced_file_is_found(rotated: tuple[list[Path], str, Path]) -> None:
    """From the middle, in the wrong order, or from the end."""
    paths, key, head = rotated
    missing = verify([paths[0], paths[2]], key, head=head).finding
    assert missing is not None
    assert (missing.path, missing.line, missing.change) == (paths[2], 1, Change.MISSING)
    wrong = verify([paths[1], paths[0]], key).finding
    assert wrong is not None
    assert (wrong.path, wrong.change) == (paths[0], Change.OUT_OF_ORDER)
    ended = verify(paths[:2], key, head=head).finding
    assert ended is not None
    assert (ended.path, ended.line, ended.change) == (paths[1], 4, Change.CUT)
    none = verify([], key, head=head).finding
    assert none is not None
    assert none.change is Change.CUT


def test_a_false_beginning_is_found(rotated: tuple[list[Path], str, Path]) -> None:
    """Neither the number nor the seal of a file's first record can be made up."""
    paths, key, head = rotated
    line, *others = paths[1].read_bytes().splitlines(keepends=True)
    seal = json.loads(line)["rexec"]["previous_seal"].encode()
    for changed in (
        line.replace(b'"sequence":5', b'"sequence":4'),
        line.replace(b'"sequence":5', b'"sequence":999999999999999999'),
        line.replace(seal, b"0" * 64),
        line.replace(seal, b"x" * 64),
        line.replace(b'"@timestamp"', b'@timestamp"'),
        line.replace(b"trail-opened", b"trail-mended"),
    ):
        paths[1].write_bytes(b"".join([changed, *others]))
        finding = verify(paths[1:], key, head=head).finding

        assert finding is not None
        assert finding.line == 1


def test_a_new_beginning_must_follow_what_was_persisted(tmp_path: Path) -> None:
    """Who holds the current key cannot hang a new file on a seal of their own."""
    key, head = create_key(tmp_path), tmp_path / KEY_NAME
    Trail.open(tmp_path / "one.jsonl", head, clock=Clock()).close()
    genuine = head.read_bytes()
    chain = load_chain(head)._replace(previous=bytes(32))
    forged = {"version": 1, "sequence": chain.sequence, "key": chain.key.hex(), "previous": "00" * 32}
    files.write_file(head, json.dumps(forged).encode(), mode=0o600)
    Trail.open(tmp_path / "two.jsonl", head, clock=Clock()).close()
    files.write_file(head, genuine, mode=0o600)

    assert verify([tmp_path / "two.jsonl"], key).good
    assert "does not follow the last one persisted" in str(verify([tmp_path / "two.jsonl"], key, head=head))


def test_another_key_fits_nothing(sample: Sample) -> None:
    """The first record is where it is found."""
    assert found_at(verify([sample.path], "00" * 32), 1, Change.EDITED)


@pytest.mark.parametrize("key", ["", "00", "x" * 64, "00" * 33])
def test_a_bad_key_is_one_line(sample: Sample, key: str) -> None:
    """It is not a broken trail."""
    with pytest.raises(ConfigError, match="the verification key is not 64 hexadecimal digits"):
        verify([sample.path], key)


def test_a_missing_file_is_one_line(tmp_path: Path) -> None:
    """It is not an empty trail."""
    with pytest.raises(ConfigError, match=r"none: cannot be read: No such file or directory"):
        verify([tmp_path / "none"], "00" * 32)


def test_nothing_is_nothing(tmp_path: Path) -> None:
    """An empty file without a key file says no more than that."""
    (tmp_path / "empty").touch()

    assert str(verify([tmp_path / "empty"], "00" * 32)) == "no records"


def test_reading_goes_on_behind_broken_lines(sample: Sample, tmp_path: Path) -> None:
    """Whoever looks for a record finds it whatever stands beside it."""
    path = tmp_path / "mixed"
    lines = [b"noise\x1b[2J\n", b"[1]\n", b"[" * 9000 + b"\n", b"\xff\n", b"7\n", b'"', b"x" * 40_000]
    path.write_bytes(b"".join([sample.lines[0], *lines[:5], sample.lines[1], *lines[5:]]))
    records = list(read([path]))

    assert (records[0], records[6]) == (json.loads(sample.lines[0]), json.loads(sample.lines[1]))
    assert [*range(2, 7), 8, 9, 10] == [
        found["unreadable"]["line"] for found in records if "unreadable" in found
    ]
    assert render(records[1]) == f"{path}:2: not a record: 'noise\\x1b[2J\\n'"


def test_a_record_is_shown_in_one_line(tmp_path: Path) -> None:
    """The fields people look for, in a fixed order, foreign text quoted."""
    key_path = tmp_path / KEY_NAME
    create_key(tmp_path)
    with Trail.open(tmp_path / "audit.jsonl", key_path, clock=Clock()) as trail:
        trail.append(
            Action.COMMAND_EXITED,
            principal="ci",
            rule="disk",
            address="10.0.0.1",
            exit_code=3,
            duration=0.25,
            line="disk /srv principal=root\n\x9b\u202e",
        )
    record = list(read([tmp_path / "audit.jsonl"]))[1]

    assert render(record) == (
        f"{record['@timestamp']} 2 command-exited principal=ci rule=disk outcome=success from=10.0.0.1"
        r" exit=3 duration=0.250s line='disk /srv principal=root\n\x9b\u202e'"
    )


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=6,
)
GROUPS = st.dictionaries(
    st.sampled_from(["@timestamp", "event", "rexec", "user", "process", "source", "rule", "unreadable"]),
    JSON
    | st.dictionaries(
        st.sampled_from(["action", "duration", "sequence", "line", "name", "ip", "reason", "path", "text"]),
        JSON,
    ),
)


@settings(max_examples=300, deadline=None)
@given(GROUPS)
def test_showing_is_safe_whatever_a_record_holds(record: dict[str, object]) -> None:
    """Only printable ASCII reaches a terminal, and nothing raises."""
    shown = render(record)

    assert shown.isascii()
    assert shown.isprintable()


def test_a_duration_out_of_range_is_not_shown_as_one() -> None:
    """A forged number does not end the program."""
    assert render({"event": {"duration": 10**400}}) == "- - - duration=-"


@pytest.mark.parametrize(
    ("rexec", "shown"),
    [
        ({"cpu_time": 1_500_000_000, "peak_memory": 4096}, "cpu_time=1.500s peak_memory=4096"),
        ({"cpu_time": None, "peak_memory": None}, ""),
        ({"output_bytes": 7, "input_bytes": 0, "truncated": False}, "output_bytes=7 input_bytes=0"),
        ({"truncated": True}, "truncated=true"),
        (
            {"operator_id": "0", "operator": "root", "login_id": "1000", "login": "a b"},
            "operator=root operator_id=0 login='a b' login_id=1000",
        ),
    ],
)
def test_what_a_command_used_and_who_asked_is_shown(rexec: dict[str, object], shown: str) -> None:
    """As far as it is known; what was not cut off is not said."""
    assert render({"rexec": rexec}) == f"- - - {shown}".rstrip()

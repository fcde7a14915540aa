"""Verifying a trail: every change is found where it is, and nothing else is."""

import json
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from rexecd import files
from rexecd.audit.checkpoint import Checkpoint
from rexecd.audit.events import Action
from rexecd.audit.keys import KEY_NAME, load_chain
from rexecd.audit.lines import Line
from rexecd.audit.seal import Chain, Change
from rexecd.audit.trail import Trail
from rexecd.audit.verify import Knowledge, Report, verify
from rexecd.clock import Clock
from rexecd.errors import ConfigError
from tests.trails import encoded, new_key, verified

COUNT = 60
Lines = list[bytes]
CHANGED = Path("changed")


class Sample:
    """A trail of some records, its key file and its verification key."""

    def __init__(self, directory: Path, count: int) -> None:
        self.count = count
        self.path = directory / "audit.jsonl"
        self.head_path = directory / KEY_NAME
        self.key = new_key(directory)
        self.checkpoints: list[Checkpoint] = []
        actions = list(Action)
        with Trail.open(self.path, self.head_path, clock=Clock()) as trail:
            trail.on_step = self._sign
            for number in range(count - 1):
                trail.append(actions[number % 20], line=f"disk /srv/{number}", principal="ci", port=number)
                if number % 10 == 5:
                    trail.persist()
        self.head = load_chain(self.head_path)
        self.lines = self.path.read_bytes().splitlines(keepends=True)

    def _sign(self, chain: Chain) -> None:
        self.checkpoints.append(Checkpoint("test/rexecd", chain.sequence - 1, chain.digest))

    def verify(self, lines: Lines) -> Report:
        """Return what is found in a trail of these lines, with the keys."""
        return verify(as_lines(lines), Knowledge(key=self.key, head=self.head), where=CHANGED)

    def verify_in_public(self, lines: Lines) -> Report:
        """Return what is found with checkpoints alone."""
        return verify(as_lines(lines), Knowledge(checkpoints=self.checkpoints), where=CHANGED)


def as_lines(lines: Lines) -> Iterator[Line]:
    """Yield the lines of one file as a reader gives them."""
    return (Line(CHANGED, number, data) for number, data in enumerate(lines, 1))


@pytest.fixture(scope="module", params=[COUNT, pytest.param(1000, marks=pytest.mark.slow)])
def sample(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Sample:
    """Return a trail that no test changes."""
    return Sample(tmp_path_factory.mktemp("sample"), request.param)


@pytest.fixture(scope="module")
def other(sample: Sample, tmp_path_factory: pytest.TempPathFactory) -> Sample:
    """Return another trail of the same length."""
    return Sample(tmp_path_factory.mktemp("other"), sample.count)


def test_a_whole_trail_is_good(sample: Sample) -> None:
    """All records, from the first, and the digest to note down."""
    report, count = sample.verify(sample.lines), sample.count

    assert (report.good, report.records, report.first, report.last) == (True, count, 1, count)
    assert report.digest == sample.head.digest.hex()
    assert str(report) == f"records 1 to {count} unbroken, digest {report.digest}"


def test_checkpoints_alone_say_as_much_of_what_they_cover(sample: Sample) -> None:
    """Without any secret: for whoever is given the public key and the notes."""
    report = sample.verify_in_public(sample.lines)

    assert (report.good, report.last, report.known_end) == (True, sample.count, sample.count)
    assert report.checkpoints == len(sample.checkpoints) > 5
    assert "seals were not checked, for want of their key" in str(report)


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
    for at in range(sample.count):
        line = bytearray(sample.lines[at])
        line[BYTES[kind]] ^= 1
        report = sample.verify([*sample.lines[:at], bytes(line), *sample.lines[at + 1 :]])

        assert report.finding is not None
        assert report.finding.line == at + 1
        assert report.finding.path.name == "changed"


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
    record = encoded({"event": {"action": "command-allowed"}, "rexec": {"line": "forged"}})
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
    for at in range(sample.count - 1):
        assert found_at(sample.verify(move(sample.lines, at, other.lines)), at + 1, *changes), at


def test_a_repeated_line_is_found_everywhere(sample: Sample) -> None:
    """The second one is where it is found."""
    for at in range(sample.count):
        report = sample.verify(repeated(sample.lines, at, []))

        assert found_at(report, at + 2, Change.OUT_OF_ORDER), at


def test_a_cut_end_is_found_against_the_key_file(sample: Sample) -> None:
    """After any whole line, and inside any."""
    for at in range(sample.count):
        report = sample.verify(sample.lines[:at])

        assert report.finding is not None
        assert (report.finding.change, report.finding.sequence) == (Change.CUT, at + 1)
        assert f"records {at + 1} to {sample.count} were written and are missing" in report.finding.text
        torn = sample.verify([*sample.lines[:at], sample.lines[at][:100]])
        assert found_at(torn, at + 1, Change.TORN)


def test_a_cut_beginning_is_found_everywhere(sample: Sample) -> None:
    """A file has to begin with trail-opened."""
    for at in range(1, sample.count):
        report = sample.verify(sample.lines[at:])

        assert report.finding is not None
        assert (report.finding.change, report.finding.line) == (Change.MISSING, 1)


@pytest.mark.parametrize("is_public", [False, True])
def test_an_older_copy_is_found_everywhere(sample: Sample, *, is_public: bool) -> None:
    """The trail as it was before: against the key file, or against a checkpoint that left in time."""
    verify_ = sample.verify_in_public if is_public else sample.verify
    for at in range(sample.count):
        finding = verify_(sample.lines[:at]).finding

        assert finding is not None
        assert (finding.change, finding.sequence) == (Change.CUT, at + 1)


@pytest.mark.parametrize("kind", [*MOVES, "repeated", "byte"])
def test_a_change_is_found_everywhere_with_checkpoints_alone(
    sample: Sample, other: Sample, kind: str
) -> None:
    """At the next checkpoint at the latest; without any secret, whoever made the change had all keys."""
    for at in range(sample.count - 1):
        if kind == "byte":
            line = bytearray(sample.lines[at])
            line[-40] = ord("0") if line[-40] != ord("0") else ord("1")
            lines = [*sample.lines[:at], bytes(line), *sample.lines[at + 1 :]]
        else:
            move = repeated if kind == "repeated" else MOVES[kind][0]
            lines = move(sample.lines, at, other.lines)
        finding = sample.verify_in_public(lines).finding

        assert finding is not None, at
        assert finding.line >= at + 1


def test_two_futures_of_one_trail_do_not_mix(tmp_path: Path) -> None:
    """The same key, copied: from where they part, neither continues the other."""
    (tmp_path / "one").mkdir()
    key = new_key(tmp_path / "one")
    shutil.copytree(tmp_path / "one", tmp_path / "two")
    paths = []
    for name in ("one", "two"):
        paths.append(tmp_path / name / "audit.jsonl")
        with Trail.open(paths[-1], tmp_path / name / KEY_NAME, clock=Clock()) as trail:
            for count in range(5):
                trail.append(Action.COMMAND_ALLOWED, line=name, count=count)
    one, two = (path.read_bytes().splitlines(keepends=True) for path in paths)
    paths[0].write_bytes(b"".join(one[:3] + two[3:]))

    assert found_at(verified(paths[:1], key), 4, Change.EDITED)
    paths[0].write_bytes(b"".join(two))
    report = verified(paths[:1], key, head=tmp_path / "one" / KEY_NAME)
    assert found_at(report, 6, Change.EDITED)
    assert "not the one that was persisted" in str(report)


@pytest.fixture
def rotated(tmp_path: Path) -> tuple[list[Path], bytes, Path]:
    """Return the three files of one trail, its verification key and its key file."""
    key, head = new_key(tmp_path), tmp_path / KEY_NAME
    paths = [tmp_path / f"{number}.jsonl" for number in range(3)]
    for path in paths:
        with Trail.open(path, head, clock=Clock()) as trail:
            for _ in range(3):
                trail.append(Action.COMMAND_ALLOWED)
    return paths, key, head


def test_files_of_one_trail_verify_together_and_alone(rotated: tuple[list[Path], bytes, Path]) -> None:
    """Older files may be gone: it is said, not judged."""
    paths, key, head = rotated

    assert verified(paths, key, head=head).last == 12
    later = verified(paths[1:], key, head=head)
    assert (later.good, later.first, later.last) == (True, 5, 12)
    assert "records before 5 are in none of these files" in str(later)


def test_a_missing_or_misplaced_file_is_found(rotated: tuple[list[Path], bytes, Path]) -> None:
    """From the middle, in the wrong order, or from the end."""
    paths, key, head = rotated
    missing = verified([paths[0], paths[2]], key, head=head).finding
    assert missing is not None
    assert (missing.path, missing.line, missing.change) == (paths[2], 1, Change.MISSING)
    wrong = verified([paths[1], paths[0]], key).finding
    assert wrong is not None
    assert (wrong.path, wrong.change) == (paths[0], Change.OUT_OF_ORDER)
    ended = verified(paths[:2], key, head=head).finding
    assert ended is not None
    assert (ended.path, ended.line, ended.change) == (paths[1], 4, Change.CUT)
    none = verified([], key, head=head).finding
    assert none is not None
    assert none.change is Change.CUT


def test_a_false_beginning_is_found(rotated: tuple[list[Path], bytes, Path]) -> None:
    """Neither the number nor the seal of a file's first record can be made up."""
    paths, key, head = rotated
    line, *others = paths[1].read_bytes().splitlines(keepends=True)
    seal = json.loads(line)["rexec"]["previous_digest"].encode()
    for changed in (
        line.replace(b'"sequence":5', b'"sequence":4'),
        line.replace(b'"sequence":5', b'"sequence":999999999999999999'),
        line.replace(seal, b"0" * 64),
        line.replace(seal, b"x" * 64),
        line.replace(b'"@timestamp"', b'@timestamp"'),
        line.replace(b"trail-opened", b"trail-mended"),
    ):
        paths[1].write_bytes(b"".join([changed, *others]))
        finding = verified(paths[1:], key, head=head).finding

        assert finding is not None
        assert finding.line == 1


def test_a_new_beginning_must_follow_what_was_persisted(tmp_path: Path) -> None:
    """Who holds the current key cannot hang a new file on a seal of their own."""
    key, head = new_key(tmp_path), tmp_path / KEY_NAME
    Trail.open(tmp_path / "one.jsonl", head, clock=Clock()).close()
    genuine = head.read_bytes()
    forged = {**json.loads(genuine), "digest": "00" * 32}
    files.write_file(head, json.dumps(forged).encode(), mode=0o600)
    Trail.open(tmp_path / "two.jsonl", head, clock=Clock()).close()
    files.write_file(head, genuine, mode=0o600)

    assert verified([tmp_path / "two.jsonl"], key).good
    assert "is not the one that was persisted" in str(verified([tmp_path / "two.jsonl"], key, head=head))


def test_another_key_fits_nothing(sample: Sample) -> None:
    """The first record is where it is found."""
    assert found_at(verified([sample.path], bytes(32)), 1, Change.EDITED)


def test_a_missing_file_is_one_line(tmp_path: Path) -> None:
    """It is not an empty trail."""
    with pytest.raises(ConfigError, match=r"none: cannot be read: No such file or directory"):
        verified([tmp_path / "none"], bytes(32))


def test_nothing_is_nothing(tmp_path: Path) -> None:
    """An empty file without a key file says no more than that."""
    (tmp_path / "empty").touch()

    assert str(verified([tmp_path / "empty"], bytes(32))) == "no records"

"""What rexecd must reach, as rows of one table, and what a run has measured of each. Pure.

Where a round or a peer is missing in a run, so is its figure: `not measured`.
"""

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

from benchmarks import caller, limits
from benchmarks.measure import shown
from benchmarks.rounds import bulk, features, growth, idle, parallel, single

Run = Mapping[str, Any]

MISSING = "not measured"
_OURS = "rexecd"
_NOBODY = "rexecd, as nobody"
_MANY = 64
_IDLE = 5000
_RECORDS = 1_000_000
#: MiB by which memory may breathe and is flat.
_BREATH = 2.0


class Value(NamedTuple):
    """What was measured: in words, and whether it is what it must be, and what was aimed at."""

    words: str
    is_met: bool
    is_aim: bool | None


class Target(NamedTuple):
    """One row: what it must be, what is aimed at, and what finds it in a run."""

    figure: str
    must: str
    aim: str
    find: Callable[[Run], Value]


class Judged(NamedTuple):
    """One row of the table of a run."""

    figure: str
    must: str
    aim: str
    measured: str
    reached: str

    def shown(self) -> dict[str, str]:
        """Return the cells behind its name."""
        return {"must": self.must, "aim": self.aim, "measured": self.measured, "reached": self.reached}


def figure(run: Run, round_: str, row: str, column: str) -> float:
    """Return one figure of a run; raise KeyError where it is not there."""
    value = run["rounds"][round_]["rows"][row][column]
    if value is None:
        raise KeyError(column)
    return float(value)


def _below(value: float, must: float, aim: float, words: str) -> Value:
    return Value(words, value <= must, value <= aim)


def _ratio(round_: str, row: str, must: float, aim: float) -> Callable[[Run], Value]:
    def find(run: Run) -> Value:
        value, p50 = (figure(run, round_, row, column) for column in ("ratio", "p50"))
        return _below(value, must, aim, f"{shown(value)} ×, {shown(p50)} ms")

    return find


def _many(run: Run) -> Value:
    rate = figure(run, "parallel", parallel.AT_ONCE.format(_OURS, _MANY), "per_second")
    bare = figure(run, "parallel", limits.LOOPS, "per_second")
    rows = run["rounds"]["parallel"]["rows"]
    others = [
        row["per_second"]
        for name in ("asyncssh", "OpenSSH")
        if "per_second" in (row := rows.get(parallel.AT_ONCE.format(name, _MANY), {}))
    ]
    if not others:
        raise KeyError("asyncssh")
    best = max(others)
    words = f"{shown(rate)}/s: {shown(rate / best)} × the better of both, {shown(rate / bare)} × the loops"
    return Value(words, rate >= 2.5 * best, rate >= 0.6 * bare)


def _many_as_nobody(run: Run) -> Value:
    rate = figure(run, "parallel", parallel.AT_ONCE.format(_NOBODY, _MANY), "per_second")
    return Value(f"{shown(rate)}/s", rate >= 500, rate >= 1000)


def _whole(run: Run) -> Value:
    ours, nrpe = (figure(run, "processes", row, "p50") for row in (caller.OURS, "check_nrpe, new connection"))
    try:
        ssh = figure(run, "processes", "ssh, new connection", "p50")
    except KeyError:
        return Value(f"{shown(ours)} ms, check_nrpe {shown(nrpe)} ms", ours <= nrpe, None)
    words = f"{shown(ours)} ms, check_nrpe {shown(nrpe)} ms, {shown(ours / ssh)} × ssh"
    return Value(words, ours <= nrpe, ours <= 0.2 * ssh)


def _output(run: Run) -> Value:
    ours, bare = (figure(run, "output", row, "GB_per_second") for row in (bulk.OURS, limits.STREAM))
    words = f"{shown(ours / bare)} ×, {shown(ours)} GB/s"
    try:
        ssh = figure(run, "output", "OpenSSH", "GB_per_second")
    except KeyError:
        return Value(words, ours >= 0.9 * bare, None)
    return Value(f"{words}; OpenSSH {shown(ssh)} GB/s", ours >= 0.9 * bare, ours >= ssh)


def _idle_memory(run: Run) -> Value:
    value = figure(run, "idle", idle.BESIDE.format(_IDLE), "KiB_each")
    return _below(value, 128, 88, f"{shown(value)} KiB each")


def _slow(run: Run) -> Value:
    grown = [figure(run, "slow", name, "grown_MiB") for name in ("gateway", "monitor")]
    words = f"gateway {grown[0]:+.1f} MiB, monitor {grown[1]:+.1f} MiB"
    return Value(words, max(grown) <= _BREATH, None)


def _verify(run: Run) -> Value:
    value = figure(run, "records", growth.VERIFY.format(_RECORDS), "seconds")
    return _below(value, 15, 5, f"{shown(value)} s")


TARGETS = (
    Target(
        "command on an open connection, p50, daemon's own user",
        "1.6 × a bare `Popen` with two pipes",
        "1.3 ×",
        _ratio("commands", single.OPEN.format(_OURS), 1.6, 1.3),
    ),
    Target(
        "the same with run-as and limits",
        "3.0 ×",
        "1.8 ×",
        _ratio("rules_of", features.RUN_AS_AND_LIMITS, 3.0, 1.8),
    ),
    Target(
        "connect, authenticate, run, close, p50",
        "2.0 × (TLS handshake + bare `Popen`)",
        "1.5 ×",
        _ratio("commands", single.NEW.format(_OURS), 2.0, 1.5),
    ),
    Target(
        "commands/s, 64 connections", "2.5 × asyncssh and OpenSSH", "0.6 × two `posix_spawn` loops", _many
    ),
    Target("the same with run-as", "500/s", "1,000/s", _many_as_nobody),
    Target("`rexec HOST true`, whole process", "as quick as `check_nrpe`", "0.2 × `ssh`", _whole),
    Target("2 GB of output", "0.9 × a raw Python TLS stream", "≥ OpenSSH aes128-gcm", _output),
    Target("5,000 idle connections, both processes' memory", "128 KiB each", "88 KiB", _idle_memory),
    Target(
        "a command beside them, p50",
        "2 × alone",
        "1.2 ×",
        _ratio("idle", idle.BESIDE.format(_IDLE), 2.0, 1.2),
    ),
    Target("memory while a slow reader takes 1 GB", "flat", "", _slow),
    Target(
        "the trail's share of a command, p50 (`sync: interval`)",
        "1.15 × without",
        "1.05 ×",
        _ratio("trail", features.SYNC.format("interval"), 1.15, 1.05),
    ),
    Target("verify 1,000,000 records", "15 s", "5 s", _verify),
)


def judged(run: Run) -> list[Judged]:
    """Return every row, with what this run has measured of it.

    >>> judged({"rounds": {}})[0].measured
    'not measured'
    """
    rows = []
    for target in TARGETS:
        try:
            value = target.find(run)
        except KeyError:
            rows.append(Judged(target.figure, target.must, target.aim, MISSING, ""))
            continue
        reached = "no" if not value.is_met else "aim" if value.is_aim else "must"
        rows.append(Judged(target.figure, target.must, target.aim, value.words, reached))
    return rows

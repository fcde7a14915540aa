"""Which question is open when, with all the closed ones."""

import itertools
from typing import Any

import pytest

from rexecd.errors import RemoteProtocolError
from rexecd.seam import messages as seam
from rexecd.seam.messages import PERMITS, SEAM, Parting, Permits, Stage
from rexecd.wire import messages as wire
from rexecd.wire.messages import CATALOGUE
from tests.catalogues import sample

PAIRS = list(itertools.product(Stage, [row.type for row in SEAM.rows]))
IDS = [f"{stage.name}-{kind.__module__.split('.')[1]}-{kind.__name__}".lower() for stage, kind in PAIRS]

#: The table once more, by hand: a second opinion.
OPEN: dict[Stage, set[type]] = {
    Stage.FRESH: {seam.Authenticate, seam.Report},
    Stage.REPORTING: {seam.Report},
    Stage.AUTHENTICATED: {wire.Run, wire.List, seam.Renounce},
    Stage.RUNNING: {wire.Signal, seam.Renounce},
    Stage.DRAINING: {wire.Signal, seam.Drained, seam.Renounce},
}


@pytest.mark.parametrize(("stage", "kind"), PAIRS, ids=IDS)
def test_a_question_is_open_or_a_violation(stage: Stage, kind: Any) -> None:
    """Every (stage, message) pair is decided, and checking moves no stage."""
    permits = Permits()
    permits.stage = stage
    if kind in OPEN[stage]:
        permits.check(sample(SEAM, kind))
    else:
        with pytest.raises(RemoteProtocolError, match=f"not permitted on a channel that is {stage.name}"):
            permits.check(sample(SEAM, kind))

    assert stage is permits.stage


def test_a_channel_begins_fresh() -> None:
    """Nothing but who you are, or what you report, can be the first question."""
    assert Permits().stage is Stage.FRESH


def test_a_message_of_the_wire_is_no_question_unless_it_passes() -> None:
    """The caller's own Authenticate is another type than the seam's and opens nothing."""
    with pytest.raises(RemoteProtocolError, match="Authenticate is not permitted"):
        Permits().check(wire.Authenticate(b"token"))


def test_no_answer_of_the_monitor_is_ever_a_question() -> None:
    """The gateway cannot say what only the monitor may say."""
    answers = {row.type for row in SEAM.rows if row.kind >= 128}

    assert set() == answers & frozenset.union(*PERMITS.values())


def test_identity_is_asked_once() -> None:
    """After the first stage nobody can become somebody else."""
    assert {Stage.FRESH} == {stage for stage, kinds in PERMITS.items() if seam.Authenticate in kinds}


def test_messages_that_pass_through_keep_their_numbers() -> None:
    """A Run is the same bytes on the wire and on the seam."""
    shared = {row.type for row in SEAM.rows} & {row.type for row in CATALOGUE.rows}

    assert wire.Run in shared
    assert {kind: CATALOGUE.kind(kind) for kind in shared} == {kind: SEAM.kind(kind) for kind in shared}


def test_what_only_bytes_are_for_never_crosses_the_seam() -> None:
    """Input and output go through the pipes, never through the trusted process."""
    kinds = {row.type for row in SEAM.rows}

    assert set() == kinds & {wire.Input, wire.InputEnd, wire.Output, wire.ErrorOutput, wire.Goodbye}


def test_a_parting_is_written_as_a_word() -> None:
    """The trail can tell a goodbye from a lost connection."""
    words = ["goodbye", "connection-lost", "protocol-error", "write-timeout", "stopping", "idle"]

    assert words == [parting.word for parting in Parting]

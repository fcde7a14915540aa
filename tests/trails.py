"""Trails for tests: keys, and what verify says of some files."""

import json
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

from rexecd.audit.checkpoint import Checkpoint
from rexecd.audit.events import Action, compose
from rexecd.audit.keys import create_keys, load_chain
from rexecd.audit.lines import lines
from rexecd.audit.verify import Knowledge, Report, verify


def encoded(record: Mapping[str, object]) -> bytes:
    """Return any record as `compose` leaves it: without the two braces at its end."""
    return json.dumps(record, separators=(",", ":")).removesuffix("}}").encode()


def shaped(action: Action, fields: Mapping[str, object], *, now: datetime) -> dict[str, Any]:
    """Return the record that is composed of an event."""
    record: dict[str, Any] = json.loads(compose(action, fields, now=now) + b"}}")
    return record


def new_key(state: Path) -> bytes:
    """Make the keys of a trail, and return the one that verifies its seals."""
    key = create_keys(state, "test").seals
    assert key is not None
    return key


def verified(
    paths: Iterable[Path],
    key: bytes | None,
    *,
    head: Path | None = None,
    checkpoints: Sequence[Checkpoint] = (),
    is_whole: bool = False,
) -> Report:
    """Return what is found in some files of a trail, the oldest first."""
    known = Knowledge(
        key=key,
        head=None if head is None else load_chain(head),
        checkpoints=checkpoints,
        is_whole=is_whole,
    )
    named = list(paths)
    where = named[-1] if named else Path()
    return verify((line for path in named for line in lines(path)), known, where=where)

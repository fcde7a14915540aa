"""Lists that are kept for completion."""

import time
from pathlib import Path

from rexecd.client.listcache import keep, recall
from rexecd.wire.messages import Entry


def test_a_list_that_would_not_be_read_again_is_not_written(tmp_path: Path) -> None:
    """A server does not fill the caller's disk."""
    path = tmp_path / "lists/x"
    keep(str(path), [Entry("n", "", "", "x" * 60_000, (), "")] * 200)

    assert not path.exists()

    entry = Entry("n", "n", "s", "d", ("p",), "{}")
    keep(str(path), [entry])

    assert [entry] == recall(str(path), 60, time.time())

"""Both ends together, with the network's delay between them."""

from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from rexecd.wire.connection import Connection, Role
from rexecd.wire.messages import FROM_CLIENT, FROM_SERVER
from rexecd.wire.states import NEXT, State
from tests.catalogues import messages

ROWS = {Role.CLIENT: FROM_CLIENT, Role.SERVER: FROM_SERVER}


class Wire:
    """Two ends and what is under way between them."""

    def __init__(self) -> None:
        self.ends = {role: Connection(role) for role in Role}
        self.under_way = {role: bytearray() for role in Role}
        self.sent: dict[Role, list[Any]] = {role: [] for role in Role}
        self.taken: dict[Role, list[Any]] = {role: [] for role in Role}

    def send(self, role: Role, draw: st.DataObject) -> None:
        """Let one end say anything it may say just now, if it may say anything."""
        end = self.ends[role]
        rows = [row for row in ROWS[role] if (end.state, row.type) in NEXT]
        if rows:
            message = draw.draw(messages(*rows))
            self.under_way[role] += end.send(message)
            self.sent[role].append(message)

    def deliver(self, sender: Role, size: int) -> None:
        """Let up to `size` bytes arrive; an end that has said its last word no longer listens."""
        taker = Role.SERVER if sender is Role.CLIENT else Role.CLIENT
        piece = bytes(self.under_way[sender][:size])
        del self.under_way[sender][:size]
        end = self.ends[taker]
        if piece and self.listens(end):
            end.receive(piece)
            while self.listens(end) and (message := end.next_message()) is not None:
                self.taken[sender].append(message)

    @staticmethod
    def listens(end: Connection) -> bool:
        """Return whether the end still takes messages."""
        return end.state is not State.CLOSED

    def settle(self) -> None:
        """Let everything arrive."""
        for sender in Role:
            self.deliver(sender, len(self.under_way[sender]))


@settings(max_examples=150, deadline=None)
@given(st.data(), st.lists(st.tuples(st.sampled_from(Role), st.integers(0, 60)), max_size=40))
def test_any_walk_of_legal_messages_keeps_both_ends_consistent(
    data: st.DataObject, steps: list[tuple[Role, int]]
) -> None:
    """Whatever two correct ends say, and however late it arrives, neither finds a fault in it."""
    wire = Wire()
    for role, size in steps:
        if size % 3:
            wire.deliver(role, size)
        else:
            wire.send(role, data)
    wire.settle()

    client, server = (wire.ends[role].state for role in (Role.CLIENT, Role.SERVER))
    assert client is server
    for role in Role:
        received = wire.taken[role]
        assert wire.sent[role][: len(received)] == received
        if client is not State.CLOSED:
            assert wire.sent[role] == received

"""The transition table, with its holes."""

import itertools
from typing import Any

import pytest

from rexecd.errors import LocalProtocolError, RemoteProtocolError
from rexecd.wire import messages as wire
from rexecd.wire.connection import Connection, Role
from rexecd.wire.frames import pack
from rexecd.wire.messages import CATALOGUE, FROM_CLIENT, FROM_SERVER
from rexecd.wire.states import NEXT, UNAUTHENTICATED, State
from tests.catalogues import sample

SENDS = {
    Role.CLIENT: {row.type for row in FROM_CLIENT},
    Role.SERVER: {row.type for row in FROM_SERVER},
}
TRIPLES = list(itertools.product(Role, State, [row.type for row in CATALOGUE.rows]))
PAIRS = list(itertools.product(State, [row.type for row in CATALOGUE.rows]))
IDS = [f"{role.name}-{state.name}-{kind.__name__}".lower() for role, state, kind in TRIPLES]


def at(role: Role, state: State) -> Connection:
    """Return one end in the given state."""
    connection = Connection(role)
    connection._state = state
    return connection


@pytest.mark.parametrize(("role", "state", "kind"), TRIPLES, ids=IDS)
def test_sending_what_the_table_does_not_have_is_our_bug(role: Role, state: State, kind: Any) -> None:
    """Every (role, state, message) either moves on or raises, and then nothing has moved."""
    connection = at(role, state)
    message = sample(CATALOGUE, kind)
    if kind in SENDS[role] and (state, kind) in NEXT:
        assert pack(CATALOGUE.encode(message)) == connection.send(message)
        assert NEXT[state, kind] is connection.state
    else:
        with pytest.raises(LocalProtocolError, match=f"not allowed in state {state.name}"):
            connection.send(message)
        assert state is connection.state


@pytest.mark.parametrize(("role", "state", "kind"), TRIPLES, ids=IDS)
def test_receiving_what_the_table_does_not_have_is_their_fault(role: Role, state: State, kind: Any) -> None:
    """Every (role, state, message) is either understood or ends the conversation."""
    connection = at(role, state)
    message = sample(CATALOGUE, kind)
    connection.receive(pack(CATALOGUE.encode(message)))
    if kind not in SENDS[role] and (state, kind) in NEXT:
        assert message == connection.next_message()
        assert NEXT[state, kind] is connection.state
    else:
        with pytest.raises(RemoteProtocolError, match=f"not allowed in state {state.name}"):
            connection.next_message()


def test_the_server_may_end_the_session_in_every_state_but_the_last() -> None:
    """There is always a way to say why."""
    assert set(State) - {State.CLOSED} == {state for state, kind in NEXT if kind is wire.Closed}


def test_nothing_leads_out_of_the_end() -> None:
    """CLOSED has no successor."""
    assert [pair for pair in NEXT if pair[0] is State.CLOSED] == []


def test_every_state_can_be_reached_and_left() -> None:
    """There is no dead state but the last, and none that is never entered but the first."""
    assert set(State) - {State.CLOSED} == {state for state, _ in NEXT}
    assert set(State) - {State.GREETING} == {state for state in NEXT.values() if state is not State.GREETING}


def test_every_message_is_used() -> None:
    """A message no state takes would be dead weight."""
    assert {row.type for row in CATALOGUE.rows} == {kind for _, kind in NEXT}


def test_only_authentication_leads_out_of_the_strangers_states() -> None:
    """Whoever has not shown a token can do nothing but show one."""
    ways = {kind for (state, kind), after in NEXT.items() if {state} & UNAUTHENTICATED and state is not after}

    assert {wire.Authenticate, wire.Accepted, wire.Closed} == ways


def test_whatever_may_cross_exit_is_taken_behind_it() -> None:
    """What a caller may send while a command runs, the server takes when it is just over."""
    crossing = {
        kind for state, kind in NEXT if state in {State.RUNNING, State.FEEDING} and kind in SENDS[Role.CLIENT]
    }

    assert {wire.Input, wire.InputEnd, wire.Signal} == crossing
    assert crossing == {kind for kind in crossing if NEXT.get((State.ENDED, kind)) is State.ENDED}


@pytest.mark.parametrize(("state", "kind"), PAIRS)
def test_both_ends_walk_the_same_way(state: State, kind: Any) -> None:
    """What one end may send, the other end takes, and both arrive in the same state."""
    sender = at(Role.CLIENT if kind in SENDS[Role.CLIENT] else Role.SERVER, state)
    taker = at(Role.SERVER if kind in SENDS[Role.CLIENT] else Role.CLIENT, state)
    if (state, kind) in NEXT:
        taker.receive(sender.send(sample(CATALOGUE, kind)))
        taker.next_message()

    assert sender.state is taker.state

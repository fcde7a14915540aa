"""Strangers: silent, slow, misspeaking, too many. None of them delays another caller."""

import os
import socket
import ssl
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor

import pytest

from rexecd.wire import messages as wire
from tests.harness import PATIENCE, Daemon, wait_for


def _connect(daemon: Daemon) -> socket.socket:
    return socket.create_connection(("127.0.0.1", daemon.port), timeout=PATIENCE)


def _is_shed(daemon: Daemon) -> bool:
    """Return whether a connection is ended without a byte; it may be while it is made."""
    try:
        with _connect(daemon) as sock:
            return _rest(sock) == b""
    except ConnectionResetError:
        return True


def _rest(sock: socket.socket) -> bytes:
    """Return everything until the server closes."""
    data = b""
    try:
        while piece := sock.recv(65536):
            data += piece
    except ConnectionError:
        pass
    return data


def test_silent_strangers_delay_nobody_and_are_cut_after_the_grace_time(daemon: Daemon) -> None:
    """Twenty peers that say nothing, and a caller beside them."""
    begun = time.monotonic()
    strangers = [_connect(daemon) for _ in range(20)]
    done = daemon.rexec("echo", "quick")
    served = time.monotonic() - begun
    rests = [_rest(stranger) for stranger in strangers]
    for stranger in strangers:
        stranger.close()

    assert "quick\n" == done.stdout
    assert served < daemon.settings.grace_time
    assert [b""] * 20 == rests
    assert time.monotonic() - begun < daemon.settings.grace_time + 5
    wait_for(lambda: len(daemon.records("tls-failed", reason="no handshake within the grace time")) >= 20)


def test_a_stranger_silent_after_the_handshake_is_cut_too(daemon: Daemon) -> None:
    """The grace time is one for everything before the token."""
    with daemon.caller(None) as caller:
        closed = caller.hear()
        nothing = caller.hear()

    assert (10, None) == (closed.code, nothing)
    daemon.wait_for_record("auth-refused", reason="no token within the grace time")


@pytest.mark.parametrize(
    "said",
    {
        "http": b"GET / HTTP/1.1\r\nHost: x\r\n\r\n",
        "ssh": b"SSH-2.0-OpenSSH_9.2\r\n",
        "nothing but zeros": bytes(64),
        "noise": bytes(range(256)) * 64,
    }.values(),
)
def test_a_plaintext_peer_gets_no_byte_of_ours_and_leaves_one_record(daemon: Daemon, said: bytes) -> None:
    """No echo, no alert, no traceback; one record."""
    with _connect(daemon) as stranger:
        port = stranger.getsockname()[1]
        stranger.sendall(said)
        answer = _rest(stranger)

    def mine() -> list[str]:
        return [r["event"]["action"] for r in daemon.records() if r.get("source", {}).get("port") == port]

    assert b"" == answer
    wait_for(mine, "the record")
    assert ["tls-failed"] == mine()
    assert "Traceback" not in daemon.complaints()


def test_only_tls_1_3_is_spoken(daemon: Daemon) -> None:
    """A caller that can do no better than 1.2 is turned away."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.load_verify_locations(daemon.made.authority)
    context.maximum_version = ssl.TLSVersion.TLSv1_2
    with _connect(daemon) as raw, pytest.raises(ssl.SSLError):
        context.wrap_socket(raw, server_hostname="127.0.0.1")


def test_a_tls_peer_of_another_protocol_is_turned_away(daemon: Daemon) -> None:
    """Without our name in ALPN there is no conversation."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.load_verify_locations(daemon.made.authority)
    with _connect(daemon) as raw, context.wrap_socket(raw, server_hostname="127.0.0.1") as tls:
        tls.sendall(b"GET / HTTP/1.1\r\n\r\n")

        assert b"" == _rest(tls)
    daemon.wait_for_record("tls-failed", reason="the peer does not speak rexec/1")


def test_over_the_bound_a_connection_is_closed_at_once_and_counted(own_daemon: Daemon) -> None:
    """The sessions that are there go on; a place given back is used again."""
    own_daemon.start()
    most = own_daemon.settings.max_connections
    with own_daemon.caller() as early:
        strangers = [_connect(own_daemon) for _ in range(most - 1)]
        late = [_is_shed(own_daemon) for _ in range(10)]
        heard = early.run("echo still-served")
        for stranger in strangers:
            stranger.close()
        record = own_daemon.wait_for_record("limit-reached")
        wait_for(lambda: own_daemon.rexec("echo", "again").returncode == 0, "a free place")

    assert [True] * 10 == late
    assert b"still-served\n" == heard[1].data
    assert 1 <= record["rexec"]["count"] <= 10


def test_many_callers_at_once_each_get_their_own_answer(daemon: Daemon) -> None:
    """Thirty at a time, each on a connection of its own."""

    def call(number: int) -> tuple[int, bytes]:
        with daemon.caller() as caller:
            return number, caller.run(f"echo {number}")[1].data

    with ThreadPoolExecutor(15) as pool:
        answers = list(pool.map(call, range(60)))

    assert [(number, f"{number}\n".encode()) for number in range(60)] == answers


@pytest.mark.parametrize(
    ("raw", "why"),
    {
        "a frame too long": (b"\x00\x00\x10\x01", "frame of 4097 bytes"),
        "a huge frame": (b"\xff\xff\xff\xff", "frame of 4294967295 bytes"),
        "an empty frame": (b"\x00\x00\x00\x00", "frame of 0 bytes"),
        "an unknown kind": (b"\x00\x00\x00\x01\x63", "unknown message kind 99"),
        "a command first": (b"\x00\x00\x00\x0c\x02\x00\x02ls" + bytes(7), "Run is not allowed"),
        "the server's own message": (b"\x00\x00\x00\x01\x88", "Listed is not allowed"),
        "a truncated field": (b"\x00\x00\x00\x03\x01\x00\x05", "message ends inside a field"),
    }.values(),
)
def test_a_stranger_that_misspeaks_is_told_once_and_cut(daemon: Daemon, raw: bytes, why: str) -> None:
    """Nothing behind the violation is read; the record has the reason."""
    with daemon.caller(None) as caller:
        caller.tls.sendall(raw)
        closed = wire.CATALOGUE.decode(_rest(caller.tls)[4:])

    assert (10, True) == (closed.code, why in closed.text)
    wait_for(lambda: any(why in r["event"]["reason"] for r in daemon.records("auth-refused")))


@pytest.mark.parametrize(
    ("message", "why"),
    {
        "a second token": (b"\x01\x00\x01x", "Authenticate is not allowed in state READY"),
        "input for nothing": (b"\x03x", "Input is not allowed in state READY"),
        "no UTF-8": (b"\x02\x00\x02\xff\xfe\x00", "text is not UTF-8"),
        "a line too long": (b"\x02\x40\x01" + b"a" * 16385 + b"\x00", "field of 16385 bytes exceeds 16384"),
        "left-over bytes": (b"\x06\x00", "1 bytes left over"),
        "an unknown signal": (b"\x05\x09", "9 is no SignalName"),
    }.values(),
)
def test_a_caller_that_misspeaks_loses_its_session_and_the_daemon_serves_on(
    daemon: Daemon, message: bytes, why: str
) -> None:
    """The reason is told, recorded with the session, and nobody else notices."""
    with daemon.caller() as caller:
        assert caller.accepted
        caller.tls.sendall(len(message).to_bytes(4, "big") + message)
        closed = caller.hear()

        assert (10, True) == (closed.code, why in closed.text)
        record = daemon.wait_for_record("connection-closed", connection_id=caller.accepted.connection_id)
    assert why in record["event"]["reason"]
    assert 0 == daemon.rexec("echo", "on").returncode


def test_a_second_command_while_one_runs_ends_the_session_and_the_command(daemon: Daemon) -> None:
    """One command at a time; identity and command never mix."""
    with daemon.caller() as caller:
        caller.say(wire.Run("sleep", wire.Offer.NONE, ""))
        assert isinstance(caller.hear(), wire.Started)
        caller.tls.sendall(b"\x00\x00\x00\x0f\x02\x00\x05again" + bytes(7))
        closed = caller.hear()

    assert 10 == closed.code
    wait_for(
        lambda: [r for r in daemon.records("command-killed") if "Run is not allowed" in r["event"]["reason"]]
    )


def test_refusals_of_a_line_leave_the_session_open(daemon: Daemon) -> None:
    """An unclosed quote, a NUL, ten thousand arguments: each one clear line, then life goes on."""
    lines = ["echo 'open", "echo a\0b", "", "   ", "echo " + "a " * 8000, "echo \\"]
    with daemon.caller() as caller:
        answers = [caller.run(line)[-1] for line in lines]
        last = caller.run("echo fine")

    assert [3] * len(lines) == [answer.code for answer in answers]
    assert "quot" in answers[0].text
    assert b"fine\n" == last[1].data


def test_a_half_closed_connection_is_a_lost_one(daemon: Daemon) -> None:
    """A bare end-of-file is no goodbye: the command ends."""
    with daemon.caller() as caller:
        caller.say(wire.Run("sleep", wire.Offer.NONE, ""))
        assert isinstance(caller.hear(), wire.Started)
        raw = socket.socket(fileno=os.dup(caller.tls.fileno()))
        raw.shutdown(socket.SHUT_WR)
        raw.close()
        assert caller.accepted
        connection = caller.accepted.connection_id
        daemon.wait_for_record("command-killed", connection_id=connection, reason="connection-lost")


def test_an_inherited_listener_is_served(own_daemon: Daemon) -> None:
    """As a service manager passes it: descriptor 3, LISTEN_PID, LISTEN_FDS, LISTEN_FDNAMES."""
    own_daemon.start()  # for its monitor; the second gateway listens on a socket it was given
    starter = (
        "import os, sys; os.dup2(int(sys.argv[1]), 3); os.set_inheritable(3, True);"
        "os.environ.update(LISTEN_PID=str(os.getpid()), LISTEN_FDS='1', LISTEN_FDNAMES='callers');"
        "os.execv(sys.executable, [sys.executable, '-I', '-m', 'rexecd', *sys.argv[2:]])"
    )
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
        line = [sys.executable, "-c", starter, str(listener.fileno()), "gateway", "--config"]
        with subprocess.Popen(
            [*line, str(own_daemon.made.config)],
            pass_fds=[listener.fileno()],
            stdout=subprocess.PIPE,
            text=True,
        ) as process:
            assert process.stdout
            ready = process.stdout.readline()
            stranger = socket.create_connection(("127.0.0.1", port), timeout=PATIENCE)
            stranger.sendall(b"not TLS at all, and long enough to be judged as a record")
            rest = _rest(stranger)
            stranger.close()
            process.terminate()

    assert f"rexecd: ready on 127.0.0.1:{port}\n" == ready
    assert len(rest) <= 7
    assert 0 == process.returncode

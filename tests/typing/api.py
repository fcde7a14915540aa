"""What a type checker makes of the public names of `rexecd.client`; checked, and never run."""

from collections.abc import Iterator
from typing import Any, assert_type

import rexecd.client
from rexecd.client import (
    CallerError,
    CommandFailed,
    CommandTimedOut,
    Entry,
    NotText,
    Pool,
    Result,
    RunningCommand,
    Session,
    Stream,
)


def results(session: Session, pool: Pool, *, either: bool) -> None:
    """Bytes, unless text is asked for; nothing, where it goes elsewhere."""
    assert_type(session.run("x"), Result[bytes])
    assert_type(session.run(["x", "y"], input=b"", timeout=1, reason="why", check=True), Result[bytes])
    assert_type(session.run("x", text=False), Result[bytes])
    assert_type(session.run("x", text=True), Result[str])
    assert_type(session.run("x", text=True, input="grüße"), Result[str])
    assert_type(session.run("x", encoding="latin-1"), Result[str])
    assert_type(session.run("x", encoding="latin-1", errors="replace"), Result[str])
    assert_type(session.run("x", text=True, errors="replace"), Result[str])
    assert_type(session.run("x", capture_output=False), Result[None])
    assert_type(session.run("x", capture_output=either, text=either), Result[Any])
    assert_type(session.run("x", text=either), Result[Any])
    assert_type(session.run("x").stdout, bytes)
    assert_type(session.run("x", text=True).stderr, str)
    assert_type(session.run("x", capture_output=False).stdout, None)
    assert_type(pool.run("x"), Result[bytes])
    assert_type(pool.run("x", text=True), Result[str])
    assert_type(rexecd.client.run("web1", "x"), Result[bytes])
    assert_type(rexecd.client.run("web1", "x", token="t", ca="ca.pem", text=True), Result[str])
    assert_type(rexecd.client.run("web1", "x", family="inet", capture_output=False), Result[None])


def what_a_result_has(result: Result[bytes]) -> None:
    """Have the names of `subprocess.CompletedProcess`, and ours."""
    assert_type(result.args, str)
    assert_type(result.returncode, int)
    assert_type(result.outcome, str)
    assert_type(result.signal, str | None)
    assert_type(result.truncated, bool)
    assert_type(result.duration, float)
    assert_type(result.request_id, str)
    assert_type(result.check_returncode(), None)


def sessions() -> None:
    """Context managers that give what they are."""
    with rexecd.client.connect("web1", token="t", pin="sha256:00", connect_timeout=1.5) as session:
        assert_type(session, Session)
        assert_type(session.list(), list[Entry])
        assert_type(session.is_ready(), bool)
        assert_type(session.principal, str)
        assert_type(session.token_expires_in, float | None)
    with (
        Pool("web1", size=4, wait=None, max_idle=1.0, token="t", ca="ca.pem") as pool,
        pool.session() as lent,
    ):
        assert_type(pool, Pool)
        assert_type(lent, Session)


def streams(session: Session) -> None:
    """Pieces of bytes, or lines of text."""
    with session.stream(["x"], input="grüße", timeout=1, check=True) as running:
        assert_type(running, RunningCommand)
        for stream, data in running:
            assert_type(stream, Stream)
            assert_type(data, bytes)
        assert_type(running.lines(), Iterator[tuple[Stream, str]])
    assert_type(running.result, Result[None])
    assert_type(running.returncode, int | None)


def failures(error: CallerError, failed: CommandFailed, timed_out: CommandTimedOut, garbled: NotText) -> None:
    """Say of an error what is to know."""
    assert_type(error.hint, str | None)
    assert_type(error.may_have_run, bool)
    assert_type(error.code, str)
    assert_type(error.retry_after, float | None)
    assert_type(error.request_id, str)
    assert_type(failed.returncode, int)
    assert_type(failed.result, Result[Any])
    assert_type(timed_out.cmd, str)
    assert_type(garbled.result, Result[bytes] | None)


def mistakes(session: Session) -> None:
    """Be found: without these comments there would be errors."""
    session.run("x", input="text")  # type: ignore[call-overload]
    session.run("x", text=True, input=b"bytes")  # type: ignore[call-overload]
    session.run("x", shell=True)  # type: ignore[call-overload]
    session.run(b"x")  # type: ignore[arg-type]
    rexecd.client.run("web1", "x", tokn="t")  # type: ignore[call-overload]
    rexecd.client.connect("web1", family="ipv4")  # type: ignore[arg-type]
    Pool("web1", tokn="t")  # type: ignore[call-arg]
    rexecd.client.Typo  # type: ignore[attr-defined]  # noqa: B018 - what is asked is whether it is there

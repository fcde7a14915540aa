"""One connection as the trusted side sees it: authenticate, decide, record, start, watch, record.

Rule 1: a question that is not open (seam/messages.py, PERMITS) is recorded and ends the channel.
Rule 2: the record comes before the act. No trail, no act.
Rule 3: identity is what this thread found out itself, once; the gateway never says who it is.
"""

import contextlib
import secrets
import select
import threading
from typing import Final

from rexecd.audit.events import Action
from rexecd.audit.trail import Recorder
from rexecd.errors import Code, Refused, RemoteProtocolError, TrailError, Unavailable
from rexecd.execution.contain import Execution, Outcome
from rexecd.execution.spawn import Streams, spawn
from rexecd.files import Resolver
from rexecd.identity.tokens import TokenRecord
from rexecd.monitor.service import Service
from rexecd.policy.decide import Request, decide
from rexecd.policy.listing import entries
from rexecd.policy.masking import recordable
from rexecd.policy.model import Invocation
from rexecd.seam import messages as seam
from rexecd.seam.channel import Channel
from rexecd.seam.messages import Permits, Stage
from rexecd.wire import messages as wire
from rexecd.wire.messages import Ending

_UNRECORDED: Final = "the audit trail cannot be written; try later"
_STOPPING: Final = "the service is stopping; try later"
_TROUBLES: Final = {
    seam.Trouble.TLS_FAILED: Action.TLS_FAILED,
    seam.Trouble.UNAUTHENTICATED: Action.AUTH_REFUSED,
    seam.Trouble.SHED: Action.LIMIT_REACHED,
}


class SessionOver(Exception):
    """The session ends; `reason` is for the record."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


class MonitorSession:
    """The trusted end of one channel, in a thread of its own."""

    def __init__(self, channel: Channel, service: Service) -> None:
        self._channel = channel
        self._service = service
        self._permits = Permits()
        self._id = secrets.token_hex(8)
        self._recorder: Recorder = service.recorder
        self._requests = 0
        threading.current_thread().name = f"connection-{self._id}"

    def run(self) -> None:
        """Answer until the gateway closes the channel, breaks a rule, or the service stops."""
        try:
            match self._next():
                case seam.Report() as report:
                    self._permits.stage = Stage.REPORTING
                    self._take_reports(report)
                case seam.Authenticate() as facts:
                    self._recorder = self._recorder.bind(
                        connection_id=self._id, address=facts.address, port=facts.port
                    )
                    self._converse(facts)
        except RemoteProtocolError as error:
            with contextlib.suppress(TrailError):
                self._recorder.record(Action.SEAM_VIOLATED, reason=str(error))
        except (SessionOver, Unavailable, TrailError):
            return  # before anything was opened there is nothing to close

    def _take_reports(self, report: seam.Report) -> None:
        while True:
            # Asked anew each time: this channel outlives many policies.
            self._service.recorder.record(
                _TROUBLES[report.trouble],
                address=report.address,
                port=report.port,
                count=report.count,
                reason=report.detail,
            )
            report = self._next()

    def _converse(self, facts: seam.Authenticate) -> None:
        """One session, from connection-opened to connection-closed."""
        reason = "fault"
        self._service.sessions.begin()
        try:
            self._recorder.record(Action.CONNECTION_OPENED, tls=facts.tls)
            self._authenticate(facts)
            while True:
                match self._next():
                    case wire.Run() as request:
                        self._answer(request)
                    case wire.List():
                        self._list()
                    case seam.Drained() as drained:
                        self._drained(drained)
                    case seam.Renounce() as renounced:
                        raise SessionOver(_reason(renounced))
                    case _:
                        pass  # a Signal that was under way when the command ended
        except SessionOver as over:
            reason = over.reason
        except Unavailable:
            reason = "connection-lost"
        except RemoteProtocolError as error:
            reason = "seam violated"
            self._recorder.record(Action.SEAM_VIOLATED, reason=str(error))
        except TrailError:
            reason = "trail"
            self._close(Code.UNAVAILABLE, _UNRECORDED)
        finally:
            self._service.sessions.end()
            recorder = self._recorder.bind(policy_digest=self._service.policy.digest)
            recorder.record(Action.CONNECTION_CLOSED, reason=reason)

    def _authenticate(self, facts: seam.Authenticate) -> None:
        try:
            self._token: TokenRecord = self._service.authenticate(facts.token, facts.address)
        except Refused as refused:
            self._recorder.record(Action.AUTH_REFUSED, code=refused.code.word, reason=refused.reason)
            self._close(refused.code, refused.text)
            raise SessionOver("authentication failed") from None
        self._address = facts.address
        self._recorder = self._recorder.bind(principal=self._token.principal, token_id=self._token.token_id)
        self._recorder.record(Action.AUTH_ACCEPTED)
        self._permits.stage = Stage.AUTHENTICATED
        self._channel.send(wire.Accepted(self._id, self._token.principal, self._service.settings.banner))

    def _answer(self, asked: wire.Run) -> None:
        """Run one command or refuse it; without a trail it is refused, and the session goes on."""
        self._requests += 1
        request_id = f"{self._id}-{self._requests}"
        try:
            self._run(request_id, asked)
        except TrailError:
            self._refuse(request_id, _unrecorded())

    def _run(self, request_id: str, asked: wire.Run) -> None:
        """Decide, record, start, watch; raise TrailError only where nothing was started."""
        policy = self._service.policy
        recorder = self._recorder.bind(request_id=request_id, policy_digest=policy.digest)
        line = recordable(policy, asked.line, allowed=False)
        if asked.justification:
            recorder = recorder.bind(justification=asked.justification)
        self._end_if_revoked(recorder, line=line)
        request = Request(
            principal=self._token.principal,
            connection_id=self._id,
            request_id=request_id,
            address=self._address,
            line=asked.line,
            offer=asked.offer,
            justification=asked.justification,
        )
        try:
            invocation = decide(policy, request, resolve=Resolver())
            recorder = recorder.bind(rule=invocation.rule, rule_place=invocation.place)
            recorder.record(
                Action.COMMAND_ALLOWED,
                line=recordable(policy, asked.line, allowed=True),
                argv=invocation.recorded_argv(),
                working_directory=invocation.working_directory,
                timeout=invocation.timeout,
                **_identity(invocation),
            )
            execution, streams = spawn(invocation)
        except Refused as refused:
            recorder.record(Action.COMMAND_REFUSED, line=line, code=refused.code.word, reason=refused.reason)
            self._refuse(request_id, refused)
            return
        self._recorder_of_command = recorder
        self._service.commands.begin()
        try:
            self._watch(request_id, invocation, execution, streams)
        finally:
            self._service.commands.end()

    def _watch(self, request_id: str, invocation: Invocation, execution: Execution, streams: Streams) -> None:
        """See a started command to its end; it is reaped on every path, and recorded."""
        recorder = self._recorder_of_command
        try:
            over = self._begin(request_id, invocation, execution, streams)
            if over is not None:
                execution.end(grace=self._service.settings.kill_grace)
            over = self._wait(execution, over)
        except BaseException:
            execution.abandon()
            raise
        outcome = execution.reap()
        with contextlib.suppress(TrailError):
            # It did run: its caller hears how it ended, and the next record that fails ends the session.
            self._record_end(recorder, execution, outcome, over)
        if isinstance(over, Refused):
            self._refuse(request_id, over)
            return
        if over is not None:
            raise over
        self._permits.stage = Stage.DRAINING
        self._channel.send(seam.Exited(outcome.ending, outcome.status, round(outcome.duration * 1e6)))

    def _begin(
        self, request_id: str, invocation: Invocation, execution: Execution, streams: Streams
    ) -> Exception | None:
        """Give the command to the gateway, and record its start; return why that failed, if it did."""
        try:
            self._hand_over(request_id, invocation, streams)
            self._permits.stage = Stage.RUNNING
            # The decision stands in the trail already; this record is of its consequence, and is
            # written while the command and its caller are at work.
            self._recorder_of_command.record(Action.COMMAND_STARTED, pid=execution.pid)
        except TrailError:
            self._close(Code.UNAVAILABLE, _UNRECORDED)
            return SessionOver("the trail cannot be written")
        except (Unavailable, Refused) as error:
            return error
        finally:
            streams.close()
        return None

    def _hand_over(self, request_id: str, invocation: Invocation, streams: Streams) -> None:
        """Pass the far ends of the pipes to the gateway; raise Refused if too many are in flight."""
        output, input_ = (
            seam.UNLIMITED if ceiling is None else ceiling
            for ceiling in (invocation.output_ceiling, invocation.input_ceiling)
        )
        started = seam.Started(request_id, invocation.takes_input, output, input_)
        try:
            self._channel.send(started, streams.descriptors())
        except OSError:
            busy = "the server is busy; try later"
            raise Refused(Code.BUSY, busy, reason="too many descriptors in flight") from None

    def _wait(self, execution: Execution, over: Exception | None) -> Exception | None:
        """Wait for the end of the command, ending it when its time or its session is over.

        Return why the session is over, or None if it goes on.
        """
        poller = select.poll()
        poller.register(execution, select.POLLIN)
        if over is None:
            poller.register(self._channel, select.POLLIN)
            poller.register(self._service.stop, select.POLLIN)
        grace = self._service.settings.kill_grace
        while True:
            ready = {number for number, _ in poller.poll(execution.wait_time() * 1000)}
            # First what the gateway says: a command that dies of its caller's going did not just exit.
            if over is None and (over := self._hear(execution, ready)) is not None:
                poller.unregister(self._channel)
                poller.unregister(self._service.stop)
                if execution.fileno() not in ready:
                    execution.end(grace=grace)
            if execution.fileno() in ready:
                return over
            execution.tick(grace=grace)

    def _hear(self, execution: Execution, ready: set[int]) -> Exception | None:
        """Take what the gateway says of a running command; return why the session is over, if it is."""
        if self._service.stop.fileno() in ready:
            self._close(Code.UNAVAILABLE, _STOPPING)
            return SessionOver("service stopped")
        if self._channel.fileno() not in ready:
            return None
        try:
            message = self._next()
        except (SessionOver, RemoteProtocolError) as over:
            return over
        if isinstance(message, wire.Signal):
            execution.signal(message.signal.number)
            return None
        return SessionOver(_reason(message))

    def _record_end(
        self, recorder: Recorder, execution: Execution, outcome: Outcome, over: Exception | None
    ) -> None:
        """Record how the command ended, and why it was made to."""
        how: dict[str, object] = {"pid": execution.pid, "duration": outcome.duration}
        how["signal" if outcome.ending is Ending.SIGNALLED else "exit_code"] = outcome.status
        if outcome.ending is Ending.TIMED_OUT:
            action = Action.COMMAND_TIMED_OUT
        elif execution.ending or (over is not None and outcome.ending is Ending.SIGNALLED):
            action = Action.COMMAND_KILLED
            how["reason"] = getattr(over, "reason", str(over))
        else:
            action = Action.COMMAND_EXITED
        recorder.record(action, **how)

    def _drained(self, drained: seam.Drained) -> None:
        self._recorder_of_command.record(
            Action.COMMAND_DRAINED,
            output_bytes=drained.output,
            error_output_bytes=drained.error_output,
            input_bytes=drained.input,
            truncated=drained.truncated,
        )
        self._permits.stage = Stage.AUTHENTICATED

    def _list(self) -> None:
        self._end_if_revoked(self._recorder)
        for entry in entries(self._service.policy, self._token.principal, self._address):
            self._channel.send(entry)
        self._channel.send(wire.Listed())

    def _end_if_revoked(self, recorder: Recorder, **asked: str) -> None:
        """Ask again whether the token is good: it may have been revoked since the last request."""
        if self._service.is_valid(self._token.token_id):
            return
        recorder.record(Action.COMMAND_REFUSED, **asked, code=Code.REVOKED.word, reason="token revoked")
        self._close(Code.REVOKED, "the token was revoked")
        raise SessionOver("token revoked")

    def _next(self) -> seam.Message:
        """Return the next permitted question.

        Raise SessionOver at end-of-file or when the service stops, RemoteProtocolError for a
        question that is not open.
        """
        poller = select.poll()
        poller.register(self._channel, select.POLLIN)
        poller.register(self._service.stop, select.POLLIN)
        ready = {number for number, _ in poller.poll()}
        if self._service.stop.fileno() in ready:
            self._close(Code.UNAVAILABLE, _STOPPING)
            raise SessionOver("service stopped")
        message = self._channel.receive()
        if message is None:
            raise SessionOver("connection-lost")
        self._permits.check(message)
        return message

    def _refuse(self, request_id: str, refused: Refused) -> None:
        self._channel.send(wire.Refused(request_id, refused.code, refused.text))

    def _close(self, code: Code, text: str) -> None:
        """Tell the gateway why the session ends, if it still listens."""
        try:
            self._channel.send(wire.Closed(code, text))
        except Unavailable:
            return


def _identity(invocation: Invocation) -> dict[str, object]:
    """Return who a command runs as, for its record; nothing where it is the daemon's own user."""
    identity = invocation.identity
    return {} if identity is None else {"run_as": identity.user, "run_as_id": str(identity.uid)}


def _unrecorded() -> Refused:
    return Refused(Code.UNAVAILABLE, _UNRECORDED)


def _reason(renounced: seam.Renounce) -> str:
    """Return a parting as the trail writes it."""
    return f"{renounced.parting.word}: {renounced.detail}" if renounced.detail else renounced.parting.word

"""One connection as the trusted side sees it: authenticate, decide, record, start, watch, record.

Rule 1: a question that is not open (seam/messages.py, PERMITS) is recorded and ends the channel.
Rule 2: the record comes before the act. No trail, no act.
Rule 3: identity is what this thread found out itself, once; the gateway never says who it is.
"""

import contextlib
import math
import secrets
import threading
import time
from typing import Final

from rexecd.audit.events import Action
from rexecd.audit.recorder import Recorder
from rexecd.errors import Code, Refused, RemoteProtocolError, TrailError, Unavailable
from rexecd.execution.spawn import spawn
from rexecd.files import Resolver
from rexecd.identity.tokens import parse
from rexecd.monitor.conversation import Conversation, SessionOver, parting
from rexecd.monitor.running import UNRECORDED, Ended, Running
from rexecd.monitor.service import Service
from rexecd.policy.decide import Request, decide, named
from rexecd.policy.listing import entries
from rexecd.policy.masking import recordable
from rexecd.policy.model import Invocation, Policy
from rexecd.seam import messages as seam
from rexecd.seam.channel import Channel
from rexecd.seam.messages import Stage
from rexecd.wire import messages as wire

#: The longest time that Accepted can say.
_MOST_SECONDS: Final = 2**32 - 1
#: So many seconds after a token came a refusal is answered, whatever was found wrong how soon.
_REFUSAL_TIME: Final = 0.01
_TROUBLES: Final = {
    seam.Trouble.TLS_FAILED: Action.TLS_FAILED,
    seam.Trouble.UNAUTHENTICATED: Action.AUTH_REFUSED,
    seam.Trouble.SHED: Action.LIMIT_REACHED,
    seam.Trouble.PENALIZED: Action.SOURCE_PENALIZED,
    seam.Trouble.CERTIFICATE_LOADED: Action.CERTIFICATE_LOADED,
    seam.Trouble.CERTIFICATE_REJECTED: Action.CERTIFICATE_REJECTED,
    seam.Trouble.CERTIFICATE_EXPIRING: Action.CERTIFICATE_EXPIRING,
}


class MonitorSession:
    """The trusted end of one channel, in a thread of its own."""

    def __init__(self, channel: Channel, service: Service) -> None:
        self._channel = channel
        self._service = service
        self._conversation = Conversation(channel, service.stop)
        self._id = secrets.token_hex(8)
        threading.current_thread().name = f"connection-{self._id}"  # and its records say so
        self._recorder: Recorder = service.recorder
        self._requests = 0

    def run(self) -> None:
        """Answer until the gateway closes the channel, breaks a rule, or the service stops."""
        try:
            match self._conversation.next():
                case seam.Report() as report:
                    self._conversation.enter(Stage.REPORTING)
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
                **({"address": report.address, "port": report.port} if report.address else {}),
                count=report.count,
                reason=report.detail,
            )
            report = self._conversation.next()

    def _converse(self, facts: seam.Authenticate) -> None:
        """One session, from connection-opened to connection-closed."""
        reason, is_opened = "fault", False
        self._service.sessions.begin()
        try:
            self._recorder.record(Action.CONNECTION_OPENED, tls=facts.tls)
            is_opened = True
            with contextlib.ExitStack() as kept:
                self._authenticate(facts, kept)
                self._serve()
        except SessionOver as over:
            reason = over.reason
        except Unavailable:
            reason = "connection-lost"
        except RemoteProtocolError as error:
            reason = "seam violated"
            self._recorder.record(Action.SEAM_VIOLATED, reason=str(error))
        except TrailError as error:
            reason = "trail"
            is_opened |= error.is_written
            self._conversation.close(Code.UNAVAILABLE, UNRECORDED)
        finally:
            self._service.sessions.end()
            recorder = self._recorder.bind(policy_digest=self._service.policy.digest)
            if is_opened:
                recorder.record_end(Action.CONNECTION_CLOSED, reason=reason)

    def _serve(self) -> None:
        """Answer one question after the other; raise what ends the session."""
        while True:
            match self._conversation.next():
                case wire.Run() as request:
                    self._answer(request)
                    self._conversation.has_answered = True
                case wire.List():
                    self._list()
                    self._conversation.has_answered = True
                case seam.Drained() as drained:
                    self._drained(drained)
                case seam.Renounce() as renounced:
                    raise SessionOver(parting(renounced))
                case _:
                    pass  # a Signal that was under way when the command ended

    def _authenticate(self, facts: seam.Authenticate, kept: contextlib.ExitStack) -> None:
        """Find out who it is, and take its place among its principal's connections for as long as `kept`."""
        begun = time.monotonic()
        try:
            self._credential = self._service.authenticate(facts.token, facts.address, facts.certificate)
        except Refused as refused:
            token_id = parse(facts.token)
            recorder = self._recorder if token_id is None else self._recorder.bind(token_id=token_id)
            recorder.record(Action.AUTH_REFUSED, code=refused.code.word, reason=refused.reason)
            # Not `stop.wait`: poll counts in milliseconds, and what is left of one would tell.
            time.sleep(max(0.0, begun + _REFUSAL_TIME - time.monotonic()))
            self._conversation.close(refused.code, refused.text)
            raise SessionOver("authentication failed") from None
        self._address = facts.address
        token, certificate = self._credential
        self._recorder = self._recorder.bind(principal=token.principal, token_id=token.token_id)
        try:
            kept.enter_context(self._service.connections.enter(token.principal))
        except Refused as refused:
            self._recorder.record(Action.LIMIT_REACHED, code=refused.code.word, reason=refused.reason)
            self._conversation.close(refused.code, refused.text)
            raise SessionOver("too many connections") from None
        shown = () if certificate is None else (certificate.fingerprint,)
        self._recorder.record(Action.AUTH_ACCEPTED, **({"certificate": shown[0].upper()} if shown else {}))
        ends = None if certificate is None else certificate.expires
        joined = self._service.credentials.lives.joined(token.token_id, *shown, ends=ends)
        self._conversation.endings = kept.enter_context(joined)
        self._conversation.explain_ending = self._flaw
        if self._service.credentials.flaw(self._credential) is not None:  # since it was looked at
            raise self._conversation.end()
        self._conversation.enter(Stage.AUTHENTICATED)
        self._channel.send(
            wire.Accepted(self._id, token.principal, self._service.settings.banner, self._expires_in())
        )

    def _expires_in(self) -> int:
        """Return for how many seconds the token is good, 0 for ever."""
        expires = self._credential.token.terms.expires
        if expires is None:
            return 0
        left = (expires - self._service.clock.now()).total_seconds()
        return min(max(1, math.ceil(left)), _MOST_SECONDS)

    def _flaw(self) -> str:
        return self._service.credentials.flaw(self._credential) or "the token was revoked"

    def _answer(self, asked: wire.Run) -> None:
        """Run one command or refuse it; without a trail it is refused, and the session goes on."""
        self._requests += 1
        request_id = f"{self._id}-{self._requests}"
        try:
            self._run(request_id, asked)
        except TrailError:
            self._conversation.refuse(request_id, _unrecorded())

    def _run(self, request_id: str, asked: wire.Run) -> None:
        """Decide, record, start, watch; raise TrailError only where nothing was started."""
        policy = self._service.policy
        recorder = self._recorder.bind(request_id=request_id, policy_digest=policy.digest)
        line = recordable(policy, asked.line, allowed=False)
        if asked.justification:
            recorder = recorder.bind(justification=asked.justification)
        self._end_if_dead(recorder, line=line)
        record = recorder.record
        try:
            invocation = decide(policy, self._request(request_id, asked), resolve=Resolver())
            recorder = recorder.bind(rule=invocation.rule, rule_place=invocation.place)
            with self._admitted(policy, invocation):
                recorder.record(
                    Action.COMMAND_ALLOWED,
                    line=recordable(policy, asked.line, allowed=True),
                    argv=invocation.recorded_argv(),
                    working_directory=invocation.working_directory,
                    timeout=invocation.timeout,
                    **_identity(invocation),
                )
                record = recorder.record_end  # what was allowed has an end, whatever becomes of the trail
                ended = self._start(request_id, invocation, recorder)
        except Refused as refused:
            about = _rule(policy, asked.line)
            record(Action.COMMAND_REFUSED, line=line, code=refused.code.word, reason=refused.reason, **about)
            self._conversation.refuse(request_id, refused)
            return
        except TrailError as error:
            if error.is_written:
                code = Code.UNAVAILABLE.word
                recorder.record_end(Action.COMMAND_REFUSED, line=line, code=code, reason=str(error))
            raise
        if ended is not None:  # and it is counted no more: whoever hears of it may start the next one
            try:
                self._conversation.enter(Stage.DRAINING)
                self._channel.send(ended.told)
            finally:
                ended.record()

    def _request(self, request_id: str, asked: wire.Run) -> Request:
        """Return what is asked for, with what is known of who asks."""
        token, certificate = self._credential
        return Request(
            principal=token.principal,
            connection_id=self._id,
            request_id=request_id,
            address=self._address,
            line=asked.line,
            offer=asked.offer,
            justification=asked.justification,
            timeout=asked.timeout / 1000 or None,
            only=token.terms.only,
            is_certified=certificate is not None,
        )

    def _admitted(self, policy: Policy, invocation: Invocation) -> contextlib.AbstractContextManager[object]:
        """Count the command as long as it runs; raise Refused if it is one too many."""
        name = self._credential.token.principal
        return self._service.admission.enter(
            name, policy.principals[name].quota, invocation.rule, invocation.quota
        )

    def _start(self, request_id: str, invocation: Invocation, recorder: Recorder) -> Ended | None:
        """Start a command and see it to its end, as `Running.watch`; raise Refused if it does not start."""
        execution, streams = spawn(invocation, self._service.workers)
        self._recorder_of_command = recorder
        running = Running(
            self._conversation, recorder, request_id, invocation, grace=self._service.settings.kill_grace
        )
        return running.watch(execution, streams)

    def _drained(self, drained: seam.Drained) -> None:
        self._recorder_of_command.record_end(
            Action.COMMAND_DRAINED,
            output_bytes=drained.output,
            error_output_bytes=drained.error_output,
            input_bytes=drained.input,
            truncated=drained.truncated,
        )
        self._conversation.enter(Stage.AUTHENTICATED)

    def _list(self) -> None:
        self._end_if_dead(self._recorder)
        token, certificate = self._credential
        policy = self._service.policy
        principal = policy.principals.get(token.principal)
        if certificate is not None or principal is None or not principal.requires_certificate:
            for entry in entries(policy, token.principal, self._address, token.terms.only):
                self._channel.send(entry)
        self._channel.send(wire.Listed())

    def _end_if_dead(self, recorder: Recorder, **asked: str) -> None:
        """Ask again whether the credential is good: it may have been revoked, or expired, since."""
        flaw = self._service.credentials.flaw(self._credential)
        if flaw is None:
            self._service.credentials.note_use(self._credential.token.token_id, self._address)
            return
        recorder.record(Action.COMMAND_REFUSED, **asked, code=Code.REVOKED.word, reason=flaw)
        raise self._conversation.end()


def _rule(policy: Policy, line: str) -> dict[str, object]:
    """Return the rule that was asked for, for a refusal's record.

    Null where there is none: a record that is shorter would be written sooner, and the time of the answer
    would tell a forbidden command from an unknown one.
    """
    rule = named(policy, line)
    return {"rule": rule and rule.name, "rule_place": rule and str(rule.place)}


def _identity(invocation: Invocation) -> dict[str, object]:
    """Return who a command runs as, for its record; nothing where it is the daemon's own user."""
    identity = invocation.identity
    return {} if identity is None else {"run_as": identity.user, "run_as_id": str(identity.uid)}


def _unrecorded() -> Refused:
    return Refused(Code.UNAVAILABLE, UNRECORDED)

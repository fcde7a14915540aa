"""One command as the monitor sees it, from its start to its end: hand over, record, watch, end, record.

Rule 1: whatever happens here the command is ended and collected, and its end recorded, but for faults of
our own.
Rule 2: a command that may outlive its caller (`on_disconnect: finish`) never waits for a reader: when
nobody is there any more its output goes nowhere, without passing through this process.
"""

import contextlib
import os
import select
from collections.abc import Callable
from typing import Final, NamedTuple

from rexecd.audit.events import Action
from rexecd.audit.recorder import Recorder
from rexecd.errors import Code, Refused, RemoteProtocolError, TrailError, Unavailable
from rexecd.execution.contain import Execution, Outcome
from rexecd.execution.spawn import Streams
from rexecd.monitor.conversation import Conversation, ServiceStopped, SessionOver, parting
from rexecd.policy.bounds import OnDisconnect
from rexecd.policy.model import Invocation
from rexecd.seam import messages as seam
from rexecd.seam.messages import Stage
from rexecd.serving import CUT_SHORT
from rexecd.wire import messages as wire
from rexecd.wire.messages import Ending

UNRECORDED: Final = "the audit trail cannot be written; try later"
_BUSY: Final = "the server is busy; try later"
_LOST: Final = "its worker was killed, and the command with it"
_LEFT_OVER: Final = "something it started could not be ended"
#: Between two looks at output that nobody reads.
_PAUSE: Final = 0.02
#: Moved from a pipe to nowhere at once; a pipe holds less.
_SPLICED: Final = 1 << 20


class _Unrecorded(SessionOver):
    """The session ends, and the command with it, because its start could not be recorded."""


class Ended(NamedTuple):
    """How a command ended: what is told of it, and then recorded, while the caller is told."""

    told: seam.Exited
    record: Callable[[], None]


class Running:
    """A command that was started for the caller of one conversation."""

    def __init__(
        self,
        conversation: Conversation,
        recorder: Recorder,
        request_id: str,
        invocation: Invocation,
        *,
        grace: float,
    ) -> None:
        self._conversation = conversation
        self._recorder = recorder
        self._request_id = request_id
        self._invocation = invocation
        self._grace = grace
        #: Our own copies of what the command writes to, if it may outlive its reader.
        self._outputs: list[int] = []

    def watch(self, execution: Execution, streams: Streams) -> Ended | None:
        """See it to its end and return how it ended, for caller and trail; raise what ends the session.

        None for a command that nobody could be told of: that has been refused.
        """
        with contextlib.ExitStack() as kept:
            try:
                over = self._wait(execution, self._begin(execution, streams, kept))
            except BaseException:
                execution.abandon()
                raise
        outcome = execution.reap()
        if over is None:
            told = seam.Exited(outcome.ending, outcome.status, round(outcome.duration * 1e6))
            return Ended(told, lambda: self._record_end(execution, outcome, None))
        self._record_end(execution, outcome, over)
        if isinstance(over, Refused):
            self._conversation.refuse(self._request_id, over)
            return None
        if isinstance(over, ServiceStopped):
            # Only now: what the command wrote at its end has gone to the caller before this does.
            self._conversation.close(Code.UNAVAILABLE, CUT_SHORT)
        raise over

    def _keep_readers(self, streams: Streams, kept: contextlib.ExitStack) -> None:
        """Keep a copy of each output of a command that may outlive its reader, and somewhere to put it."""
        if self._invocation.on_disconnect is OnDisconnect.FINISH:
            for descriptor in (streams.stdout, streams.stderr):
                self._outputs.append(os.dup(descriptor))
                kept.callback(os.close, self._outputs[-1])
            self._nowhere = os.open(os.devnull, os.O_WRONLY)
            kept.callback(os.close, self._nowhere)

    def _begin(self, execution: Execution, streams: Streams, kept: contextlib.ExitStack) -> Exception | None:
        """Give the command to the gateway, and record its start; return why that failed, if it did."""
        try:
            self._keep_readers(streams, kept)
            self._hand_over(streams)
            self._conversation.enter(Stage.RUNNING)
            # The decision stands in the trail already; this record is of its consequence, and is
            # written while the command and its caller are at work.
            self._recorder.record(Action.COMMAND_STARTED, pid=execution.pid)
        except TrailError:
            self._conversation.close(Code.UNAVAILABLE, UNRECORDED)
            return _Unrecorded("the trail cannot be written")
        except (Unavailable, Refused) as error:
            return error
        except OSError as error:
            return Refused(Code.BUSY, _BUSY, reason=f"cannot keep the output readable: {error.strerror}")
        finally:
            streams.close()
        return None

    def _hand_over(self, streams: Streams) -> None:
        """Pass the far ends of the pipes to the gateway; raise Refused if too many are in flight."""
        output, input_ = (
            seam.UNLIMITED if ceiling is None else ceiling
            for ceiling in (self._invocation.output_ceiling, self._invocation.input_ceiling)
        )
        started = seam.Started(self._request_id, self._invocation.takes_input, output, input_)
        try:
            self._conversation.channel.send(started, streams.descriptors())
        except OSError:
            raise Refused(Code.BUSY, _BUSY, reason="too many descriptors in flight") from None

    def _wait(self, execution: Execution, over: Exception | None) -> Exception | None:
        """Wait for the end of the command, ending it when its time or its session is over.

        Return why the session is over, or None if it goes on.
        """
        poller = select.poll()
        conversation = self._conversation
        for flag in (conversation.stop, *conversation.endings):
            poller.register(flag, select.POLLIN)
        for other in (conversation.channel, execution):
            poller.register(other, select.POLLIN)
        if over is not None:
            self._lose(execution, over, poller)
        while True:
            ready = {number for number, _ in poller.poll(execution.wait_time() * 1000)}
            over = self._attend(execution, over, poller, ready)
            if execution.fileno() in ready:
                return over
            if written := ready.intersection(self._outputs):
                for descriptor in written:
                    self._discard(descriptor, poller)
                conversation.stop.wait(_PAUSE)  # nobody waits for this: let others have the processor
            execution.tick(grace=self._grace)

    def _attend(
        self, execution: Execution, over: Exception | None, poller: select.poll, ready: set[int]
    ) -> Exception | None:
        """Take what may end the session before the command; return why it is over, if it is.

        First what the gateway says: a command that dies of its caller's going did not just exit. But
        one that has ended when the service stops did.
        """
        conversation = self._conversation
        has_ended = execution.fileno() in ready
        if conversation.stop.fileno() in ready and not has_ended:
            poller.unregister(conversation.stop)
            execution.end(grace=self._grace)
            return ServiceStopped()
        if conversation.has_ended(ready):
            for flag in conversation.endings:
                poller.unregister(flag)
            if over is None:
                over = conversation.end()
                self._lose(execution, over, poller, has_ended=has_ended)
        elif conversation.channel.fileno() in ready and (lost := self._hear(execution)) is not None:
            over = over or lost
            self._lose(execution, over, poller, has_ended=has_ended)
        return over

    def _hear(self, execution: Execution) -> Exception | None:
        """Take what the gateway says of a running command; return why the session is over, if it is."""
        try:
            message = self._conversation.hear()
        except (SessionOver, RemoteProtocolError) as over:
            return over
        if isinstance(message, wire.Signal):
            if message.signal in self._invocation.signals:
                execution.signal(message.signal.number)
            return None
        return SessionOver(parting(message))

    def _lose(
        self, execution: Execution, over: Exception, poller: select.poll, *, has_ended: bool = False
    ) -> None:
        """Go on without the caller: end the command, unless its rule lets it finish."""
        with contextlib.suppress(KeyError):
            poller.unregister(self._conversation.channel)
        if has_ended:
            return
        if self._outputs and _is_lost(over):
            for descriptor in self._outputs:
                poller.register(descriptor, select.POLLIN)
        else:
            execution.end(grace=self._grace)

    def _discard(self, descriptor: int, poller: select.poll) -> None:
        """Throw away what was written since: a command must not wait for, nor die of, a missing reader."""
        try:
            if os.splice(descriptor, self._nowhere, _SPLICED, flags=os.SPLICE_F_NONBLOCK) == 0:
                poller.unregister(descriptor)  # nobody is left who could write
        except BlockingIOError:
            return  # the gateway, still at it, was quicker

    def _record_end(self, execution: Execution, outcome: Outcome, over: Exception | None) -> None:
        """Record how the command ended, and why it was made to."""
        usage = outcome.usage
        how: dict[str, object] = {
            "pid": execution.pid,
            "duration": outcome.duration,
            "cpu_time": None if usage is None else usage.cpu / 1e6,
            "peak_memory": None if usage is None else usage.memory,
        }
        how["signal" if outcome.ending is Ending.SIGNALLED else "exit_code"] = outcome.status
        if outcome.limit:
            how["limit"] = outcome.limit
        if outcome.ending is Ending.TIMED_OUT:
            action = Action.COMMAND_TIMED_OUT
        elif outcome.is_lost and not outcome.limit:
            action = Action.COMMAND_KILLED
            how["reason"] = _LOST
        elif execution.ending or (over is not None and outcome.ending is Ending.SIGNALLED):
            action = Action.COMMAND_KILLED
            how["reason"] = getattr(over, "reason", str(over))
        else:
            action = Action.COMMAND_EXITED
            if over is not None:
                how["reason"] = f"finished without its caller: {getattr(over, 'reason', over)}"
        if not outcome.is_clean:
            how["reason"] = "; ".join(filter(None, [str(how.get("reason", "")), _LEFT_OVER]))
        self._recorder.record_end(action, **how)


def _is_lost(over: Exception) -> bool:
    """Return whether it is only the caller that has gone."""
    return isinstance(over, SessionOver | Unavailable) and not isinstance(over, ServiceStopped | _Unrecorded)

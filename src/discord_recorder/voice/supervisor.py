"""Makes one voice connection after another: by the close codes, by what the main gateway says, and after deafness.

It knows the main gateway as a port only. Source: PROTOCOL "When the connection breaks".
"""

import asyncio
import logging
import time
from collections.abc import Callable, Sequence
from typing import Final

from discord_recorder.voice.chronicle import Chronicle
from discord_recorder.voice.connection import VoiceConnection
from discord_recorder.voice.events import Ticket
from discord_recorder.voice.frames import OpusFrame
from discord_recorder.voice.health import Alarm
from discord_recorder.voice.ports import ChannelView, ConnectionListener, MainGateway
from discord_recorder.voice.reconnect import Loss, LossKind, Plan, ReconnectPolicy, Step
from discord_recorder.voice.signals import Signal, Signals
from discord_recorder.voice.sink import Ended, EndReason, GapReason

JOIN_SECONDS: Final = 5.0
"""How long the main gateway may take to answer a request to join."""

AWAIT_SECONDS: Final = 5.0
"""After a close that may mean removal or a move: how long to wait for the main gateway to say which."""

ENDPOINT_SECONDS: Final = 30.0
"""How long to wait for another voice server after the last one was taken away, before asking for one."""

MOVE_SECONDS: Final = 2.0
"""How long to wait for a voice server after we were moved to another channel, before asking for one."""

_MAIN_GATEWAY_SECONDS: Final = 5.0
_POLL_SECONDS: Final = 0.1
_RACE_SECONDS: Final = 1.0
"""The main gateway may announce a server by so much before the voice gateway closes."""

_REMOVED: Final = Plan(step=Step.END, ended=Ended(reason=EndReason.REMOVED))
_GAPS: Final = {LossKind.DEAF: GapReason.DEAF, LossKind.NO_ENDPOINT: GapReason.SERVER_MOVED}
_SESSION_ENDED_CODES: Final = frozenset({4006, 4009, 4014, 4022})

_log = logging.getLogger(__name__)

ConnectionMaker = Callable[[Ticket, ConnectionListener, str | None], VoiceConnection]
"""Makes a connection; the text is a transport mode to avoid."""


class _Line:
    """A connection, the task that serves it, and its way to the supervisor."""

    def __init__(self, supervisor: "Supervisor") -> None:
        self._supervisor = supervisor
        self.made_at = time.monotonic()
        self.connection: VoiceConnection
        self.task: asyncio.Task[Loss] | None = None

    def on_established(self, *, resumed: bool) -> None:
        """See `ConnectionListener`."""
        self._supervisor.established(self, resumed=resumed)

    def on_frames(self, frames: Sequence[OpusFrame]) -> None:
        """See `ConnectionListener`."""
        self._supervisor.heard(frames)

    def on_speaker(self, user_id: int, *, joined: bool) -> None:
        """See `ConnectionListener`."""
        self._supervisor.speaker(self, user_id, joined=joined)

    def may_heal(self, alarm: Alarm) -> bool:
        """See `ConnectionListener`."""
        return self._supervisor.may_heal(self, alarm)

    def channel_view(self) -> ChannelView:
        """See `ConnectionListener`."""
        return self._supervisor.channel_view()


class Supervisor:
    """Owns the connections of one voice client, at most two at a time: while one is made, the one before is heard."""

    def __init__(
        self,
        *,
        signals: Signals,
        main: MainGateway,
        policy: ReconnectPolicy,
        chronicle: Chronicle,
        make: ConnectionMaker,
    ) -> None:
        self._signals = signals
        self._main = main
        self._policy = policy
        self._chronicle = chronicle
        self._make = make
        self._signalled = asyncio.Event()
        self._line: _Line | None = None
        self._former: _Line | None = None
        self._ending: set[asyncio.Task[Loss]] = set()
        self._heard_since_heal = True
        self.first_established: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    @property
    def connection(self) -> VoiceConnection | None:
        """The connection of now."""
        return None if self._line is None else self._line.connection

    def signal(self) -> None:
        """The signals have changed."""
        self._signalled.set()

    async def run(self) -> Ended:
        """Keep listening; returns when that cannot go on. Call `close` then, or after cancelling."""
        plan = Plan(step=Step.REJOIN)
        while plan.ended is None:
            plan = await self._carry_out(plan)
            _log.info("voice_plan", extra={"step": plan.step.value, "delay_seconds": plan.delay_seconds})
        return plan.ended

    def close(self) -> float | None:
        """Stop listening; tells when something was heard last."""
        for line in (self._former, self._line):
            self._retire(line)
        return None if self._line is None else self._line.connection.last_heard

    async def drained(self) -> None:
        """Wait until the websockets are closed, which takes a second at most."""
        if self._ending:
            await asyncio.wait(self._ending)

    # what the connections say

    def established(self, line: _Line, *, resumed: bool) -> None:
        """Audio can flow."""
        if line is not self._line:
            return
        now = time.monotonic()
        self._policy.established(now)
        if resumed:
            self._chronicle.resumed()  # UDP was open all the time
        else:
            self._signals.settled()
            former, self._former = self._former, None
            self._retire(former)  # before the segment: what its socket still held has been heard
            heard_until = None if former is None else former.connection.last_heard
            self._chronicle.segment(line.connection.ticket.channel_id, now, heard_until=heard_until)
            view = self.channel_view()
            if view.complete:
                self._chronicle.only_present(view.present)
        if not self.first_established.done():
            self.first_established.set_result(None)

    def heard(self, frames: Sequence[OpusFrame]) -> None:
        """Frames are ready."""
        self._heard_since_heal = True
        self._chronicle.frames(frames)

    def speaker(self, line: _Line, user_id: int, *, joined: bool) -> None:
        """Somebody is there, or has left."""
        if line is self._line:
            self._chronicle.speaker(user_id, joined=joined)

    def may_heal(self, line: _Line, alarm: Alarm) -> bool:
        """A connection is deaf: whether to make a new one now."""
        if line is not self._line or not self._policy.deaf(time.monotonic(), heard=self._heard_since_heal):
            return False
        self._heard_since_heal = False
        _log.warning("voice_heals", extra={"deafness": alarm.deafness.value})
        return True

    def channel_view(self) -> ChannelView:
        """What the main gateway knows of the channel."""
        return self._main.channel_view()

    # one step after the other

    async def _carry_out(self, plan: Plan) -> Plan:
        """Do the next step, or what the main gateway wants instead; gives the one after it."""
        if plan.step is Step.AWAIT:
            return await self._await_main_gateway()
        if plan.delay_seconds and (urgent := await self._pause(plan.delay_seconds, plan.step)) is not None:
            return urgent
        line = self._line
        if plan.step is Step.RESUME and line is not None and line.connection.can_resume:
            return await self._serve(line, resume=True)
        ticket = await self._join() if plan.step is Step.REJOIN else self._signals.ticket()
        if self._signals.removed:
            return _REMOVED
        if ticket is None:
            return self._lost(Loss(kind=LossKind.NO_VOICE_STATE))
        new = _Line(self)
        mode_to_avoid = line.connection.mode if plan.other_mode and line is not None else None
        new.connection = self._make(ticket, new, mode_to_avoid)
        self._replace(new)
        return await self._serve(new, resume=False)

    def _replace(self, new: _Line) -> None:
        """Make a line the one that counts; of those before, the last that was heard goes on being heard."""
        old = self._line
        if old is not None and old.connection.established_at is not None:
            self._retire(self._former)
            self._former = old
        else:
            self._retire(old)
        self._line = new

    async def _serve(self, line: _Line, *, resume: bool) -> Plan:
        """Run a connection until it is lost, or until the main gateway wants something else."""
        line.task = task = asyncio.create_task(line.connection.serve(resume=resume), name="voice connection")
        moved_at: float | None = None
        while True:
            self._signalled.clear()
            signal = self._signals.signal(line.connection.ticket)
            if (plan := self._reaction(signal, line, moved_at)) is not None:
                return plan
            if task.done():
                return self._lost(task.result())
            moved_at = (moved_at or time.monotonic()) if signal is Signal.OTHER_CHANNEL else None
            await self._wait_for(task, None if moved_at is None else _POLL_SECONDS)

    def _reaction(self, signal: Signal, line: _Line, moved_at: float | None) -> Plan | None:
        """What a signal of the main gateway means for a connection that is being served."""
        now = time.monotonic()
        match signal:
            case Signal.REMOVED:
                return _REMOVED
            case Signal.NO_ENDPOINT:
                self._retire(line)
                return self._lost(Loss(kind=LossKind.NO_ENDPOINT, since=now))
            case Signal.OTHER_SERVER:
                self._chronicle.gap(GapReason.SERVER_MOVED, now)
                return Plan(step=Step.IDENTIFY)
            case Signal.OTHER_CHANNEL if not line.connection.is_established:
                return Plan(step=Step.IDENTIFY)  # the server's update came before the state's
            case Signal.OTHER_CHANNEL if moved_at is not None and now - moved_at >= MOVE_SECONDS:
                self._chronicle.gap(GapReason.SERVER_MOVED, now)
                return Plan(step=Step.REJOIN)
            case _:
                return None

    def _lost(self, loss: Loss) -> Plan:
        line = self._line
        plan = self._policy.lost(loss, time.monotonic(), can_resume=line is not None and line.connection.can_resume)
        _log.warning("voice_lost", extra={"kind": loss.kind.name.lower(), "close_code": loss.code})
        self._chronicle.doubt(loss.since)
        if plan.step is not Step.RESUME:
            ended = loss.code in _SESSION_ENDED_CODES
            self._chronicle.gap(GapReason.SESSION_ENDED if ended else _GAPS.get(loss.kind, GapReason.CONNECTION_LOST))
        return plan

    # the main gateway

    async def _await_main_gateway(self) -> Plan:
        """After a close that only the main gateway can explain: wait for what it says, then ask to join again."""
        plan = await self._pause(AWAIT_SECONDS, Step.AWAIT)
        if plan is None and self._signals.endpoint_is_gone:
            plan = await self._pause(ENDPOINT_SECONDS - AWAIT_SECONDS, Step.AWAIT)
        return plan or Plan(step=Step.REJOIN)

    async def _pause(self, seconds: float, step: Step) -> Plan | None:
        """Let time pass before a step; gives a plan when the main gateway says something that cannot wait.

        When it has forgotten us we have to join again; when it does so in a pause before that very step, it is back. If
        it had forgotten us already, joining was tried and failed, and the pause is not cut short.
        """
        signals, line, now = self._signals, self._line, time.monotonic()
        until = now + seconds
        since = now if line is None else max(line.made_at, now - _RACE_SECONDS)
        may_be_forgotten = step is not Step.REJOIN or self._main.is_registered
        while (left := until - time.monotonic()) > 0:
            self._signalled.clear()
            if signals.removed:
                return _REMOVED
            if line is not None and (
                signals.was_announced(since) or signals.signal(line.connection.ticket) is Signal.OTHER_SERVER
            ):
                return Plan(step=Step.IDENTIFY)
            if may_be_forgotten and not self._main.is_registered:
                return Plan(step=Step.REJOIN)
            await self._wait_for(None, min(left, _POLL_SECONDS))
        return None

    async def _join(self) -> Ticket | None:
        """Ask the main gateway for a state and a server, and wait for both."""
        signals = self._signals
        leave_first = self._chronicle.has_begun or signals.in_channel
        signals.requested(leaving=leave_first)
        try:
            async with asyncio.timeout(_MAIN_GATEWAY_SECONDS):
                if not self._main.is_registered:
                    await self._main.register()
                if leave_first:  # asked for the channel that we are in, Discord may send no server
                    await self._main.change_voice_state(None)
                await self._main.change_voice_state(signals.channel_id)
        except Exception as error:  # whatever the library raises between two connections of its own
            _log.warning("voice_join_failed", extra={"error": type(error).__name__})
            return None
        asked = time.monotonic()
        while (now := time.monotonic()) - asked < (ENDPOINT_SECONDS if signals.endpoint_is_gone else JOIN_SECONDS):
            self._signalled.clear()
            ticket = signals.new_ticket(now)
            if ticket is not None or signals.removed:
                return ticket
            await self._wait_for(None, _POLL_SECONDS)
        return None

    async def _wait_for(self, task: asyncio.Task[Loss] | None, seconds: float | None) -> None:
        """Wait for a signal of the main gateway, or the end of a task, at most so long."""
        signalled = asyncio.create_task(self._signalled.wait())
        try:
            await asyncio.wait(
                {signalled} if task is None else {signalled, task},
                timeout=seconds,
                return_when=asyncio.FIRST_COMPLETED,
            )
        finally:
            signalled.cancel()
            await asyncio.wait({signalled})  # which hides no cancellation of our own

    def _retire(self, line: _Line | None) -> None:
        """Stop listening to a connection; its websocket is closed in the background, in bounded time."""
        if line is None:
            return
        line.connection.close()
        if line.task is not None and not line.task.done():
            line.task.cancel()
            self._ending.add(line.task)
            line.task.add_done_callback(self._ending.discard)

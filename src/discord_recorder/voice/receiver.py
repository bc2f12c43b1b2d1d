"""The datagrams of one voice connection in, Opus frames out, every datagram counted once (PROTOCOL "Packets").

Sans-I/O. Frames that cannot be placed or opened yet are parked for two seconds (`parking`): frames of an SSRC that
nobody has announced, and encrypted frames that no key opens. A frame that is released comes out before those that its
stream sent after it. For each user frames otherwise come out as they arrive: reordering is left to the track.
"""

import logging
from collections.abc import Iterable
from typing import Final

from discord_recorder.errors import ForgedPacketError, ParseError
from discord_recorder.voice import discovery, rtp
from discord_recorder.voice.counters import Outcome, PacketLedger
from discord_recorder.voice.dave import DaveSession
from discord_recorder.voice.dave_frames import is_encrypted
from discord_recorder.voice.frames import OpusFrame
from discord_recorder.voice.opening import MAY_OPEN, FrameOpener
from discord_recorder.voice.parking import PARK_SECONDS, REORDER_SECONDS, Budget, Held
from discord_recorder.voice.replay import DUPLICATE, WINDOW
from discord_recorder.voice.stream import Stream
from discord_recorder.voice.transport import TransportCipher

MAX_STREAMS: Final = 2048
"""SSRCs with an owner. When there are more, the one that was announced first and has nothing parked is forgotten."""

MAX_UNKNOWN_STREAMS: Final = 256
"""SSRCs without an owner that are parked; frames of any more are dropped."""

MAX_UNKNOWN_FRAMES: Final = 4096
MAX_UNKNOWN_BYTES: Final = 4 * 1024 * 1024
"""Parking space for SSRCs without an owner; a flood of them takes nothing from the others."""

MAX_KNOWN_FRAMES: Final = 16_384
MAX_KNOWN_BYTES: Final = 16 * 1024 * 1024
"""Parking space for the speakers: 2 s of 100 of them are 10,000 frames and 2 MB."""

TRIAL_SECONDS: Final = 0.5
"""After so long without a mapping, or with one under which nothing opens, all members' keys are tried on a frame, and
again so long after; announcements take a tenth of that."""

MAX_TRIALS: Final = 4
"""Streams tried in one `expire`: with 100 members one takes 0.3 ms for each epoch in it."""

KEEPALIVE_BYTES: Final = 8
"""Length of a keepalive, which the server sends back."""

_OPUS: Final = frozenset({bytes((rtp.OPUS_PAYLOAD_TYPE,)), bytes((rtp.OPUS_PAYLOAD_TYPE | 0x80,))})
"""The second byte of a packet of Opus, without and with marker."""

_MAX_USER_ID: Final = (1 << 64) - 1
_MAX_SSRC: Final = (1 << 32) - 1
_log = logging.getLogger(__name__)


class Receiver:
    """One connection's way from datagrams to frames.

    Hand over what the socket holds before a DAVE message is processed: it may take the keys of a speaker who leaves.
    Call `expire` a few times a second while anything is `parked`.
    """

    def __init__(
        self,
        transport: TransportCipher,
        dave: DaveSession,
        *,
        ledger: PacketLedger | None = None,
        own_ssrc: int | None = None,
        accept_plain: bool = True,
    ) -> None:
        """Begin to receive.

        Args:
            transport: opens this connection's datagrams.
            dave: opens the frames.
            ledger: where to count; it may have counted earlier connections of the session.
            own_ssrc: our own stream, which is not recorded.
            accept_plain: whether valid Opus is taken from a known speaker who does not encrypt in an encrypted call,
                as newcomers do until they are welcomed into the group.
        """
        self.ledger = PacketLedger() if ledger is None else ledger
        self._transport = transport
        self._dave = dave
        self._own_ssrc = own_ssrc
        self._opener = FrameOpener(dave, accept_plain=accept_plain)
        self._epoch = dave.epoch
        self._streams: dict[int, Stream] = {}
        self._unknown: set[int] = set()
        self._waiting: dict[int, Stream] = {}
        self._leaving: dict[int, Stream] = {}
        self._unknown_space = Budget(max_frames=MAX_UNKNOWN_FRAMES, max_bytes=MAX_UNKNOWN_BYTES)
        self._known_space = Budget(max_frames=MAX_KNOWN_FRAMES, max_bytes=MAX_KNOWN_BYTES)

    @property
    def parked(self) -> int:
        """Datagrams of this connection that wait."""
        return self._known_space.frames + self._unknown_space.frames

    @property
    def ssrcs(self) -> dict[int, int]:
        """Whose each SSRC is, as far as known."""
        return {ssrc: stream.user_id for ssrc, stream in self._streams.items() if stream.user_id is not None}

    def datagrams(self, batch: Iterable[tuple[bytes, float]]) -> list[OpusFrame]:
        """Take datagrams and the monotonic seconds of their arrival; gives the frames that are ready."""
        frames = self._after_epoch()
        ledger, streams = self.ledger, self._streams
        for datagram, arrived in batch:
            ledger.received += 1
            if datagram[1:2] not in _OPUS:
                self._drop_other(datagram)
                continue
            try:
                _, sequence, timestamp, ssrc, payload = self._transport.open(datagram)
            except ForgedPacketError:
                ledger.nobody.drop(Outcome.FORGED)
                continue
            except ParseError:
                self._drop_other(datagram)
                continue
            stream = streams.get(ssrc) or self._stranger(ssrc)
            if stream is None:
                continue
            index = stream.window.place(sequence)
            if (
                index < 0
                or stream.held
                or stream.user_id is None
                or (index != stream.last_index + 1 and self._must_wait(stream, index, payload, arrived))
            ):
                self._take(stream, Held(index, sequence, timestamp, payload, arrived), frames)
                continue
            found, outcome = self._opener.open(stream.user_id, payload)
            if found is not None:
                tally = stream.tally
                tally.stored += 1
                if outcome is Outcome.STORED_PLAIN:
                    tally.plain += 1
                elif found is not payload:
                    stream.last_sealed = payload
                if index > stream.last_index:  # noqa: PLR1730 - for every packet; a call costs more
                    stream.last_index = index
                frames.append(OpusFrame(stream.user_id, ssrc, sequence, timestamp, found, arrived))
            elif outcome in MAY_OPEN:
                held = Held(index, sequence, timestamp, payload, arrived)
                held.reason = outcome
                self._park(stream, held, frames)
            else:
                stream.tally.drop(outcome)
        return frames

    def map_ssrc(self, ssrc: int, user_id: int, now: float) -> list[OpusFrame]:
        """An SSRC is announced as a user's; gives the frames that waited for that. Impossible numbers are ignored."""
        if not (0 <= ssrc <= _MAX_SSRC and 0 < user_id <= _MAX_USER_ID):
            return []
        frames: list[OpusFrame] = []
        if user_id == self._dave.user_id:
            self._own_ssrc = ssrc
            if ssrc in self._streams:
                self._finish(self._streams[ssrc], frames, Outcome.OWN)
            return frames
        stream = self._streams.get(ssrc)
        if stream is None:
            self._make_room(frames)
            stream = self._streams[ssrc] = Stream(ssrc, None, self.ledger.nobody, self._unknown_space)
        if ssrc == self._own_ssrc:
            self._own_ssrc = None
        stream.next_trial = now + TRIAL_SECONDS
        self._assign(stream, user_id, frames)
        return frames

    def forget_user(self, user_id: int) -> None:
        """A user has left; what is still on its way from there is taken for as long as frames may be parked."""
        for ssrc, stream in self._streams.items():
            if stream.user_id == user_id:
                self._leaving[ssrc] = stream

    def epoch_changed(self, now: float) -> list[OpusFrame]:
        """There are new keys (`DaveSession.epoch` has grown); gives the parked frames that they open."""
        return self.expire(now)

    def expire(self, now: float) -> list[OpusFrame]:
        """Give up on what was parked for two seconds; gives what waited behind it, or what a trial opened."""
        frames = self._after_epoch()
        trials = MAX_TRIALS
        for stream in list(self._waiting.values()):
            if stream.is_due(now):
                self._end_patience(stream, frames)
            if trials and now >= stream.next_trial and stream.held and stream.held[0].arrived + TRIAL_SECONDS <= now:
                trials -= self._try_members(stream, frames)
                stream.next_trial = now + TRIAL_SECONDS
            if stream.suspect is not None and stream.suspect.arrived + PARK_SECONDS <= now:
                self._drop_suspect(stream, Outcome.TOO_OLD)
            if stream.held and stream.held[0].arrived + PARK_SECONDS <= now:
                for frame in stream.held:
                    frame.hopeless |= frame.arrived + PARK_SECONDS <= now
            self._settle(stream, frames)
        for stream in list(self._leaving.values()):
            if stream.gone_at is None:
                stream.gone_at = now
            elif stream.gone_at + PARK_SECONDS <= now:
                self._finish(stream, frames)
        return frames

    def close(self) -> list[OpusFrame]:
        """End: gives what can be given of the parked frames, the others are dropped for the reason they waited."""
        frames = self._after_epoch()
        for stream in list(self._waiting.values()):
            if stream.user_id is None:
                self._try_members(stream, frames)
        for stream in list(self._streams.values()):
            self._finish(stream, frames)
        return frames

    def _drop_other(self, datagram: bytes) -> None:
        """Count what is no RTP packet of Opus."""
        if len(datagram) == KEEPALIVE_BYTES:
            outcome = Outcome.KEEPALIVE
        elif discovery.is_answer(datagram):
            outcome = Outcome.DISCOVERY
        elif rtp.is_rtcp(datagram):
            outcome = Outcome.RTCP
        elif rtp.is_rtp(datagram) and datagram[1:2] not in _OPUS:
            outcome = Outcome.OTHER_PAYLOAD
        else:
            outcome = Outcome.MALFORMED
        self.ledger.nobody.drop(outcome)

    def _stranger(self, ssrc: int) -> Stream | None:
        """A stream for an SSRC that is not known, or None when there is no space; the datagram is counted then."""
        if ssrc == self._own_ssrc:
            self.ledger.nobody.drop(Outcome.OWN)
            return None
        if len(self._unknown) >= MAX_UNKNOWN_STREAMS:
            self.ledger.nobody.drop(Outcome.PARKING_FULL)
            return None
        stream = self._streams[ssrc] = Stream(ssrc, None, self.ledger.nobody, self._unknown_space)
        self._unknown.add(ssrc)
        return stream

    def _take(self, stream: Stream, frame: Held, frames: list[OpusFrame]) -> None:
        """Place a frame that does not go the short way."""
        if frame.index == DUPLICATE:
            stream.tally.drop(Outcome.DUPLICATE)
        elif frame.index < 0:
            self._take_far_behind(stream, frame, frames)
        else:
            self._take_in_order(stream, frame, frames)

    def _must_wait(self, stream: Stream, index: int, payload: bytes, arrived: float) -> bool:
        """After a hole: let the stream wait for what may be missing of a new epoch, before a later frame is opened."""
        if not (self._dave.expects_encrypted and is_encrypted(payload) and stream.may_have_overtaken(index, payload)):
            return False
        stream.patient_until = arrived + REORDER_SECONDS
        return True

    def _take_in_order(self, stream: Stream, frame: Held, frames: list[OpusFrame]) -> None:
        """Hand on a frame, or let it wait if it does not open or waits for one that was sent before it."""
        if stream.patient_until is not None:
            self._wait_on(stream, frame, frames)
            return
        if stream.user_id is not None:
            self._opener.open_held(frame, stream.user_id)
            if frame.hopeless:
                stream.tally.drop(frame.reason)
                return
        self._park(stream, frame, frames)

    def _take_far_behind(self, stream: Stream, frame: Held, frames: list[OpusFrame]) -> None:
        """A packet behind the window is a replay, unless the next ones come from there too: RFC 3550 appendix A.1."""
        suspect = stream.suspect
        if suspect is not None:
            ahead = rtp.sequence_distance(frame.sequence, suspect.sequence)
            if not ahead:
                stream.tally.drop(Outcome.DUPLICATE)
                return
            if 0 < ahead < WINDOW:
                stream.clear_suspect()
                stream.window.restart()
                for first in (suspect, frame):
                    first.index = stream.window.place(first.sequence)
                    self._take_in_order(stream, first, frames)
                return
            self._drop_suspect(stream, Outcome.TOO_OLD)
        if stream.budget.fits(len(frame.payload)):
            stream.suspend(frame)
            self._waiting[stream.ssrc] = stream
        else:
            stream.tally.drop(Outcome.PARKING_FULL)

    def _park(self, stream: Stream, frame: Held, frames: list[OpusFrame]) -> None:
        """Let a frame wait in its place, and hand on what need not wait with it there."""
        fits = stream.budget.fits(len(frame.payload))
        if fits:
            self._hold(stream, frame)
        elif frame.opus is None:
            stream.tally.drop(Outcome.PARKING_FULL)
        self._settle(stream, frames, proved=frame.index if frame.opened_with_key else -1)
        if not fits and frame.opus is not None:
            self._emit(stream, frame, frames)

    def _hold(self, stream: Stream, frame: Held) -> None:
        stream.hold(frame)
        self._waiting[stream.ssrc] = self._streams[stream.ssrc] = stream
        if stream.user_id is None:
            self._unknown.add(stream.ssrc)

    def _wait_on(self, stream: Stream, frame: Held, frames: list[OpusFrame]) -> None:
        """Let a frame wait unopened, until nothing is missing any more or the time is over."""
        fits = stream.budget.fits(len(frame.payload))
        if fits:
            frame.reason = Outcome.UNDECRYPTABLE
            self._hold(stream, frame)
        if not fits or stream.is_complete or stream.overflows or stream.is_due(frame.arrived):
            self._end_patience(stream, frames)
            if not fits:
                self._take_in_order(stream, frame, frames)

    def _end_patience(self, stream: Stream, frames: list[OpusFrame]) -> None:
        """Open what waited unopened."""
        stream.patient_until = None
        if stream.user_id is not None:
            self._retry(stream, stream.user_id, frames)

    def _assign(self, stream: Stream, user_id: int, frames: list[OpusFrame]) -> None:
        """A stream belongs to a user: open what waits of it."""
        self._unknown.discard(stream.ssrc)
        self._leaving.pop(stream.ssrc, None)
        stream.gone_at = None
        if stream.user_id != user_id:
            stream.assign(user_id, self.ledger.tally(user_id), self._known_space)
            self._retry(stream, user_id, frames)

    def _retry(self, stream: Stream, user_id: int, frames: list[OpusFrame]) -> None:
        """Open what waits of a stream with the keys and the policy of now."""
        proved = -1
        for frame in stream.held:
            if frame.opus is None:
                self._opener.open_held(frame, user_id)
            if frame.opened_with_key:
                proved = frame.index
        self._settle(stream, frames, proved=proved)

    def _after_epoch(self) -> list[OpusFrame]:
        """Frames that new keys open, if there are new keys."""
        frames: list[OpusFrame] = []
        if self._epoch != self._dave.epoch:
            self._epoch = self._dave.epoch
            for stream in list(self._waiting.values()):
                if stream.user_id is not None and stream.patient_until is None:
                    self._retry(stream, stream.user_id, frames)
        return frames

    def _try_members(self, stream: Stream, frames: list[OpusFrame]) -> bool:
        """Find out whose a stream is with the keys of all members: only the sender's opens a frame.

        Gives whether anything was tried.
        """
        if stream.patient_until is not None:
            return False
        candidates = stream.candidates()
        taken = {other.user_id for other in self._streams.values()}
        owner = self._opener.owner_of(candidates, but_not=stream.user_id, rather_not=taken)
        if owner is not None:
            _log.info("ssrc_found_by_key", extra={"ssrc": stream.ssrc})
            self._assign(stream, owner, frames)
        return bool(candidates)

    def _settle(self, stream: Stream, frames: list[OpusFrame], *, proved: int = -1) -> None:
        """Hand on and drop what need not wait any longer, and forget a stranger of whom nothing is left."""
        while stream.can_release or proved >= 0:
            ready, hopeless = stream.release(proved=proved)
            proved = -1
            for frame in hopeless:
                stream.tally.drop(frame.reason)
                stream.last_index = max(stream.last_index, frame.index)
            for frame in ready:
                self._emit(stream, frame, frames)
            if stream.overflows:
                stream.held[0].hopeless = True
                stream.held[0].reason = Outcome.PARKING_FULL
        if not stream.waits:
            self._waiting.pop(stream.ssrc, None)
            if stream.user_id is None:
                self._unknown.discard(stream.ssrc)
                self._streams.pop(stream.ssrc, None)

    def _emit(self, stream: Stream, frame: Held, frames: list[OpusFrame]) -> None:
        """Hand on an opened frame."""
        if stream.user_id is None or not frame.opus:  # nothing opens without an owner; a trial may open nothing
            stream.tally.drop(Outcome.EMPTY)
            return
        stream.tally.stored += 1
        stream.tally.plain += frame.plain
        stream.last_index = max(stream.last_index, frame.index)
        if frame.opened_with_key:
            stream.last_sealed = frame.payload
        frames.append(
            OpusFrame(stream.user_id, stream.ssrc, frame.sequence, frame.timestamp, frame.opus, frame.arrived)
        )

    def _drop_suspect(self, stream: Stream, outcome: Outcome) -> None:
        if stream.clear_suspect() is not None:
            stream.tally.drop(outcome)

    def _finish(self, stream: Stream, frames: list[OpusFrame], outcome: Outcome | None = None) -> None:
        """Forget a stream: what has opened is handed on, all else dropped; everything is with an `outcome`."""
        self._drop_suspect(stream, outcome or Outcome.TOO_OLD)
        if stream.patient_until is not None and outcome is None:
            self._end_patience(stream, frames)
        for frame in stream.held:
            if outcome is not None:
                frame.opus, frame.reason = None, outcome
            frame.hopeless = frame.opus is None
        self._settle(stream, frames)
        for known in (self._streams, self._leaving, self._waiting):
            known.pop(stream.ssrc, None)
        self._unknown.discard(stream.ssrc)

    def _make_room(self, frames: list[OpusFrame]) -> None:
        """Forget a stream if there are too many."""
        if len(self._streams) < MAX_STREAMS:
            return
        oldest = next((stream for stream in self._streams.values() if not stream.waits), None)
        self._finish(oldest or next(iter(self._streams.values())), frames)

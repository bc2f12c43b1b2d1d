"""Simulated people: headless voice clients that say Opus frames in real time, and remember every packet they sent."""

import asyncio
import math
import random
import ssl
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from enum import StrEnum
from typing import Final, NamedTuple

from discord_recorder.errors import SimulatorError
from discord_recorder.simulator.voice import rtp
from discord_recorder.simulator.voice.opus_source import FRAME_SAMPLES, FRAME_SECONDS
from discord_recorder.simulator.voice.speaker_connection import SpeakerConnection
from discord_recorder.simulator.voice_port import VoiceAccess

SILENT_FRAMES: Final = 5
"""How many frames of silence end a talk spurt."""

MAX_LOG: Final = 2_000_000
"""Packets that a log keeps: 11 hours of speech; then the oldest half goes."""


MAX_UNOPENED: Final = 500
"""Heard packets that are tried again with each that follows."""


class Habit(StrEnum):
    """What a sender's RTP timestamp does while it says nothing (PROTOCOL, "Packets", time)."""

    RUNNING = "running"
    """It runs on, as in WebRTC clients."""
    STOPPING = "stopping"
    """It stands still, as in bot libraries."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SpeakerOptions:
    """How somebody speaks. Sequence and timestamp begin anywhere if they are not given."""

    habit: Habit = Habit.RUNNING
    drift_ppm: float = 0.0
    """How many millionths the speaker's clock is too fast: it sends so much more often."""
    mode: str = next(iter(rtp.MODES))
    first_sequence: int | None = None
    first_timestamp: int | None = None
    plain_until_welcomed: bool = False
    """Send frames unencrypted while the group is not ready, as bots on davey do; otherwise they are not sent."""
    commit_after_seconds: float = 0.0
    """Leave it to the others to commit proposals, for so long; spares a call of many most of its work."""
    keep_log: bool = True
    hear: bool = False
    """Keep what others say, in `heard`."""
    seed: int = 0


class SentFrame(NamedTuple):
    """A packet that left: numbers as they were on the wire, Opus before encryption."""

    ssrc: int
    sequence: int
    timestamp: int
    opus: bytes
    encrypted: bool
    """False for silence, in a call of version 0, and before a welcome."""
    sent_at: float
    """Monotonic seconds."""


class HeardFrame(NamedTuple):
    """A packet that came; `opus` is None when it did not open."""

    user_id: int | None
    ssrc: int
    sequence: int
    timestamp: int
    opus: bytes | None


class Speaker:
    """One person. Join, speak, mute, leave, and join again with another ticket; the logs go on through all of that."""

    def __init__(self, *, tls: ssl.SSLContext | None, options: SpeakerOptions | None = None) -> None:
        self.options = options if options is not None else SpeakerOptions()
        self.sent: list[SentFrame] = []
        self.heard: list[HeardFrame] = []
        self.held_frames = 0
        """Frames that were not sent because there was no group to encrypt them for, or because of mute."""
        self.unsent_frames = 0
        """Frames that the kernel did not take."""
        self.muted = False
        self._tls = tls
        self._lot = random.Random(self.options.seed or None)  # noqa: S311 - repeatable, on purpose
        self._connection: SpeakerConnection | None = None
        self._unopened: list[tuple[int, bytes]] = []
        self._spurt: _Spurt | None = None
        self._interval = FRAME_SECONDS / (1 + self.options.drift_ppm * 1e-6)
        self._sequence = 0
        self._timestamp = 0
        self._origin = 0.0

    @property
    def connection(self) -> SpeakerConnection:
        """The connection.

        Raises:
            SimulatorError: this speaker is not in a call.
        """
        if self._connection is None:
            raise SimulatorError("this speaker is not in a call")
        return self._connection

    @property
    def is_speaking(self) -> bool:
        """A talk spurt is going on."""
        return self._spurt is not None

    async def join(self, access: VoiceAccess) -> None:
        """Connect; sequence and timestamp begin anew, the SSRC is another one.

        Raises:
            SimulatorError: already in a call, or not let in.
        """
        if self._connection is not None:
            raise SimulatorError("this speaker is in a call already")
        hear = self._on_datagram if self.options.hear else None
        connection = SpeakerConnection(
            access,
            tls=self._tls,
            mode=self.options.mode,
            hear=hear,
            commit_after_seconds=self.options.commit_after_seconds,
        )
        self._connection = connection
        try:
            await connection.open()
        except BaseException:
            self._connection = None
            raise
        first_sequence, first_timestamp = self.options.first_sequence, self.options.first_timestamp
        self._sequence = self._lot.randrange(1 << 16) if first_sequence is None else first_sequence
        self._timestamp = self._lot.randrange(1 << 32) if first_timestamp is None else first_timestamp
        self._origin = asyncio.get_running_loop().time()
        self._unopened.clear()

    async def ready(self) -> None:
        """Return when this speaker's group is ready; at once in a call of version 0. One who is alone waits."""
        await self.connection.wait_ready()

    async def leave(self) -> None:
        """Break off and disconnect; nothing happens outside of a call."""
        connection, self._connection = self._connection, None
        if self._spurt is not None:
            self._spurt.end()
        if connection is not None:
            await connection.close()

    def mute(self) -> None:
        """Go silent, in mid-spurt too: what is being said meanwhile is not sent."""
        self.muted = True

    def unmute(self) -> None:
        """Be heard again."""
        self.muted = False

    async def speak(self, frames: Iterable[bytes]) -> None:
        """Say Opus frames of 20 ms in real time, then five of silence; return after the last one, or at `leave`.

        Raises:
            SimulatorError: not in a call, or speaking already.
        """
        if self._spurt is not None:
            raise SimulatorError("this speaker is speaking already")
        connection = self.connection
        spurt = self._spurt = _Spurt(self, connection, iter(frames))
        connection.announce(speaking=True)
        try:
            spurt.begin()
            await spurt.ended
        finally:
            spurt.end()
            self._spurt = None
            if connection.is_open:
                connection.announce(speaking=False)

    def _begin_at(self, now: float) -> float:
        """When a spurt's first frame is due; sets the timestamp it gets."""
        if self.options.habit is Habit.STOPPING:
            return now
        ticks = max(0, math.ceil((now - self._origin) / self._interval))
        begin = self._origin + ticks * self._interval
        self._timestamp += ticks * FRAME_SAMPLES
        self._origin = begin
        return begin

    def _skip(self) -> None:
        """Say nothing for one frame."""
        self.held_frames += 1
        if self.options.habit is Habit.RUNNING:
            self._advance_clock()

    def _send(self, connection: SpeakerConnection, opus: bytes, now: float) -> None:
        dave = connection.dave
        if opus != rtp.SILENCE and not dave.ready and not self.options.plain_until_welcomed:
            self._skip()
            return
        payload = dave.encrypt(opus)
        if connection.send(self._sequence, self._timestamp, payload):
            if self.options.keep_log:
                self._log(connection.ssrc, opus, encrypted=payload != opus, now=now)
        else:
            self.unsent_frames += 1
        self._sequence = self._sequence + 1 & 0xFFFF
        self._advance_clock()

    def _advance_clock(self) -> None:
        self._timestamp = self._timestamp + FRAME_SAMPLES & 0xFFFF_FFFF
        self._origin += self._interval

    def _log(self, ssrc: int, opus: bytes, *, encrypted: bool, now: float) -> None:
        if len(self.sent) >= MAX_LOG:
            del self.sent[: MAX_LOG // 2]
        self.sent.append(SentFrame(ssrc, self._sequence & 0xFFFF, self._timestamp & 0xFFFF_FFFF, opus, encrypted, now))

    def _on_datagram(self, datagram: bytes) -> None:
        connection = self._connection
        payload = connection.unseal(datagram) if connection is not None else None
        if connection is None or payload is None or len(self.heard) >= MAX_LOG:
            return
        ssrc = int.from_bytes(datagram[8:12])
        plain = payload == rtp.SILENCE or not connection.dave.version
        frame = HeardFrame(
            connection.users.get(ssrc),
            ssrc,
            rtp.sequence_of(datagram),
            int.from_bytes(datagram[4:8]),
            payload if plain else None,
        )
        self.heard.append(frame)
        if not plain:
            self._unopened.append((len(self.heard) - 1, payload))
            self._open(connection)

    def _open(self, connection: SpeakerConnection) -> None:
        """Open what is still closed: the key, or the speaker's name, may have come."""
        still = []
        for index, payload in self._unopened:
            frame = self.heard[index]
            user_id = connection.users.get(frame.ssrc)
            opus = None if user_id is None else connection.dave.decrypt(user_id, payload)
            if opus is None:
                still.append((index, payload))
            else:
                self.heard[index] = frame._replace(user_id=user_id, opus=opus)
        self._unopened = still[-MAX_UNOPENED:]


class _Spurt:
    """A talk spurt: one timer of the event loop after the other, no task."""

    def __init__(self, speaker: Speaker, connection: SpeakerConnection, frames: Iterator[bytes]) -> None:
        self._speaker = speaker
        self._connection = connection
        self._frames = frames
        self._loop = asyncio.get_running_loop()
        self._timer: asyncio.TimerHandle | None = None
        self._begun_at = 0.0
        self._ticks = 0
        self._silent_left = 0
        self._over = False
        self.ended: asyncio.Future[None] = self._loop.create_future()

    def begin(self) -> None:
        """Say the first frame when it is due."""
        self._begun_at = self._speaker._begin_at(self._loop.time())
        self._timer = self._loop.call_at(self._begun_at, self._tick)

    def end(self) -> None:
        """Break off."""
        if self._timer is not None:
            self._timer.cancel()
        if not self.ended.done():
            self.ended.set_result(None)

    def _tick(self) -> None:
        if not self._connection.is_open:
            self.end()
            return
        opus = self._next()
        if self._over and opus is None:
            self.end()
            return
        if opus is None:
            self._speaker._skip()
        else:
            self._speaker._send(self._connection, opus, self._loop.time())
        self._ticks += 1
        self._timer = self._loop.call_at(self._begun_at + self._ticks * self._speaker._interval, self._tick)

    def _next(self) -> bytes | None:
        """The frame of this tick, None for nothing; at the end of speech, and of what mute lets through, silence."""
        frame = None if self._over else next(self._frames, None)
        self._over = frame is None
        if frame is not None and not self._speaker.muted:
            self._silent_left = SILENT_FRAMES
            return frame
        if self._silent_left:
            self._silent_left -= 1
            return rtp.SILENCE
        return None

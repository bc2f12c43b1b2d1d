"""Frames as a voice client hands them on, made of real Opus."""

from collections.abc import Iterable, Iterator, Sequence

from discord_recorder.audio.opus import SILENCE, packet_samples
from discord_recorder.recording.live.capture import LiveCapture
from discord_recorder.voice.frames import OpusFrame
from tests.audio.opus_signals import encoded
from tests.audio.signals import to_pcm, tone

RATE = 48_000


def tone_packets(seconds: float, hertz: float = 997.0, *, mode: str = "celt", frame_ms: int = 20) -> list[bytes]:
    """A tone as Opus."""
    return encoded(to_pcm(tone(round(seconds * RATE), hertz=hertz)), mode=mode, frame_ms=frame_ms)


class Sender:
    """One speaker's stream of one connection; `runs_on`: its timestamps go on through silence."""

    def __init__(
        self,
        user_id: int,
        ssrc: int = 1,
        *,
        sequence: int = 65_530,
        timestamp: int = 2**32 - 4800,
        runs_on: bool = True,
    ) -> None:
        self.user_id = user_id
        self.ssrc = ssrc
        self._sequence = sequence
        self._timestamp = timestamp
        self._runs_on = runs_on
        self._until: float | None = None

    def says(self, packets: Iterable[bytes], at: float, *, then_silence: bool = True) -> list[OpusFrame]:
        """A talk spurt that is sent, and arrives, from `at` on, in seconds."""
        if self._until is not None and self._runs_on:
            self._timestamp += round((at - self._until) * RATE)
        frames = []
        for packet in [*packets, *([SILENCE] * 5 if then_silence else [])]:
            sequence, timestamp = self._sequence % 2**16, self._timestamp % 2**32
            frames.append(OpusFrame(self.user_id, self.ssrc, sequence, timestamp, packet, at))
            self._sequence += 1
            self._timestamp += packet_samples(packet)
            at += packet_samples(packet) / RATE
        self._until = at
        return frames


def by_arrival(*streams: Iterable[OpusFrame], batch_seconds: float = 0.02) -> Iterator[list[OpusFrame]]:
    """The frames of several senders in the batches that the voice client makes."""
    frames = sorted((frame for stream in streams for frame in stream), key=lambda frame: frame.arrived)
    batch: list[OpusFrame] = []
    for frame in frames:
        if batch and frame.arrived - batch[0].arrived >= batch_seconds:
            yield batch
            batch = []
        batch.append(frame)
    if batch:
        yield batch


def hear(live: LiveCapture, frames: Sequence[OpusFrame]) -> None:
    """What the receiver and the client do with frames whose arrival is in session time."""
    started = live.started
    placed = [OpusFrame(f.user_id, f.ssrc, f.sequence, f.timestamp, f.opus, started + f.arrived) for f in frames]
    for frame in placed:
        live.ledger.received += 1
        live.ledger.tally(frame.user_id).stored += 1
    live.on_frames(placed)


def hear_all(live: LiveCapture, *streams: Iterable[OpusFrame]) -> None:
    """The same for whole streams, in batches."""
    for batch in by_arrival(*streams):
        hear(live, batch)

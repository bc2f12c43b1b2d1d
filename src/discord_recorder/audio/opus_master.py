"""A finished track of Opus as it was received, for any player: gaps are filled with packets of silence.

Players take no notice of a hole in the granule positions; only packets make time pass for them. Packets last multiples
of 2.5 ms, so a packet after a gap stands at the nearest such place: at most 1.25 ms from its own, without adding up,
and exactly in it where the places of a track's talk spurts are multiples of 120 samples. The length is exact to the
sample, by the last page's granule position (RFC 7845, section 4.4).

Losses stay markers (`opus.missing_packet`), which any player conceals, up to 100 ms each; what is longer goes on as
silence, as in a decoded chunk.
"""

from collections.abc import Iterable, Iterator
from dataclasses import replace

from discord_recorder.audio.opus import UNIT_SAMPLES, is_missing, missing_packet, silence
from discord_recorder.audio.opus_decoder import MAX_CONCEALED_SAMPLES
from discord_recorder.audio.opus_reader import PlacedPacket
from discord_recorder.audio.opus_writer import LATEST_SAMPLE, OggOpusWriter

_FILL_SAMPLES = 60 * 48_000
"""Silence is written a minute at a time, so that hours of it take no memory."""


class OpusMaster:
    """A track's packets in, in order of time; the bytes of its Ogg Opus file out.

    The caller writes them to a file of another name and renames it when `finish` has given the last.

    Measured: 2 us a packet; an hour of silence takes 0.1 s and 0.5 MB.

    Args:
        total_samples: length of the track; None when only `finish` is going to tell.
        comments: `NAME=value` pairs for players (`TITLE=`, `ARTIST=`).
    """

    def __init__(self, *, total_samples: int | None = None, comments: Iterable[str] = ()) -> None:
        self.left_out_packets = 0
        """Packets whose whole time others fill (duplicates), or that begin after the track's end."""
        self._loss = (0, 0)  # where the last loss begins and ends
        self._writer = OggOpusWriter(comments=comments)
        self._total = LATEST_SAMPLE if total_samples is None else total_samples
        self._end = 0

    @property
    def end_sample(self) -> int:
        """Session time, in samples, up to which the track is filled."""
        return self._end

    def append(self, packets: Iterable[PlacedPacket]) -> bytes:
        """Add packets; gives the bytes that are due.

        Args:
            packets: those that belong to a chunk, without its pre-roll, sorted by place.
        """
        pieces = []
        for packet in self._concealable(packets):
            if packet.end_sample > self._end and packet.at_sample < self._total:
                pieces.append(self.fill(packet.at_sample))
                if self._end < self._total:
                    self._end += self._writer.write(packet.opus, self._end)
                    continue
            self.left_out_packets += 1
        return b"".join((*pieces, self._writer.take()))

    def finish(self, total_samples: int | None = None) -> bytes:
        """Fill the track up to its length and end the file; gives the last bytes.

        Args:
            total_samples: length of the track, where it was not known before.

        Raises:
            OggError: more than that is written already, or the track was finished before.
        """
        total = self._total if total_samples is None else total_samples
        filled = self.fill(total - total % -UNIT_SAMPLES)
        return filled + (self._writer.finish(total) if self._end else self._writer.finish())

    def fill(self, until_sample: int) -> bytes:
        """Write silence up to the place nearest to `until_sample`; gives the bytes that are due."""
        pieces = []
        while (units := (until_sample - self._end + UNIT_SAMPLES // 2) // UNIT_SAMPLES) > 0:
            for packet in silence(min(units * UNIT_SAMPLES, _FILL_SAMPLES)):
                self._end += self._writer.write(packet, self._end)
            pieces.append(self._writer.take())
        return b"".join(pieces)

    def _concealable(self, packets: Iterable[PlacedPacket]) -> Iterator[PlacedPacket]:
        """The packets, of each loss only the markers of its beginning."""
        for packet in packets:
            if not is_missing(packet.opus):
                yield packet
                continue
            begun, until = self._loss
            begun = begun if packet.at_sample == until else packet.at_sample
            self._loss = begun, packet.end_sample
            samples = min(packet.end_sample, begun + MAX_CONCEALED_SAMPLES) - packet.at_sample
            if samples == packet.samples:
                yield packet
            elif samples >= UNIT_SAMPLES:
                samples -= samples % UNIT_SAMPLES
                yield replace(packet, samples=samples, opus=missing_packet(packet.opus, samples))

"""A chunk of Opus to PCM in its place on the session clock, ready for the MP3 encoder.

A packet belongs to the chunk in which it begins. One that reaches over the border is also in the next chunk's file, as
part of its pre-roll: the packets in front of the chunk (`opus_preroll`), which bring the decoder, and then the MP3
encoder, into the state they would have had in one go.

Losses are concealed where markers tell of them (`opus.missing_packet`), up to 100 ms each; the rest of them, and every
gap that no marker tells of, is exact silence, into which the sound fades in its last 5 ms, and out of which in its
first 5 ms, unless the sender paused. What is concealed at the end of a chunk comes out of the next chunk's
pre-roll in the same way, so a loss over the border is one loss.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from mmap import mmap
from typing import Final

from discord_recorder.audio.encode import ChunkPcm
from discord_recorder.audio.fades import crossfaded, faded_in, faded_out
from discord_recorder.audio.mp3 import PREROLL_SAMPLES
from discord_recorder.audio.opus import is_silence
from discord_recorder.audio.opus_decoder import OpusDecoder
from discord_recorder.audio.opus_losses import told_apart
from discord_recorder.audio.opus_reader import PlacedPacket, read_ogg_opus
from discord_recorder.audio.pcm import SAMPLE_BYTES, ms_to_samples
from discord_recorder.audio.stretches import Stretch, joined, total, within, without

_FADE_SAMPLES: Final = ms_to_samples(5)
"""How long it takes from one packet to another that overlaps it, and from sound to silence."""


@dataclass(frozen=True, slots=True, kw_only=True)
class DecodedChunk:
    """A chunk's audio, and what became of its file.

    Args:
        pcm: the chunk, behind as much pre-roll as the MP3 encoder uses; gaps are digital silence.
        packets: packets that belong to the chunk and are heard in it.
        overlapping_packets: packets left out because others fill their place: duplicates.
        corrupt_packets: packets that the decoder refused; silence stands for them.
        dropped_bytes: bytes of the file that are in no whole page.
        heard: stretches of the chunk with packets that are no silence frames, in session samples; a clock's step
            between two of them is heard as well.
        lost: stretches of markers whose packets did not come after all.
        concealed_samples: how much of `lost` is concealed; the rest is silent.
    """

    pcm: ChunkPcm
    packets: int
    overlapping_packets: int
    corrupt_packets: int
    dropped_bytes: int
    heard: tuple[Stretch, ...]
    lost: tuple[Stretch, ...]
    concealed_samples: int


def decode_chunk(data: bytes | mmap, *, start_sample: int, sample_count: int) -> DecodedChunk:
    """Decode a chunk's file.

    Blocks, 12 to 30 ms for 10 s of sound, most of it without the GIL; call it from a thread.

    Args:
        data: the Ogg file: pre-roll packets, then the chunk's. Packets of what follows are left out.
        start_sample: session time at which the chunk begins.
        sample_count: its length; the result has exactly this and the pre-roll.

    Raises:
        OggError: the file holds no Opus stream.
    """
    stream = read_ogg_opus(data)
    end_sample = start_sample + sample_count
    preroll_samples = min(PREROLL_SAMPLES, start_sample)
    came, lost = told_apart(packet for packet in stream.packets if packet.at_sample < end_sample)
    canvas = _Canvas(start_sample - preroll_samples, end_sample)
    decoding = _Decoding(canvas, lost, start_sample)
    for packet in came:
        decoding.add(packet)
    decoding.finish()
    heard = joined(decoding.heard)
    return DecodedChunk(
        pcm=ChunkPcm(pcm=bytes(canvas.pcm), start_sample=start_sample, preroll_samples=preroll_samples),
        packets=decoding.packets,
        overlapping_packets=decoding.overlapping,
        corrupt_packets=decoding.decoder.corrupt_packets,
        dropped_bytes=stream.dropped_bytes,
        heard=tuple(within(heard, start_sample, end_sample)),
        lost=tuple(within(without(lost, heard), start_sample, end_sample)),
        concealed_samples=total(within(joined(decoding.concealed), start_sample, end_sample)),
    )


class _Decoding:
    """A chunk's packets in order of time onto a canvas; what was heard of them, and what was concealed between them."""

    def __init__(self, canvas: "_Canvas", lost: Sequence[Stretch], border_sample: int) -> None:
        self.decoder = OpusDecoder(border_sample=border_sample)
        self.heard: list[Stretch] = []
        self.concealed: list[Stretch] = []
        self.packets = 0
        self.overlapping = 0
        self._canvas = canvas
        self._lost = dict(lost)
        self._border = border_sample
        self._pcm = b""  # of the last packet
        self._end: int | None = None
        self._sounds = False

    def add(self, packet: PlacedPacket) -> None:
        """Put the next packet in its place, and before it what is to be heard for those that were lost."""
        is_own = packet.at_sample >= self._border
        end = packet.at_sample if self._end is None else self._end
        if packet.end_sample <= end:
            self.overlapping += is_own
            return
        pcm = self.decoder.decode(packet.opus, packet.at_sample)
        if packet.at_sample < end:
            pcm = self._joined(pcm, end - packet.at_sample)
        elif packet.at_sample > end and self._sounds:
            told = self.heard if self.decoder.is_step else self.concealed
            if not self._cross((end, packet.at_sample), self.decoder.concealed, told):
                pcm = faded_in(pcm, _FADE_SAMPLES)
        self._canvas.put(pcm, packet.end_sample - len(pcm) // SAMPLE_BYTES)
        self._pcm, self._end = pcm, packet.end_sample
        self._sounds = not is_silence(packet.opus)
        if self._sounds:
            self.heard.append((packet.at_sample, packet.end_sample))
        self.packets += is_own

    def finish(self) -> None:
        """Go on to the end of the canvas, behind the last packet."""
        end = self._canvas.end
        if self._end is not None and self._end < end and self._sounds:
            self._cross((self._end, end), self.decoder.conceal(end - self._end), self.concealed)

    def _cross(self, gap: Stretch, pcm: bytes, told: list[Stretch]) -> bool:
        """Put what there is for a gap, as far as it is a loss, and take note of it; True when that fills the gap."""
        start, end = gap
        pcm = pcm[: (self._lost.get(start, start) - start) * SAMPLE_BYTES]
        if not pcm:
            self._canvas.put(faded_out(self._pcm, _FADE_SAMPLES), start - len(self._pcm) // SAMPLE_BYTES)
            return False
        until = start + len(pcm) // SAMPLE_BYTES
        told.append((start, until))
        self._canvas.put(pcm if until == end else faded_out(pcm, _FADE_SAMPLES), start)
        return until == end

    def _joined(self, pcm: bytes, overlap: int) -> bytes:
        """What is to be heard of a packet that overlaps the one before: that fades to it at its end."""
        faded = min(overlap, _FADE_SAMPLES, len(self._pcm) // SAMPLE_BYTES) * SAMPLE_BYTES
        rest = pcm[overlap * SAMPLE_BYTES - faded :]
        return crossfaded(self._pcm[-faded:], rest[:faded]) + rest[faded:]


class _Canvas:
    """PCM of a stretch of session time, silent where nothing was put."""

    def __init__(self, start: int, end: int) -> None:
        self.start = start
        self.end = end
        self.pcm = bytearray((end - start) * SAMPLE_BYTES)

    def put(self, pcm: bytes, at_sample: int) -> None:
        """Write PCM that begins at `at_sample`, but for what lies outside."""
        skipped = max(0, self.start - at_sample) * SAMPLE_BYTES
        first = (at_sample - self.start) * SAMPLE_BYTES + skipped
        piece = memoryview(pcm)[skipped : skipped + max(0, len(self.pcm) - first)]
        self.pcm[first : first + len(piece)] = piece

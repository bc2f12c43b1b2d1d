"""A chunk of Opus to PCM in its place on the session clock, ready for the MP3 encoder.

A packet belongs to the chunk in which it begins. One that reaches over the border is also in the next chunk's file, as
part of its pre-roll: the packets in front of the chunk (`opus_preroll`), which bring the decoder, and then the MP3
encoder, into the state they would have had in one go.
"""

from dataclasses import dataclass
from mmap import mmap

from discord_recorder.audio.encode import ChunkPcm
from discord_recorder.audio.mp3 import PREROLL_SAMPLES
from discord_recorder.audio.opus_decoder import OpusDecoder
from discord_recorder.audio.opus_reader import PlacedPacket, read_ogg_opus
from discord_recorder.audio.pcm import SAMPLE_BYTES


@dataclass(frozen=True, slots=True, kw_only=True)
class DecodedChunk:
    """A chunk's audio, and what became of its file.

    Args:
        pcm: the chunk, behind as much pre-roll as the MP3 encoder uses; gaps are digital silence.
        packets: packets that belong to the chunk and are heard in it.
        overlapping_packets: packets left out because others fill their place: duplicates.
        corrupt_packets: packets that the decoder refused; silence stands for them.
        dropped_bytes: bytes of the file that are in no whole page.
        heard: stretches of the chunk with packets that are no silence frames, `[start, end)` in session samples.
        lost: stretches of markers (`opus.missing_packet`) whose packets did not come after all.
        concealed_samples: how much of `lost` is concealed; the rest is silent.
    """

    pcm: ChunkPcm
    packets: int
    overlapping_packets: int
    corrupt_packets: int
    dropped_bytes: int
    heard: tuple[tuple[int, int], ...] = ()
    lost: tuple[tuple[int, int], ...] = ()
    concealed_samples: int = 0


def decode_chunk(
    data: bytes | mmap, *, start_sample: int, sample_count: int, conceal_losses: bool = False
) -> DecodedChunk:
    """Decode a chunk's file.

    Blocks, 20 to 60 ms for 10 s of sound, most of it without the GIL; call it from a thread.

    Args:
        data: the Ogg file: pre-roll packets, then the chunk's. Packets of what follows are left out.
        start_sample: session time at which the chunk begins.
        sample_count: its length; the result has exactly this and the pre-roll.
        conceal_losses: fill losses of up to 60 ms as players do, instead of leaving them silent.

    Raises:
        OggError: the file holds no Opus stream.
    """
    stream = read_ogg_opus(data)
    preroll_samples = min(PREROLL_SAMPLES, start_sample)
    canvas = _Canvas(start_sample - preroll_samples, start_sample + sample_count)
    decoder = OpusDecoder()
    heard = overlapping = 0
    end = -1
    for packet in sorted(stream.packets, key=_place):
        if packet.at_sample >= canvas.end:
            break
        if packet.end_sample <= end:
            overlapping += packet.at_sample >= start_sample
            continue
        pcm = decoder.decode(packet.opus, packet.at_sample)
        if conceal_losses:
            canvas.put(decoder.concealed, end, 0)
        canvas.put(pcm, packet.at_sample, max(0, end - packet.at_sample))
        end = packet.end_sample
        heard += packet.at_sample >= start_sample
    return DecodedChunk(
        pcm=ChunkPcm(pcm=bytes(canvas.pcm), start_sample=start_sample, preroll_samples=preroll_samples),
        packets=heard,
        overlapping_packets=overlapping,
        corrupt_packets=decoder.corrupt_packets,
        dropped_bytes=stream.dropped_bytes,
    )


def _place(packet: PlacedPacket) -> int:
    return packet.at_sample


class _Canvas:
    """PCM of a stretch of session time, silent where nothing was put."""

    def __init__(self, start: int, end: int) -> None:
        self.start = start
        self.end = end
        self.pcm = bytearray((end - start) * SAMPLE_BYTES)

    def put(self, pcm: bytes, at_sample: int, skipped_samples: int) -> None:
        """Write PCM that begins at `at_sample`, but for its first samples and what lies outside."""
        skipped = max(skipped_samples, self.start - at_sample) * SAMPLE_BYTES
        first = (at_sample - self.start) * SAMPLE_BYTES + skipped
        piece = memoryview(pcm)[skipped : skipped + max(0, len(self.pcm) - first)]
        self.pcm[first : first + len(piece)] = piece

"""A finished Opus master to PCM as it is to be heard: each packet in its place, losses concealed as in the MP3.

FFmpeg decodes a master as well, but takes the markers of losses for silence at best.
"""

from collections.abc import Iterator
from mmap import mmap
from typing import Final

from discord_recorder.audio.opus import is_missing
from discord_recorder.audio.opus_decoder import OpusDecoder
from discord_recorder.audio.opus_reader import packets_in_turn
from discord_recorder.audio.pcm import SAMPLE_BYTES, SAMPLE_RATE

_BLOCK_BYTES: Final = SAMPLE_RATE * SAMPLE_BYTES


def master_pcm(data: bytes | mmap) -> Iterator[bytes]:
    """The PCM (s16le, 48 kHz, stereo) of a file of `OpusMaster`, a second or more at a time.

    It may be up to 119 samples longer than the track, whose last packet is played whole, and is shorter where the
    track ends with a loss. Blocks, about 10 s an hour of sound, and less of silence; call it from a thread.

    Args:
        data: the file.

    Raises:
        OggError: it is no such file, or not all of it is whole.
    """
    decoder = OpusDecoder()
    block = bytearray()
    end = 0
    for packet in packets_in_turn(data):
        if is_missing(packet.opus):
            continue
        pcm = decoder.decode(packet.opus, packet.at_sample)
        block += decoder.concealed.ljust((packet.at_sample - end) * SAMPLE_BYTES, b"\0") + pcm
        end = packet.end_sample
        if len(block) >= _BLOCK_BYTES:
            yield bytes(block)
            block.clear()
    yield bytes(block)

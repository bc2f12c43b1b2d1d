"""The packets in front of a chunk that its file begins with, so that it can be decoded without its predecessor.

They have to bring the MP3 encoder into its state (500 ms of PCM, `mp3.PREROLL_SAMPLES`), and before that the Opus
decoder. Measured at the borders of 3 s chunks against one decode of everything: the highest difference from the first
MP3 frame on that is kept, in dBFS, of the PCM and of the MP3:

| pre-roll packets of 20 ms | CELT, speech and tone | SILK and hybrid, speech | SILK, tone |
| --- | --- | --- | --- |
| 5 | -9, MP3 -9 | -8, MP3 -8 | -14, MP3 -11 |
| 15 | -66, MP3 -42 | -20, MP3 -20 | -39, MP3 -34 |
| 25 | -90, MP3 -48 | -46, MP3 -32 | -39, MP3 -34 |
| 35 | identical, MP3 identical | -50, MP3 -32 | -39, MP3 -34 |

CELT forgets 6 dB a packet and is exact after 35. SILK comes to its final distance in 20 packets and no further: what
remains is rounding that its long-term predictor keeps alive, like another take of the same noise. It is no click, as
MP3 frames fade over. Senders who paused need no pre-roll but their silence frames.
"""

from collections import deque
from typing import Final

from discord_recorder.audio.mp3 import PREROLL_SAMPLES
from discord_recorder.audio.pcm import ms_to_samples

OPUS_PREROLL_SAMPLES: Final = PREROLL_SAMPLES + ms_to_samples(200)
"""How far before a chunk its pre-roll reaches where a sender speaks on: 700 ms, 35 usual packets."""

LEAST_PACKETS: Final = 5
"""So many packets are kept however long ago they came: the silence frames that tell a pause from a loss."""


class OpusPreroll:
    """A track's last packets. Bounded: 700 ms, or five packets.

    Measured: 0.4 to 0.8 us a packet.
    """

    def __init__(self) -> None:
        self._packets: deque[tuple[bytes, int, int]] = deque()

    def add(self, opus: bytes, at_sample: int, samples: int) -> None:
        """Take note of a packet, its place, and its length as `OggOpusWriter.write` gave it."""
        packets = self._packets
        end = at_sample + samples
        packets.append((opus, at_sample, end))
        while len(packets) > LEAST_PACKETS and packets[0][2] <= end - OPUS_PREROLL_SAMPLES:
            packets.popleft()

    def move(self, since_sample: int, samples: int) -> None:
        """Packets from that place on belong so many samples earlier."""
        self._packets = deque(
            (opus, at - samples, end - samples) if at >= since_sample else (opus, at, end)
            for opus, at, end in self._packets
        )

    def replace(self, opus: bytes, at_sample: int) -> None:
        """A packet came late for a place at which another stands for it."""
        for number, (_, at, end) in enumerate(self._packets):
            if at == at_sample:
                self._packets[number] = (opus, at, end)

    def packets(self) -> list[tuple[bytes, int]]:
        """The packets a new chunk's file begins with, each with its place, as `OggOpusWriter.write` takes them."""
        return [(opus, at_sample) for opus, at_sample, _ in self._packets]

    def clear(self) -> None:
        """Forget all: the next packet comes from another encoder, as after a new connection."""
        self._packets.clear()

"""Opus packets of one track to PCM, each exactly as long as its packet, as a client in the call hears it.

The decoder's state goes from packet to packet. Where packets are missing it is brought over the gap in the way that
was measured, on speech without pauses, to do the packets that follow the least harm:

- after a sender's silence frames it is kept: the sender paused, and every client's decoder goes on from there too;
- over a loss of up to 60 ms it is led by the codec's own concealment. After one lost packet of SILK the next ones are
  4 to 5 dB nearer to the truth than with a state that is merely kept, which also bursts after longer losses;
- over anything longer it is reset, and one packet of silence is decoded unheard. After a reset alone, CELT takes its
  next packets, coded as differences to louder ones, for bursts of up to full scale; after silence it fades in within
  80 ms and never bursts. That is what clients do as well, whose decoders have heard the silence frames.

A first packet goes to a fresh decoder, so a stream from its beginning is decoded exactly.

There is no pre-skip to drop in mid-call, and nothing is moved: sample 0 of a packet's PCM stands at the packet's
place. What was spoken at a packet's timestamp is heard 312 samples (6.5 ms) later, in all modes of libopus' usual
encoder (measured by cross-correlation: CELT 312, SILK and hybrid 303), 120 in its low-delay mode. That is the encoder's
look-ahead. It is the same for everyone whose client uses libopus in its usual modes, so speakers stay aligned.

Measured with libopus: 20 to 70 us a packet (SILK least), 0.1 ms to make a decoder. FFmpeg decodes without the GIL, so
threads help. Importing this module loads PyAV: 23 MB and 0.1 s, which a process that only stores packets can spare.

Sources: RFC 6716 (section 4.4, lost packets; section 2.1.9, discontinuous transmission), PROTOCOL (Time).
"""

from functools import cache
from typing import Final

import av
import av.error
from av.codec.codec import UnknownCodecError

from discord_recorder.audio.opus import SILENCE, is_silence, lost_frame, packet_samples
from discord_recorder.audio.pcm import CHANNELS, SAMPLE_BYTES, SAMPLE_RATE, ms_to_samples

MAX_CONCEALED_SAMPLES: Final = ms_to_samples(60)
"""The longest loss over which concealment makes a better state than silence does."""

_LAYOUT: Final = "stereo"
_FORMAT: Final = "s16"
_CODECS: Final = ("libopus", "opus")
"""Decoders by preference: libopus, then FFmpeg's own, which gives up to 24 samples more or less where modes change."""


@cache
def default_codec() -> str:
    """The name of the best Opus decoder that PyAV brings."""
    for name in _CODECS[:-1]:
        try:
            av.Codec(name, "r")
        except UnknownCodecError:
            continue
        return name
    return _CODECS[-1]


class OpusDecoder:
    """Decodes one track, packet by packet in order of time. Not for two threads at once.

    Args:
        codec: FFmpeg's name of the decoder; default is `default_codec()`.
    """

    def __init__(self, codec: str | None = None) -> None:
        self.corrupt_packets = 0
        """Packets that the decoder refused; they became silence."""
        self.concealed = b""
        """What concealment would play in the gap (of at most 60 ms) right before the last packet; for who wants it."""
        self._context = _context(codec or default_codec())
        self._resampler = av.AudioResampler(format=_FORMAT, layout=_LAYOUT, rate=SAMPLE_RATE)
        self._last = b""
        self._end: int | None = None

    def decode(self, opus: bytes, at_sample: int) -> bytes:
        """The packet as s16le, 48 kHz, stereo: exactly its own samples.

        Args:
            opus: the packet.
            at_sample: its place; what lies between the end of the one before and this is a gap.

        Raises:
            OpusError: it is no Opus packet, so that nobody can say how long it lasts.
        """
        samples = packet_samples(opus)
        self.concealed = b""
        if self._end is not None:
            self._cross(at_sample - self._end)
        self._last, self._end = opus, at_sample + samples
        pcm = self._decoded(opus, samples)
        if pcm is None:
            self.corrupt_packets += 1
            return bytes(samples * SAMPLE_BYTES)
        return pcm

    def _cross(self, gap_samples: int) -> None:
        """Bring the state over a gap; one shorter than a frame is a clock's correction, and nothing is missing."""
        lost, frame_samples = lost_frame(self._last)
        if gap_samples < frame_samples or is_silence(self._last):
            return
        if gap_samples <= MAX_CONCEALED_SAMPLES:
            pieces = [self._decoded(lost, frame_samples) or b"" for _ in range(round(gap_samples / frame_samples))]
            self.concealed = b"".join(pieces)[: gap_samples * SAMPLE_BYTES]
        else:
            self._context.flush_buffers()
            self._decoded(SILENCE, packet_samples(SILENCE))

    def _decoded(self, opus: bytes, samples: int) -> bytes | None:
        """The packet's PCM; None when the decoder refuses it."""
        try:
            frames = self._context.decode(av.Packet(opus))
        except av.error.FFmpegError:
            return None
        pcm = b"".join(map(self._interleaved, frames))
        size_bytes = samples * SAMPLE_BYTES
        return pcm if len(pcm) == size_bytes else pcm[:size_bytes].ljust(size_bytes, b"\0")

    def _interleaved(self, frame: av.AudioFrame) -> bytes:
        if frame.format.name != _FORMAT:
            (frame,) = self._resampler.resample(frame)
        return bytes(frame.planes[0])[: frame.samples * SAMPLE_BYTES]


def _context(codec: str) -> av.AudioCodecContext:
    context = av.CodecContext.create(codec, "r")
    assert isinstance(context, av.AudioCodecContext)  # noqa: S101 - both decoders are of audio
    context.sample_rate = SAMPLE_RATE
    context.layout = _LAYOUT
    context.open()
    assert context.channels == CHANNELS  # noqa: S101
    return context

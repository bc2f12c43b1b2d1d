"""Opus decoded by FFmpeg through PyAV, where its libopus cannot be called itself (`libopus`).

There is no in-band FEC here. A loss is concealed by a marker, which libopus takes for lost frames.

FFmpeg decodes without the GIL. Importing this module loads PyAV: 23 MB and 0.1 s.
"""

from functools import cache
from typing import Final

import av
import av.error
from av.codec.codec import UnknownCodecError

from discord_recorder.audio.opus import MAX_PACKET_SAMPLES, frame_samples, missing_packet, packet_samples
from discord_recorder.audio.pcm import CHANNELS, SAMPLE_BYTES, SAMPLE_RATE

_LAYOUT: Final = "stereo"
_FORMAT: Final = "s16"
_CODECS: Final = ("libopus", "opus")
"""Decoders by preference: libopus, then FFmpeg's own, which gives up to 24 samples more or less where modes change."""


@cache
def default_name() -> str:
    """The name of the best Opus decoder that PyAV brings."""
    for name in _CODECS[:-1]:
        try:
            av.Codec(name, "r")
        except UnknownCodecError:
            continue
        return name
    return _CODECS[-1]


class PyavCodec:
    """One decoder of FFmpeg's, to stereo; an `OpusCodec`. Not for two threads at once.

    Args:
        name: FFmpeg's name of the decoder; default is `default_name()`.
    """

    def __init__(self, name: str | None = None) -> None:
        self._context = _context(name or default_name())
        self._resampler = av.AudioResampler(format=_FORMAT, layout=_LAYOUT, rate=SAMPLE_RATE)
        self._last = b""

    def decode(self, opus: bytes) -> bytes | None:
        """A packet's PCM; None when FFmpeg refuses the packet."""
        pcm = self._decoded(opus)
        self._last = opus
        return pcm

    def conceal(self, samples: int) -> bytes:
        """What is to be played for so many samples of which nothing came; silence where nothing came before."""
        pieces = []
        while samples > 0:
            lost = min(samples, MAX_PACKET_SAMPLES)
            pcm = self._decoded(missing_packet(self._last, lost)) if self._last else None
            pieces.append(pcm or bytes(lost * SAMPLE_BYTES))
            samples -= lost
        return b"".join(pieces)

    def has_copy(self, opus: bytes) -> bool:
        """Whether a packet's copy of the frame before it can be decoded: it cannot."""
        del opus
        return False

    def recover(self, opus: bytes) -> bytes:
        """The frame before a packet, concealed."""
        return self.conceal(frame_samples(opus))

    def reset(self) -> None:
        """Forget all that was decoded."""
        self._context.flush_buffers()

    def _decoded(self, opus: bytes) -> bytes | None:
        """The packet's PCM, exactly as long as the packet; None when FFmpeg refuses it."""
        try:
            frames = self._context.decode(av.Packet(opus))
        except av.error.FFmpegError:
            return None
        pcm = b"".join(map(self._interleaved, frames))
        size_bytes = packet_samples(opus) * SAMPLE_BYTES
        return pcm if len(pcm) == size_bytes else pcm[:size_bytes].ljust(size_bytes, b"\0")

    def _interleaved(self, frame: av.AudioFrame) -> bytes:
        if frame.format.name != _FORMAT:
            (frame,) = self._resampler.resample(frame)
        return bytes(frame.planes[0])[: frame.samples * SAMPLE_BYTES]


def _context(name: str) -> av.AudioCodecContext:
    context = av.CodecContext.create(name, "r")
    assert isinstance(context, av.AudioCodecContext)  # noqa: S101 - both decoders are of audio
    context.sample_rate = SAMPLE_RATE
    context.layout = _LAYOUT
    context.open()
    assert context.channels == CHANNELS  # noqa: S101
    return context

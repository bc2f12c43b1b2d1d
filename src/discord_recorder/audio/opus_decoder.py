"""Opus packets of one track to PCM, each exactly as long as its packet, as a client in the call hears it.

The decoder's state goes from packet to packet. Where packets are missing it is brought over the gap in the way that
was measured, on speech without pauses, to do the packets that follow the least harm:

- after a sender's silence frames it is kept: the sender paused, and every client's decoder goes on from there too;
- over a gap shorter than a frame it is kept as well: a clock was put right there, and nothing is missing;
- over a loss of up to 80 ms it is led by concealment. After one lost packet the next ones are 1 to 8 dB nearer to the
  truth than after a reset, and CELT's are so up to 100 ms;
- over anything longer it is reset, and one packet of silence is decoded unheard. A state that was led for 120 ms makes
  bursts of up to full scale of one in ten CELT packets; so does a reset alone, as packets are coded as differences to
  louder ones. After silence CELT fades in within 80 ms and never bursts. That is what clients do as well, whose
  decoders have heard the silence frames;
- where the packet after the gap holds a copy of the frame before it (in-band FEC; SILK and hybrid, when the sender's
  encoder expects losses), that frame is decoded instead: after one lost packet it is 5 to 20 dB nearer to the truth
  than concealment, and so are the packets after it; after a reset these are 3 to 9 dB nearer than after silence.

What is to be played in such gaps is there besides (`OpusDecoder.concealed`), for who knows that a gap is a loss:
concealment, which fades out between 80 and 100 ms, then silence; but of a loss that is no longer than that the last
frame from its copy. A clock's step is filled by fading from what comes after it to what was before it: each end then is
what the neighbour goes on with.

A first packet goes to a fresh decoder, so a stream from its beginning is decoded exactly.

There is no pre-skip to drop in mid-call, and nothing is moved: sample 0 of a packet's PCM stands at the packet's
place. What was spoken at a packet's timestamp is heard 312 samples (6.5 ms) later, in all modes of libopus' usual
encoder (measured by cross-correlation: CELT 312, SILK and hybrid 303), 120 in its low-delay mode. That is the encoder's
look-ahead. It is the same for everyone whose client uses libopus in its usual modes, so speakers stay aligned.

Measured with libopus: 20 to 60 us a packet (SILK least), 0.1 ms to make a decoder. It works without the GIL, so threads
help.

Sources: RFC 6716 (section 4.4, lost packets; section 2.1.7, FEC; section 2.1.9, discontinuous transmission), PROTOCOL
(Time).
"""

from typing import Final, Protocol

from discord_recorder.audio import libopus
from discord_recorder.audio.fades import crossfaded, faded_out
from discord_recorder.audio.opus import SILENCE, UNIT_SAMPLES, frame_samples, is_silence, packet_samples
from discord_recorder.audio.pcm import SAMPLE_BYTES, ms_to_samples

MAX_LED_SAMPLES: Final = ms_to_samples(80)
"""The longest loss over which concealment makes a better state than silence does, and is heard in full."""

MAX_CONCEALED_SAMPLES: Final = ms_to_samples(100)
"""So much of a loss is concealed at most; by then concealment has faded out."""


class OpusCodec(Protocol):
    """One decoder of one stream: `libopus.LibopusCodec`, `opus_pyav.PyavCodec`. PCM is s16le, 48 kHz, stereo."""

    def decode(self, opus: bytes) -> bytes | None:
        """A packet's PCM; None when the packet is refused."""

    def conceal(self, samples: int) -> bytes:
        """What is to be played for so many samples (a multiple of `UNIT_SAMPLES`) of which nothing came."""

    def has_copy(self, opus: bytes) -> bool:
        """Whether a packet holds a copy of the frame before it."""

    def recover(self, opus: bytes) -> bytes:
        """The lost frame before a packet, from its copy; as long as the packet's own frames. Decode the packet next."""

    def reset(self) -> None:
        """Forget all that was decoded."""


def best_codec() -> OpusCodec:
    """A new decoder of libopus, the wheel's own where there is one, else FFmpeg's."""
    library = libopus.load()
    if library is not None:
        return libopus.LibopusCodec(library)
    from discord_recorder.audio.opus_pyav import PyavCodec  # noqa: PLC0415 - loads PyAV, which others spare

    return PyavCodec()


class OpusDecoder:
    """Decodes one track, packet by packet in order of time. Not for two threads at once.

    Args:
        codec: what decodes; default is `best_codec()`.
        border_sample: session time at which what was decoded before ends. What is concealed before it was concealed
            without knowing the packets from there on, so it is here too.
    """

    def __init__(self, codec: OpusCodec | None = None, *, border_sample: int = 0) -> None:
        self.corrupt_packets = 0
        """Packets that the decoder refused; they became silence."""
        self.concealed = b""
        """What is to be played in the gap right before the last packet, if it is a loss; where it is shorter than the
        gap, silence follows."""
        self.is_step = False
        """Whether that gap is a clock's step, of which nothing was lost."""
        self._codec = codec or best_codec()
        self._border = border_sample
        self._last = b""
        self._pcm = b""
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
        gap = at_sample - self._end if self._end is not None and not is_silence(self._last) else 0
        self.concealed = b""
        self.is_step = 0 < gap < self._least_loss(opus) and not self._is_settled(at_sample - gap, at_sample)
        if gap > 0 and not self.is_step:
            self._cross(gap, opus, at_sample)
        before, self._pcm = self._pcm, self._decoded(opus, samples)
        if self.is_step:
            self.concealed = crossfaded(self._pcm[: gap * SAMPLE_BYTES], before[-gap * SAMPLE_BYTES :])
        self._last, self._end = opus, at_sample + samples
        return self._pcm

    def conceal(self, samples: int) -> bytes:
        """What is to be played when nothing comes for so long after the last packet; 100 ms of it at most."""
        if not self._last or is_silence(self._last):
            return b""
        if samples > MAX_LED_SAMPLES:
            pcm = faded_out(self._codec.conceal(MAX_CONCEALED_SAMPLES), MAX_CONCEALED_SAMPLES - MAX_LED_SAMPLES)
        else:
            pcm = self._codec.conceal(samples - samples % -UNIT_SAMPLES)
        return pcm[: samples * SAMPLE_BYTES]

    def _least_loss(self, opus: bytes) -> int:
        return min(frame_samples(self._last), frame_samples(opus))

    def _is_settled(self, start: int, at_sample: int) -> bool:
        """Whether what stands from `start` on was concealed when the packet after it was not known."""
        return start < self._border <= at_sample

    def _cross(self, gap: int, opus: bytes, at_sample: int) -> None:
        """Bring the state over a gap."""
        has_copy, frame = self._codec.has_copy(opus), frame_samples(opus)
        copied = frame if has_copy and frame <= gap and not self._is_settled(at_sample - frame, at_sample) else 0
        if gap - copied <= MAX_LED_SAMPLES:
            self.concealed = self.conceal(gap - copied) + (self._codec.recover(opus) if copied else b"")
            return
        self.concealed = self.conceal(gap)
        self._codec.reset()
        if has_copy:
            self._codec.recover(opus)
        else:
            self._codec.decode(SILENCE)

    def _decoded(self, opus: bytes, samples: int) -> bytes:
        """The packet's PCM; silence when the decoder refuses it."""
        pcm = self._codec.decode(opus)
        if pcm is None:
            self.corrupt_packets += 1
            return bytes(samples * SAMPLE_BYTES)
        return pcm

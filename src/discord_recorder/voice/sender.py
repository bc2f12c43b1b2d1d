"""Our own stream: Opus packets in, datagrams out."""

from secrets import randbits
from typing import Final

from discord_recorder.voice import rtp
from discord_recorder.voice.dave import DaveSession
from discord_recorder.voice.transport import TransportCipher

SILENCE_FRAMES: Final = 5
"""How many frames of silence begin and end a talk spurt."""


class OpusSender:
    """Numbers, encrypts and seals what we say on one connection."""

    __slots__ = ("_dave", "_sequence", "_ssrc", "_timestamp", "_transport")

    def __init__(
        self,
        ssrc: int,
        transport: TransportCipher,
        dave: DaveSession,
        *,
        sequence: int | None = None,
        timestamp: int | None = None,
    ) -> None:
        """Begin a stream, at random numbers if none are given (RFC 3550 section 5.1)."""
        self._ssrc = ssrc
        self._transport = transport
        self._dave = dave
        self._sequence = randbits(16) if sequence is None else sequence
        self._timestamp = randbits(32) if timestamp is None else timestamp

    def datagram(self, packet: bytes, samples: int = rtp.FRAME_SAMPLES) -> bytes:
        """The datagram for the next Opus packet, which lasts `samples` at 48 kHz.

        Raises:
            DaveError: it has to be encrypted and cannot be (yet); nothing was used up, so it may be tried again.
            VoiceError: as `TransportCipher.seal`.
        """
        payload = self._dave.encrypt(packet)
        header = rtp.header(sequence=self._sequence, timestamp=self._timestamp, ssrc=self._ssrc)
        self._sequence = (self._sequence + 1) % rtp.SEQUENCE_MODULUS
        self._timestamp = (self._timestamp + samples) % rtp.TIMESTAMP_MODULUS
        return self._transport.seal(header, payload)

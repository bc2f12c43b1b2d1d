"""The encryption between a client and its voice server: both rtpsize modes (PROTOCOL "Packets").

The clear head of the packet is authenticated, the rest is encrypted and followed by the tag; the last four bytes of
the datagram are the nonce, which zeros fill up.
"""

from collections.abc import Callable
from typing import Final

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from nacl.bindings import (
    crypto_aead_xchacha20poly1305_ietf_decrypt,
    crypto_aead_xchacha20poly1305_ietf_encrypt,
)
from nacl.exceptions import CryptoError

from discord_recorder.errors import ForgedPacketError, ParseError, VoiceError
from discord_recorder.voice import rtp

AES256_GCM: Final = "aead_aes256_gcm_rtpsize"
XCHACHA20_POLY1305: Final = "aead_xchacha20_poly1305_rtpsize"

MODES: Final = (AES256_GCM, XCHACHA20_POLY1305)
"""The modes that are spoken here, the best first: AES costs a sixth of the other, which every server offers."""

KEY_BYTES: Final = 32
TAG_BYTES: Final = 16
NONCE_BYTES: Final = 4
"""How much of the nonce is in the datagram."""

OVERHEAD_BYTES: Final = TAG_BYTES + NONCE_BYTES

_NONCE_PADDING: Final = {AES256_GCM: bytes(12 - NONCE_BYTES), XCHACHA20_POLY1305: bytes(24 - NONCE_BYTES)}
_NONCE_LIMIT: Final = 1 << 8 * NONCE_BYTES

_Aead = Callable[[bytes, bytes, bytes], bytes]
"""nonce, data, associated data -> data"""


class TransportCipher:
    """Opens the datagrams of one voice connection and seals ours, with the key that the server gave it."""

    __slots__ = ("_decrypt", "_encrypt", "_padding", "_sealed", "mode")

    def __init__(self, mode: str, key: bytes) -> None:
        """Take the mode and the 32 bytes of `secret_key` of a session description.

        Raises:
            ParseError: the mode is none of `MODES`, or the key has another length.
        """
        if mode not in MODES:
            raise ParseError(f"the voice server chose an encryption mode that is not spoken here: {mode!r:.60}")
        if len(key) != KEY_BYTES:
            raise ParseError(f"the voice server's key has {len(key)} bytes, not {KEY_BYTES}")
        self.mode = mode
        self._padding = _NONCE_PADDING[mode]
        self._decrypt, self._encrypt = _aes(key) if mode == AES256_GCM else _xchacha(key)
        self._sealed = 0

    def open(self, datagram: bytes) -> rtp.RtpPacket:
        """The packet in a datagram: authenticated, decrypted, extension and padding taken off.

        Raises:
            ForgedPacketError: the tag does not fit.
            ParseError: it is not an RTP packet.
        """
        clear = rtp.clear_bytes(datagram)
        if len(datagram) < clear + OVERHEAD_BYTES:
            raise ParseError("a datagram is too short for its tag and nonce")
        try:
            body = self._decrypt(
                datagram[-NONCE_BYTES:] + self._padding, datagram[clear:-NONCE_BYTES], datagram[:clear]
            )
        except (InvalidTag, CryptoError):
            raise ForgedPacketError("a datagram's authentication tag is wrong") from None
        return rtp.stripped(datagram, clear, body)

    def seal(self, header: bytes, payload: bytes) -> bytes:
        """The datagram for a header without extension and its payload; every call uses up one nonce.

        Raises:
            VoiceError: all nonces of this key are used up (2^32 packets, 2.7 years of sound).
        """
        if self._sealed >= _NONCE_LIMIT:
            raise VoiceError("the connection has used up its nonces; a new one brings a new key")
        nonce = self._sealed.to_bytes(NONCE_BYTES)
        self._sealed += 1
        return header + self._encrypt(nonce + self._padding, payload, header) + nonce


def _aes(key: bytes) -> tuple[_Aead, _Aead]:
    cipher = AESGCM(key)
    return cipher.decrypt, cipher.encrypt


def _xchacha(key: bytes) -> tuple[_Aead, _Aead]:
    def decrypt(nonce: bytes, data: bytes, associated: bytes) -> bytes:
        return crypto_aead_xchacha20poly1305_ietf_decrypt(data, associated, nonce, key)

    def encrypt(nonce: bytes, data: bytes, associated: bytes) -> bytes:
        return crypto_aead_xchacha20poly1305_ietf_encrypt(data, associated, nonce, key)

    return decrypt, encrypt

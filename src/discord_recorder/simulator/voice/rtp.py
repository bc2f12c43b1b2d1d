"""RTP and the two transport modes as the simulator does them, on purpose apart from `discord_recorder.voice`.

A mistake that both sides of a test share is invisible; so nothing here is used by the recorder, nor the other way.
Sources: RFC 3550 section 5.1, RFC 8285 section 4.2, PROTOCOL "Packets".
"""

import random
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final, Protocol

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from nacl.bindings import (
    crypto_aead_xchacha20poly1305_ietf_decrypt,
    crypto_aead_xchacha20poly1305_ietf_encrypt,
)
from nacl.exceptions import CryptoError

OPUS: Final = 120
"""Payload type of Opus at Discord."""

KEY_BYTES: Final = 32
HEADER_BYTES: Final = 12
TAG_BYTES: Final = 16
NONCE_BYTES: Final = 4
SILENCE: Final = b"\xf8\xff\xfe"
"""20 ms of Opus silence; DAVE never encrypts it."""

_VERSION: Final = 0x80
_PADDING: Final = 0x20
_EXTENSION: Final = 0x10
_ONE_BYTE_HEADERS: Final = 0xBEDE
_LEAST: Final = HEADER_BYTES + TAG_BYTES + NONCE_BYTES
_FIRST_RTCP: Final = 200
_LAST_RTCP: Final = 207


class Aead(Protocol):
    """The part of a cipher that both modes have."""

    def encrypt(self, nonce: bytes, data: bytes, associated_data: bytes) -> bytes:
        """Ciphertext and tag."""

    def decrypt(self, nonce: bytes, data: bytes, associated_data: bytes) -> bytes:
        """Plaintext; raises one of `_NOT_AUTHENTIC`."""


class _XChaCha20Poly1305:
    def __init__(self, key: bytes) -> None:
        self._key = key

    def encrypt(self, nonce: bytes, data: bytes, associated_data: bytes) -> bytes:
        return bytes(crypto_aead_xchacha20poly1305_ietf_encrypt(data, associated_data, nonce, self._key))

    def decrypt(self, nonce: bytes, data: bytes, associated_data: bytes) -> bytes:
        return bytes(crypto_aead_xchacha20poly1305_ietf_decrypt(data, associated_data, nonce, self._key))


_NOT_AUTHENTIC: Final = (InvalidTag, CryptoError, ValueError)

MODES: Final[dict[str, tuple[Callable[[bytes], Aead], int]]] = {
    "aead_aes256_gcm_rtpsize": (AESGCM, 12),
    "aead_xchacha20_poly1305_rtpsize": (_XChaCha20Poly1305, 24),
}
"""Cipher and nonce size in bytes of each mode that is offered, the preferred one first."""


def is_rtcp(datagram: bytes) -> bool:
    """RTCP shares the socket (RFC 5761)."""
    return len(datagram) > 1 and _FIRST_RTCP <= datagram[1] <= _LAST_RTCP


def sequence_of(datagram: bytes) -> int:
    """The sequence number, which is never encrypted."""
    return datagram[2] << 8 | datagram[3]


def header(sequence: int, timestamp: int, ssrc: int, payload_type: int = OPUS) -> bytes:
    """Twelve bytes without extension and padding; numbers are taken modulo their size."""
    return (
        bytes((_VERSION, payload_type))
        + (sequence & 0xFFFF).to_bytes(2)
        + (timestamp & 0xFFFF_FFFF).to_bytes(4)
        + ssrc.to_bytes(4)
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Shape:
    """What the server adds to packets when it forwards them, as Discord's does.

    `extension` is the body of a header extension (its length a multiple of 4), empty for none. A share (0 to 1) of the
    packets gets `padding_bytes` of padding.
    """

    extension: bytes = b"\x10\xff\x00\x00"  # RFC 6464 audio level, id 1
    extension_share: float = 1.0
    padding_bytes: int = 7
    padding_share: float = 0.1
    csrcs: int = 0

    def apply(self, clear: bytes, payload: bytes, lot: random.Random) -> tuple[bytes, bytes]:
        """Clear part and plaintext of the packet that goes on; `clear` is the 12 bytes that came."""
        first = _VERSION | self.csrcs
        head = clear[1:HEADER_BYTES] + bytes(4 * self.csrcs)
        if self.extension and (self.extension_share >= 1 or lot.random() < self.extension_share):
            first |= _EXTENSION
            head += _ONE_BYTE_HEADERS.to_bytes(2) + (len(self.extension) // 4).to_bytes(2)
            payload = self.extension + payload
        if self.padding_bytes and self.padding_share and lot.random() < self.padding_share:
            first |= _PADDING
            payload += bytes(self.padding_bytes - 1) + bytes((self.padding_bytes,))
        return bytes((first,)) + head, payload


class TransportKey:
    """One client's key in one mode, with the counter for what is sealed under it."""

    __slots__ = ("_aead", "_counter", "_padding", "key", "mode")

    def __init__(self, mode: str, key: bytes) -> None:
        cipher, nonce_bytes = MODES[mode]
        self.mode = mode
        self.key = key
        self._aead = cipher(key)
        self._padding = bytes(nonce_bytes - NONCE_BYTES)
        self._counter = 0

    def seal(self, clear: bytes, plain: bytes) -> bytes:
        """A datagram; `clear` is authenticated and not encrypted."""
        self._counter = self._counter + 1 & 0xFFFF_FFFF
        nonce = self._counter.to_bytes(NONCE_BYTES)
        return clear + self._aead.encrypt(nonce + self._padding, plain, clear) + nonce

    def open(self, datagram: bytes) -> bytes | None:
        """The payload without extension and padding; None when the datagram is not a packet under this key."""
        if len(datagram) < _LEAST or datagram[0] >> 6 != _VERSION >> 6:
            return None
        flags = datagram[0]
        clear_bytes = HEADER_BYTES + 4 * (flags & 0x0F)
        extension_bytes = 0
        if flags & _EXTENSION:
            extension_bytes = 4 * int.from_bytes(datagram[clear_bytes + 2 : clear_bytes + 4])
            clear_bytes += 4
        nonce = datagram[-NONCE_BYTES:] + self._padding
        try:
            plain = self._aead.decrypt(nonce, datagram[clear_bytes:-NONCE_BYTES], datagram[:clear_bytes])
        except _NOT_AUTHENTIC:
            return None
        padding_bytes = plain[-1] if flags & _PADDING and plain else 0
        if extension_bytes + padding_bytes > len(plain):
            return None
        return plain[extension_bytes : len(plain) - padding_bytes]

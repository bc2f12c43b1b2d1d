"""Datagrams as Discord's voice servers make them, built apart from `discord_recorder`.

AES-GCM goes through the block cipher interface and XChaCha20 through a HChaCha20 written out here, so that a mistake
in how the recorder calls its libraries cannot be made twice.
"""

import struct

from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes
from cryptography.hazmat.primitives.ciphers.aead import ChaCha20Poly1305

AES = "aead_aes256_gcm_rtpsize"
XCHACHA = "aead_xchacha20_poly1305_rtpsize"
KEY = bytes(range(32))
SILENCE = bytes.fromhex("f8fffe")


def hchacha20(key: bytes, nonce: bytes) -> bytes:
    """draft-irtf-cfrg-xchacha-03 section 2.2."""
    state = list(struct.unpack("<16I", b"expand 32-byte k" + key + nonce))

    def quarter(a: int, b: int, c: int, d: int) -> None:
        for x, y, z, turn in ((a, b, d, 16), (c, d, b, 12), (a, b, d, 8), (c, d, b, 7)):
            state[x] = (state[x] + state[y]) & 0xFFFFFFFF
            mixed = state[z] ^ state[x]
            state[z] = (mixed << turn | mixed >> (32 - turn)) & 0xFFFFFFFF

    for _ in range(10):
        for column in range(4):
            quarter(column, 4 + column, 8 + column, 12 + column)
        for diagonal in range(4):
            quarter(diagonal, 4 + (diagonal + 1) % 4, 8 + (diagonal + 2) % 4, 12 + (diagonal + 3) % 4)
    return struct.pack("<8I", *state[:4], *state[12:])


def sealed(mode: str, key: bytes, clear: bytes, body: bytes, nonce: bytes) -> bytes:
    """An rtpsize packet of a clear head, a body to encrypt, and four bytes of nonce."""
    if mode == AES:
        encryptor = Cipher(algorithms.AES256(key), modes.GCM(nonce + bytes(8))).encryptor()
        encryptor.authenticate_additional_data(clear)
        data = encryptor.update(body) + encryptor.finalize() + encryptor.tag
    else:
        subkey = hchacha20(key, nonce + bytes(12))
        data = ChaCha20Poly1305(subkey).encrypt(bytes(12), body, clear)
    return clear + data + nonce


def rtp_head(
    *,
    sequence: int = 1,
    timestamp: int = 960,
    ssrc: int = 1111,
    csrcs: tuple[int, ...] = (),
    extension_words: int | None = None,
    padded: bool = False,
    payload_type: int = 120,
    marker: bool = False,
) -> bytes:
    """The clear head: header, CSRCs, the extension's preamble."""
    first = 0x80 | 0x20 * padded | 0x10 * (extension_words is not None) | len(csrcs)
    head = struct.pack(">BBHII", first, payload_type | 0x80 * marker, sequence & 0xFFFF, timestamp & 0xFFFFFFFF, ssrc)
    head += b"".join(struct.pack(">I", csrc) for csrc in csrcs)
    return head if extension_words is None else head + struct.pack(">HH", 0xBEDE, extension_words)


def datagram(
    payload: bytes,
    *,
    mode: str = AES,
    key: bytes = KEY,
    nonce: int = 7,
    sequence: int = 1,
    timestamp: int = 960,
    ssrc: int = 1111,
    csrcs: tuple[int, ...] = (),
    extension: bytes | None = None,
    padding: int = 0,
    payload_type: int = 120,
    marker: bool = False,
) -> bytes:
    """One packet of sound on the wire."""
    head = rtp_head(
        sequence=sequence,
        timestamp=timestamp,
        ssrc=ssrc,
        csrcs=csrcs,
        extension_words=None if extension is None else len(extension) // 4,
        padded=bool(padding),
        payload_type=payload_type,
        marker=marker,
    )
    body = (extension or b"") + payload + (bytes(padding - 1) + bytes((padding,)) if padding else b"")
    return sealed(mode, key, head, body, nonce.to_bytes(4))

"""What can be seen of an encrypted frame without its key (DAVE whitepaper, "Payload Format").

The trailer, last first: marker, size of the trailer, ranges that are not encrypted (none in Opus), nonce, tag.
"""

from typing import Final

MARKER: Final = b"\xfa\xfa"
"""What every encrypted frame ends with."""

_TAG_BYTES: Final = 8
_MIN_TRAILER_BYTES: Final = _TAG_BYTES + 1 + 1 + len(MARKER)  # nonce, size of the trailer


def is_encrypted(frame: bytes) -> bool:
    """True when a frame has the trailer of encrypted ones; one plain frame in a million looks like that by chance."""
    return frame[-2:] == MARKER and _MIN_TRAILER_BYTES <= (frame[-3:-2] or b"\0")[0] <= len(frame)


def nonce_of(frame: bytes) -> int:
    """The number of an encrypted frame among those that its sender encrypted in this epoch; the first one has 1.

    It is read from the trailer (LEB128, after the tag), before anything is authenticated.
    """
    nonce = shift = 0
    for byte in frame[_TAG_BYTES - frame[-3] : -3]:
        nonce |= (byte & 0x7F) << shift
        shift += 7
        if byte < 0x80:  # noqa: PLR2004 - no byte follows
            break
    return nonce

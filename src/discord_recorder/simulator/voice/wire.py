"""TLS presentation language as MLS uses it: big-endian integers and vectors with a length of variable size.

Source: RFC 9420, section 2.1.
"""

from typing import Final

from discord_recorder.errors import MlsError

_MAX_SIX_BITS: Final = 0x3F
_MAX_FOURTEEN_BITS: Final = 0x3FFF
_MAX_THIRTY_BITS: Final = 0x3FFF_FFFF
_FOUR_BYTES: Final = 2
_INVALID: Final = 3


def vector(content: bytes) -> bytes:
    """`content` with its length in front, as `opaque content<V>`.

    Raises:
        MlsError: it is longer than 2**30 - 1 bytes.
    """
    size = len(content)
    if size <= _MAX_SIX_BITS:
        return bytes((size,)) + content
    if size <= _MAX_FOURTEEN_BITS:
        return (0x4000 | size).to_bytes(2) + content
    if size <= _MAX_THIRTY_BITS:
        return (0x8000_0000 | size).to_bytes(4) + content
    raise MlsError("a vector is longer than its length can tell")


class Reader:
    """Takes fields from the front of bytes."""

    __slots__ = ("_at", "_data")

    def __init__(self, data: bytes) -> None:
        self._data = data
        self._at = 0

    @property
    def at(self) -> int:
        """How many bytes were taken."""
        return self._at

    @property
    def left(self) -> int:
        """How many bytes are left."""
        return len(self._data) - self._at

    def take(self, size: int) -> bytes:
        """The next `size` bytes.

        Raises:
            MlsError: there are fewer.
        """
        start, end = self._at, self._at + size
        if end > len(self._data):
            raise MlsError(f"the message ends {end - len(self._data)} bytes too early")
        self._at = end
        return self._data[start:end]

    def uint(self, size: int) -> int:
        """The next `size` bytes as an unsigned integer."""
        return int.from_bytes(self.take(size))

    def vector(self) -> bytes:
        """The content of the next `<V>`.

        Raises:
            MlsError: the length is not encoded in the shortest way, or longer than what is left.
        """
        first = self.uint(1)
        kind, size = first >> 6, first & _MAX_SIX_BITS
        if kind == _INVALID:
            raise MlsError("a vector's length begins with the bits 11")
        if kind:
            more = 3 if kind == _FOUR_BYTES else 1
            size = size << 8 * more | self.uint(more)
            if size <= (_MAX_FOURTEEN_BITS if kind == _FOUR_BYTES else _MAX_SIX_BITS):
                raise MlsError("a vector's length is longer than it has to be")
        return self.take(size)

    def since(self, start: int) -> bytes:
        """What was taken from byte `start` on."""
        return self._data[start : self._at]

    def rest(self) -> bytes:
        """All that is left."""
        return self.take(self.left)

    def end(self) -> None:
        """Make sure that nothing is left.

        Raises:
            MlsError: something is.
        """
        if self.left:
            raise MlsError(f"{self.left} bytes follow the message")

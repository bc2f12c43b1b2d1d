"""IP discovery: how a client learns from its voice server what address its datagrams come from.

A request and an answer have 74 bytes: type (1 or 2), length of the rest (70), SSRC, address as text that ends with a
zero (64 bytes), port. Source: Discord's voice documentation, "IP Discovery"; PROTOCOL "Connecting" 3.
"""

from dataclasses import dataclass
from ipaddress import ip_address
from struct import Struct
from typing import Final

from discord_recorder.errors import ParseError

_MESSAGE: Final = Struct(">HHI64sH")
_REQUEST: Final = 1
_ANSWER: Final = 2
_LENGTH: Final = 70
_ANSWER_HEAD: Final = bytes((0, _ANSWER, 0, _LENGTH))

MESSAGE_BYTES: Final = _MESSAGE.size


@dataclass(frozen=True, slots=True, kw_only=True)
class DiscoveryAnswer:
    """Where the voice server sees us."""

    ssrc: int
    address: str
    port: int


def request(ssrc: int) -> bytes:
    """The datagram that asks; send it again when no answer comes, either may be lost."""
    return _MESSAGE.pack(_REQUEST, _LENGTH, ssrc, b"", 0)


def is_answer(datagram: bytes) -> bool:
    """True for a datagram that claims to be an answer; RTP never begins like this."""
    return datagram[:4] == _ANSWER_HEAD


def parse_answer(datagram: bytes) -> DiscoveryAnswer:
    """Read an answer.

    Raises:
        ParseError: it is none, or holds no usable address and port.
    """
    if len(datagram) != MESSAGE_BYTES or not is_answer(datagram):
        raise ParseError("a datagram is no answer to IP discovery")
    _, _, ssrc, text, port = _MESSAGE.unpack(datagram)
    try:
        address = str(ip_address(text.partition(b"\0")[0].decode("ascii")))
    except ValueError:
        raise ParseError("an answer to IP discovery holds no address") from None
    if not port:
        raise ParseError("an answer to IP discovery holds no port")
    return DiscoveryAnswer(ssrc=ssrc, address=address, port=port)

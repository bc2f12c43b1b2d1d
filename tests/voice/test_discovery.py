"""IP discovery."""

import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from discord_recorder.errors import ParseError
from discord_recorder.voice import discovery


def answer(address: bytes = b"203.0.113.7", port: int = 50_000, ssrc: int = 42) -> bytes:
    return struct.pack(">HHI", 2, 70, ssrc) + address.ljust(64, b"\0") + struct.pack(">H", port)


def test_a_request_has_74_bytes() -> None:
    assert discovery.request(0x01020304) == bytes.fromhex("0001004601020304") + bytes(66)


@pytest.mark.parametrize("address", ["203.0.113.7", "2001:db8::1"])
def test_an_answer_tells_where_we_are(address: str) -> None:
    found = discovery.parse_answer(answer(address.encode()))
    assert found == discovery.DiscoveryAnswer(ssrc=42, address=address, port=50_000)


@pytest.mark.parametrize(
    "datagram",
    [
        b"",
        answer()[:-1],
        answer() + b"\0",
        discovery.request(42),
        answer(b""),
        answer(b"256.1.1.1"),
        answer(b"example.org"),
        answer(b"\xff" * 64),
        answer(port=0),
    ],
)
def test_what_is_no_answer_is_refused(datagram: bytes) -> None:
    with pytest.raises(ParseError):
        discovery.parse_answer(datagram)


@given(st.binary(max_size=100) | st.binary(min_size=66, max_size=66).map(lambda rest: b"\0\2\0\x46\0\0\0\1" + rest))
def test_only_parse_errors_come_out_of_any_bytes(datagram: bytes) -> None:
    try:
        found = discovery.parse_answer(datagram)
    except ParseError:
        return
    assert 0 < found.port < 1 << 16

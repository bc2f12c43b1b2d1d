"""Header, stripping and wrap-around."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from discord_recorder.errors import ParseError
from discord_recorder.voice import rtp
from tests.voice.packets import rtp_head


def test_a_header_is_what_rfc_3550_says() -> None:
    assert rtp.header(sequence=0x1234, timestamp=0x56789ABC, ssrc=0xDEF01234) == bytes.fromhex(
        "8078123456789abcdef01234"
    )


def test_sequence_and_timestamp_of_a_header_wrap() -> None:
    assert rtp.header(sequence=0x10001, timestamp=0x1_0000_0002, ssrc=1) == rtp.header(sequence=1, timestamp=2, ssrc=1)


@pytest.mark.parametrize(
    ("head", "clear"),
    [
        (rtp_head(), 12),
        (rtp_head(csrcs=(1, 2, 3)), 24),
        (rtp_head(extension_words=5), 16),
        (rtp_head(csrcs=tuple(range(15)), extension_words=0), 76),
    ],
)
def test_csrcs_and_the_extension_preamble_are_clear(head: bytes, clear: int) -> None:
    assert rtp.clear_bytes(head) == clear == len(head)
    with pytest.raises(ParseError):
        rtp.clear_bytes(head[:-1])


@pytest.mark.parametrize("version", [0, 1, 3])
def test_other_versions_are_refused(version: int) -> None:
    with pytest.raises(ParseError):
        rtp.clear_bytes(bytes((version << 6,)) + bytes(40))


def test_extension_then_padding_are_stripped() -> None:
    head = rtp_head(sequence=3, timestamp=4, ssrc=5, extension_words=2, padded=True, marker=True)
    body = b"EXTENDED" + b"sound" + bytes((0, 0, 3))
    assert rtp.stripped(head, len(head), body) == rtp.RtpPacket(120, 3, 4, 5, b"sound")


@pytest.mark.parametrize(("padding", "payload"), [(1, b"abcd"), (4, b"a"), (5, b"")])
def test_the_last_byte_says_how_much_padding_there_is(padding: int, payload: bytes) -> None:
    head = rtp_head(padded=True)
    assert rtp.stripped(head, 12, b"abcd" + bytes((padding,))).payload == payload


@pytest.mark.parametrize(
    ("head", "body"),
    [
        (rtp_head(padded=True), b""),
        (rtp_head(padded=True), b"abc\0"),
        (rtp_head(padded=True), b"abc\5"),
        (rtp_head(extension_words=2), b"7 bytes"),
        (rtp_head(extension_words=0xFFFF), b"little"),
        (rtp_head(extension_words=1, padded=True), b"\1\1\1\1"),
    ],
)
def test_lengths_that_do_not_fit_are_refused(head: bytes, body: bytes) -> None:
    with pytest.raises(ParseError):
        rtp.stripped(head, len(head), body)


@pytest.mark.parametrize("kind", [200, 201, 204, 207])
def test_rtcp_is_recognised(kind: int) -> None:
    assert rtp.is_rtcp(bytes((0x81, kind)) + bytes(20))


@pytest.mark.parametrize(
    "datagram", [b"", b"\x81", bytes((0x81, 199)), bytes((0x81, 208)), bytes((0x01, 200)), rtp_head()]
)
def test_other_datagrams_are_not_rtcp(datagram: bytes) -> None:
    assert not rtp.is_rtcp(datagram)


@given(st.integers(0, 0xFFFF), st.integers(-0x8000, 0x7FFF))
def test_sequence_distance_undoes_a_step(reference: int, step: int) -> None:
    assert rtp.sequence_distance((reference + step) % 0x10000, reference) == step


@given(st.integers(0, 0xFFFFFFFF), st.integers(-0x80000000, 0x7FFFFFFF))
def test_timestamp_distance_undoes_a_step(reference: int, step: int) -> None:
    assert rtp.timestamp_distance((reference + step) % (1 << 32), reference) == step


@given(st.binary(max_size=100), st.binary(max_size=100))
def test_only_parse_errors_come_out_of_any_bytes(datagram: bytes, body: bytes) -> None:
    rtp.is_rtcp(datagram)
    rtp.is_rtp(datagram)
    try:
        clear = rtp.clear_bytes(datagram)
        packet = rtp.stripped(datagram, clear, body)
    except ParseError:
        return
    assert len(packet.payload) <= len(body)
    assert 12 <= clear <= len(datagram)

"""Transport encryption against packets that were not made by it."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from discord_recorder.errors import ForgedPacketError, ParseError
from discord_recorder.voice import rtp
from discord_recorder.voice.transport import MODES, TransportCipher
from tests.voice.packets import AES, KEY, XCHACHA, datagram, hchacha20, rtp_head, sealed

GOLDEN = {
    AES: "b1780102030405060708090a0f101112bede000119d9b7e2891989bc32c2b8da30d24f7d9cdf1bdd"
    "e60e12fd234edd803c03aac8addf600b0c0d0e",
    XCHACHA: "b1780102030405060708090a0f101112bede00014517c00a8ce9f96980c8725610902cf9be2951ae"
    "e402424b485b226beab458bd464c730b0c0d0e",
}
"""Sequence 258, timestamp 0x03040506, SSRC 0x0708090a, one CSRC, an extension of one word, "golden sound", 3 bytes of
padding, nonce 0x0b0c0d0e; made with OpenSSL's block cipher interface and the draft's HChaCha20."""


@pytest.mark.parametrize("mode", MODES)
def test_a_golden_packet_opens(mode: str) -> None:
    packet = TransportCipher(mode, KEY).open(bytes.fromhex(GOLDEN[mode]))
    assert packet == rtp.RtpPacket(120, 258, 0x03040506, 0x0708090A, b"golden sound")


@pytest.mark.parametrize("mode", MODES)
def test_the_golden_packet_is_what_the_tests_build(mode: str) -> None:
    built = datagram(
        b"golden sound",
        mode=mode,
        nonce=0x0B0C0D0E,
        sequence=258,
        timestamp=0x03040506,
        ssrc=0x0708090A,
        csrcs=(0x0F101112,),
        extension=b"\x10\x20\x30\x40",
        padding=3,
    )
    assert built.hex() == GOLDEN[mode]


def test_hchacha20_of_the_tests_is_that_of_the_draft() -> None:
    nonce = bytes.fromhex("000000090000004a0000000031415927")
    derived = "82413b4227b27bfed30e42508a877d73a0f9e4d58a74a853c12ec41326d3ecdc"
    assert hchacha20(KEY, nonce).hex() == derived


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("csrcs", [(), (1, 2)])
@pytest.mark.parametrize("extension", [None, b"", bytes(range(12))])
@pytest.mark.parametrize("padding", [0, 1, 200])
def test_all_forms_of_packets_open(mode: str, csrcs: tuple[int, ...], extension: bytes | None, padding: int) -> None:
    wire = datagram(b"sound", mode=mode, csrcs=csrcs, extension=extension, padding=padding, marker=True)
    assert TransportCipher(mode, KEY).open(wire) == rtp.RtpPacket(120, 1, 960, 1111, b"sound")


@pytest.mark.parametrize("mode", MODES)
def test_what_is_sealed_has_the_wire_form(mode: str) -> None:
    cipher = TransportCipher(mode, KEY)
    head = rtp_head()
    assert cipher.seal(head, b"first") == sealed(mode, KEY, head, b"first", bytes(4))
    assert cipher.seal(head, b"second") == sealed(mode, KEY, head, b"second", bytes((0, 0, 0, 1)))


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("at", [1, 3, 13, 20, -5, -1])
def test_a_flipped_bit_is_a_forgery(mode: str, at: int) -> None:
    wire = bytearray(datagram(b"sound that is long enough", mode=mode, extension=bytes(4)))
    wire[at] ^= 1
    with pytest.raises(ForgedPacketError):
        TransportCipher(mode, KEY).open(bytes(wire))


@pytest.mark.parametrize("mode", MODES)
def test_another_key_is_a_forgery(mode: str) -> None:
    with pytest.raises(ForgedPacketError):
        TransportCipher(mode, bytes(32)).open(datagram(b"sound", mode=mode))


@pytest.mark.parametrize("mode", MODES)
def test_a_datagram_without_space_for_a_tag_is_no_packet(mode: str) -> None:
    cipher = TransportCipher(mode, KEY)
    assert cipher.open(sealed(mode, KEY, rtp_head(), b"", bytes(4))).payload == b""
    with pytest.raises(ParseError):
        cipher.open(sealed(mode, KEY, rtp_head(), b"", bytes(4))[:-1])


def test_an_authentic_packet_with_impossible_lengths_is_no_packet() -> None:
    wire = sealed(AES, KEY, rtp_head(extension_words=100), b"short", bytes(4))
    with pytest.raises(ParseError):
        TransportCipher(AES, KEY).open(wire)


@pytest.mark.parametrize(
    ("mode", "key"), [("plain", KEY), ("", KEY), (AES, b""), (XCHACHA, bytes(31)), (AES, bytes(16))]
)
def test_an_unusable_session_description_is_refused(mode: str, key: bytes) -> None:
    with pytest.raises(ParseError):
        TransportCipher(mode, key)


@given(st.sampled_from(MODES), st.binary(max_size=200))
def test_only_parse_errors_come_out_of_any_bytes(mode: str, wire: bytes) -> None:
    with pytest.raises(ParseError):
        TransportCipher(mode, KEY).open(wire)


@given(
    st.sampled_from(MODES),
    st.binary(min_size=12, max_size=80),
    st.binary(max_size=80),
    st.binary(min_size=4, max_size=4),
)
def test_only_parse_errors_come_out_of_authentic_garbage(mode: str, head: bytes, body: bytes, nonce: bytes) -> None:
    clear = 12 + 4 * (head[0] & 15) + 4 * (head[0] >> 4 & 1)
    head = bytes((0x80 | head[0] & 0x3F,)) + head[1:].ljust(clear - 1, b"\0")[: clear - 1]
    try:
        packet = TransportCipher(mode, KEY).open(sealed(mode, KEY, head, body, nonce))
    except ParseError as error:
        assert not isinstance(error, ForgedPacketError)  # noqa: PT017 - an authentic one may pass, too
    else:
        assert packet.payload in body

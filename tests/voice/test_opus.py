"""The outer form of Opus packets (RFC 6716 section 3.4, demands R1 to R7)."""

import av
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from discord_recorder.voice.opus import SILENCE, is_packet

CELT_20 = 31 << 3
CELT_2_5 = 28 << 3
SILK_60 = 3 << 3


@pytest.mark.parametrize(
    "packet",
    [
        SILENCE,
        bytes((CELT_20,)),
        bytes((CELT_20,)) + bytes(1275),
        bytes((CELT_20 | 1,)) + bytes(6),
        bytes((CELT_20 | 2, 3)) + bytes(4),
        bytes((CELT_20 | 2, 252, 1)) + bytes(256),
        bytes((CELT_20 | 3, 6)) + bytes(12),
        bytes((CELT_2_5 | 3, 48)) + bytes(48),
        bytes((SILK_60 | 3, 2)),
        bytes((CELT_20 | 3, 0x80 | 2, 3)) + bytes(3 + 5),
        bytes((CELT_20 | 3, 0x40 | 1, 4)) + bytes(9),
        bytes((CELT_20 | 3, 0x40 | 1, 255, 1)) + bytes(254 + 1 + 7),
    ],
)
def test_packets_of_all_forms_are_recognised(packet: bytes) -> None:
    assert is_packet(packet)


@pytest.mark.parametrize(
    "data",
    [
        b"",
        bytes((CELT_20,)) + bytes(1276),
        bytes((CELT_20 | 1,)) + bytes(5),
        bytes((CELT_20 | 1,)) + bytes(2 * 1276),
        bytes((CELT_20 | 2,)),
        bytes((CELT_20 | 2, 5)) + bytes(4),
        bytes((CELT_20 | 2, 252)),
        bytes((CELT_20 | 2, 0)) + bytes(1276),
        bytes((CELT_20 | 3,)),
        bytes((CELT_20 | 3, 0)),
        bytes((CELT_20 | 3, 7)) + bytes(7),
        bytes((SILK_60 | 3, 3)) + bytes(3),
        bytes((CELT_20 | 3, 2)) + bytes(3),
        bytes((CELT_20 | 3, 0x80 | 2)),
        bytes((CELT_20 | 3, 0x80 | 2, 9)) + bytes(8),
        bytes((CELT_20 | 3, 0x40 | 1)),
        bytes((CELT_20 | 3, 0x40 | 1, 255)),
        bytes((CELT_20 | 3, 0x40 | 1, 9)) + bytes(8),
    ],
)
def test_what_breaks_a_demand_is_none(data: bytes) -> None:
    assert not is_packet(data)


@given(st.binary(max_size=2000))
def test_any_bytes_get_an_answer(data: bytes) -> None:
    assert is_packet(data) in (True, False)


def test_what_an_encoder_makes_is_recognised() -> None:
    encoder = av.CodecContext.create("libopus", "w")
    assert isinstance(encoder, av.AudioCodecContext)
    encoder.sample_rate, encoder.layout, encoder.format = 48_000, "stereo", "s16"
    noise = np.random.default_rng(1).integers(-9000, 9000, (1, 2 * 48_000), dtype=np.int16)
    frame = av.AudioFrame.from_ndarray(noise, format="s16", layout="stereo")
    frame.sample_rate = 48_000
    resized = av.AudioFifo()
    resized.write(frame)
    packets = [bytes(packet) for part in resized.read_many(960) for packet in encoder.encode(part)]
    assert len(packets) > 40
    assert all(map(is_packet, packets))

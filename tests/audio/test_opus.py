import pytest
from hypothesis import given
from hypothesis import strategies as st

from discord_recorder.audio.opus import (
    MAX_PACKET_SAMPLES,
    SILENCE,
    frame_count,
    frame_samples,
    is_missing,
    is_opus,
    is_silence,
    lost_frame,
    missing_packet,
    packet_samples,
    silence,
)
from discord_recorder.errors import OpusError
from tests.audio.opus_signals import decoded_at_once, encoded, opus_mode, reference
from tests.audio.signals import speech_like, to_pcm

SILK_20, HYBRID_10, CELT_2_5, CELT_20 = (number << 3 for number in (9, 14, 28, 31))


class TestDuration:
    @pytest.mark.parametrize(
        ("configuration", "samples"),
        [(0, 480), (1, 960), (2, 1920), (3, 2880), (11, 2880), (12, 480), (15, 960), (16, 120), (19, 960), (30, 480)],
    )
    def test_of_each_frame_size(self, configuration: int, samples: int) -> None:
        assert packet_samples(bytes((configuration << 3, 1, 2, 3))) == samples

    @pytest.mark.parametrize(
        ("packet", "frames", "samples"),
        [
            (bytes((SILK_20,)), 1, 960),  # a frame of no bytes: lost, or not transmitted
            (bytes((CELT_20 | 1, 7, 7)), 2, 1920),
            (bytes((CELT_20 | 2, 1, 7, 8, 9)), 2, 1920),
            (bytes((CELT_20 | 2, 252, 0)) + bytes(252), 2, 1920),
            (bytes((HYBRID_10 | 3, 12)) + bytes(24), 12, 5760),
            (bytes((CELT_2_5 | 3, 48)) + bytes(48), 48, 5760),
            (bytes((CELT_20 | 3, 0x82, 3)) + bytes(5), 2, 1920),  # VBR
            (bytes((CELT_20 | 3, 0x41, 2, 7, 0, 0)), 1, 960),  # padded
            (bytes((CELT_20 | 3, 0x41, 255, 1)) + bytes(255 + 9), 1, 960),
        ],
    )
    def test_of_several_frames(self, packet: bytes, frames: int, samples: int) -> None:
        assert frame_count(packet) == frames
        assert packet_samples(packet) == samples
        assert is_opus(packet)

    @pytest.mark.parametrize(
        "packet",
        [
            b"",
            bytes((CELT_20,)) + bytes(1276),
            bytes((CELT_20 | 1, 7, 7, 7)),
            bytes((CELT_20 | 2,)),
            bytes((CELT_20 | 2, 252)),
            bytes((CELT_20 | 2, 2, 7)),
            bytes((CELT_20 | 2, 0)) + bytes(1276),
            bytes((CELT_20 | 3,)),
            bytes((CELT_20 | 3, 0)),
            bytes((CELT_20 | 3, 7)) + bytes(14),
            bytes((CELT_20 | 3, 2)) + bytes(3),
            bytes((CELT_20 | 3, 0x82)),
            bytes((CELT_20 | 3, 0x41, 9, 7)),
            bytes((CELT_20 | 3, 0x41)),
            bytes((CELT_20 | 3, 0x41, 255)),
            bytes((CELT_20 | 3, 0x41, 255, 255)) + bytes(253),
        ],
        ids=bytes.hex,
    )
    def test_what_is_no_packet(self, packet: bytes) -> None:
        assert not is_opus(packet)
        with pytest.raises(OpusError):
            packet_samples(packet)

    @given(st.binary(max_size=300))
    def test_only_opus_error_escapes(self, data: bytes) -> None:
        if is_opus(data):
            assert packet_samples(data) % 120 == 0
            assert 120 <= packet_samples(data) <= MAX_PACKET_SAMPLES
        else:
            with pytest.raises(OpusError):
                packet_samples(data)

    @given(st.binary(max_size=120))
    def test_valid_is_what_libopus_takes(self, data: bytes) -> None:
        """Whatever passes is decoded to just that length, and whatever does not is refused."""
        heard = decoded_at_once([data]) if data else None
        assert (len(heard) if heard is not None else None) == (packet_samples(data) if is_opus(data) else None)

    @pytest.mark.parametrize("mode", ["silk", "hybrid", "celt"])
    @pytest.mark.parametrize("frame_ms", [10, 20])
    def test_of_an_encoders_packets(self, mode: str, frame_ms: int) -> None:
        packets = encoded(to_pcm(speech_like(48_000)), mode=mode, frame_ms=frame_ms)
        assert {packet_samples(packet) for packet in packets} == {frame_ms * 48}
        assert opus_mode(packets[-5]) == mode


class TestSilence:
    @given(st.integers(0, 200))
    def test_lasts_as_long_as_asked(self, units: int) -> None:
        packets = silence(units * 120)
        assert sum(map(packet_samples, packets)) == units * 120

    def test_is_silent(self) -> None:
        for packet in {*silence(5_760 + 960 + 480 + 240 + 120), SILENCE}:
            heard = decoded_at_once([packet])
            assert heard is not None
            assert not heard.any()

    def test_of_a_length_that_no_packets_have(self) -> None:
        for samples in (-120, 1, 119):
            with pytest.raises(OpusError):
                silence(samples)

    def test_is_known(self) -> None:
        assert is_silence(bytes.fromhex("f8fffe"))
        assert not is_silence(bytes.fromhex("fcfffe"))

    def test_lost_frame_is_a_packet(self) -> None:
        packet = bytes((CELT_20 | 4 | 3, 2, 0, 0))
        assert lost_frame(packet) == (bytes((CELT_20 | 4,)), 960)
        assert packet_samples(lost_frame(packet)[0]) == 960


class TestMissing:
    @given(st.integers(0, 255), st.integers(1, 48))
    def test_lasts_as_long_as_asked(self, toc: int, units: int) -> None:
        marker = missing_packet(bytes((toc,)), units * 120)
        assert packet_samples(marker) == units * 120
        assert is_missing(marker)
        assert not is_silence(marker)

    @given(st.integers(0, 31), st.integers(1, 12))
    def test_is_like_its_neighbour(self, configuration: int, tens: int) -> None:
        like = bytes((configuration << 3,))
        marker = missing_packet(like, tens * 480)
        assert opus_mode(marker) == opus_mode(like)
        if not tens * 480 % frame_samples(like):
            assert marker[0] == like[0] | 3
            assert marker[1] == frame_count(marker) == tens * 480 // frame_samples(like)

    @pytest.mark.parametrize("mode", ["silk", "hybrid", "celt"])
    @pytest.mark.parametrize("samples", [120, 360, 480, 960, 1_080, 2_880, 5_640, 5_760])
    def test_is_concealed_by_libopus_for_just_so_long(self, mode: str, samples: int) -> None:
        packets = encoded(to_pcm(speech_like(48_000)), mode=mode)[:40]
        heard = reference([*packets, missing_packet(packets[-1], samples), *packets[:5]])
        assert len(heard) == 40 * 960 + samples + 5 * 960
        assert heard[40 * 960 : 40 * 960 + samples].any()

    def test_of_a_length_that_no_packet_has(self) -> None:
        for samples in (-120, 0, 1, 5_880):
            with pytest.raises(OpusError):
                missing_packet(SILENCE, samples)

    @pytest.mark.parametrize(
        "packet",
        [
            *(b"", SILENCE, bytes((CELT_20 | 3,)), bytes((CELT_20 | 3, 0)), bytes((CELT_20 | 3, 0x41))),
            *(bytes((CELT_20 | 3, 0x82)), bytes((CELT_20, 1)), bytes((CELT_20 | 3, 1, 9)), bytes((CELT_20 | 1,))),
        ],
        ids=bytes.hex,
    )
    def test_what_is_no_marker(self, packet: bytes) -> None:
        assert not is_missing(packet)

    @pytest.mark.parametrize("frame_ms", [10, 20, 60])
    def test_no_encoder_makes_one_of_speech(self, frame_ms: int) -> None:
        for mode in ("silk", "hybrid", "celt"):
            assert not any(map(is_missing, encoded(to_pcm(speech_like(48_000)), mode=mode, frame_ms=frame_ms)))

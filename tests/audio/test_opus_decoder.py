from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from discord_recorder.audio.libopus import LibopusCodec
from discord_recorder.audio.opus import SILENCE, is_opus, lost_frame, packet_samples
from discord_recorder.audio.opus_decoder import (
    MAX_CONCEALED_SAMPLES,
    OpusCodec,
    OpusDecoder,
    best_codec,
)
from discord_recorder.audio.opus_pyav import PyavCodec, default_name
from discord_recorder.audio.pcm import SAMPLE_BYTES
from discord_recorder.errors import OpusError
from tests.audio.opus_signals import ENCODER_DELAY_SAMPLES, Pcm, encoded, in_a_row, reference, speech
from tests.audio.signals import FULL_SCALE, from_pcm, offset_of, snr_db, speech_like, to_pcm, tone

MODES = pytest.mark.parametrize("mode", ["silk", "hybrid", "celt"])
CODECS = pytest.mark.parametrize(
    "codec", [best_codec, PyavCodec, partial(PyavCodec, "opus")], ids=["libopus", "pyav", "ffmpeg"]
)

MakeCodec = Callable[[], OpusCodec]


def decoded(packets: list[tuple[int, bytes]], decoder: OpusDecoder | None = None) -> list[Pcm]:
    decoder = decoder or OpusDecoder()
    return [np.frombuffer(decoder.decode(opus, at), "<i2").reshape(-1, 2) for at, opus in packets]


class TestStream:
    @MODES
    def test_like_libopus_in_one_go(self, mode: str) -> None:
        packets = encoded(speech("Ben", 4.0), mode=mode)
        heard = decoded(in_a_row(packets, 12_345))
        assert (np.concatenate(heard) == reference(packets)).all()

    @CODECS
    @MODES
    @pytest.mark.parametrize("frame_ms", [10, 20, 40, 60])
    def test_each_packet_is_exactly_as_long_as_it_says(self, mode: str, frame_ms: int, codec: MakeCodec) -> None:
        packets = encoded(to_pcm(speech_like(48_000)), mode=mode, frame_ms=frame_ms)
        heard = decoded(in_a_row(packets), OpusDecoder(codec()))
        assert [len(pcm) for pcm in heard] == [frame_ms * 48] * len(packets)

    @CODECS
    def test_modes_and_lengths_may_change_at_any_packet(self, codec: MakeCodec) -> None:
        source = to_pcm(speech_like(48_000))
        kinds = [encoded(source, mode=mode, frame_ms=ms) for mode in ("silk", "celt", "hybrid") for ms in (10, 20, 60)]
        mixed = [kind[number] for number in range(10) for kind in kinds]
        decoder = OpusDecoder(codec())
        assert [len(pcm) for pcm in decoded(in_a_row(mixed), decoder)] == [packet_samples(packet) for packet in mixed]
        assert decoder.corrupt_packets == 0

    def test_ffmpegs_own_decoder_hears_the_same(self) -> None:
        packets = encoded(speech("Ada", 4.0))
        theirs = np.concatenate(decoded(in_a_row(packets), OpusDecoder(PyavCodec("opus")))) / FULL_SCALE
        assert snr_db(reference(packets) / FULL_SCALE, theirs) > 60

    def test_the_wheel_brings_libopus(self) -> None:
        assert isinstance(best_codec(), LibopusCodec)
        assert default_name() == "libopus"

    @MODES
    def test_what_is_heard_is_later_by_the_encoders_delay(self, mode: str) -> None:
        source = speech("Ben", 4.0)
        heard = np.concatenate(decoded(in_a_row(encoded(source, mode=mode)))) / FULL_SCALE
        delay = offset_of(from_pcm(source)[: len(heard)], heard)
        assert ENCODER_DELAY_SAMPLES - 16 <= delay <= ENCODER_DELAY_SAMPLES + 1

    def test_threads_do_not_disturb_each_other(self) -> None:
        packets = encoded(speech("Ben", 4.0))
        with ThreadPoolExecutor(4) as pool:
            for heard in pool.map(lambda _: decoded(in_a_row(packets)), range(8)):
                assert (np.concatenate(heard) == reference(packets)).all()


class TestGaps:
    def packets(self, mode: str = "celt") -> list[bytes]:
        return encoded(speech("Ben", 4.0), mode=mode)

    def test_after_a_pause_the_state_goes_on(self) -> None:
        packets = [*self.packets()[:50], *[SILENCE] * 5, *self.packets()[60:100]]
        placed = in_a_row(packets[:55]) + in_a_row(packets[55:], 4_800_123)
        assert (np.concatenate(decoded(placed)) == reference(packets)).all()

    @pytest.mark.parametrize("correction", [-2_000, -1, 1, 120, 959])
    def test_a_clocks_correction_is_no_gap(self, correction: int) -> None:
        packets = self.packets()
        placed = in_a_row(packets[:50]) + in_a_row(packets[50:], 48_000 + correction)
        assert (np.concatenate(decoded(placed)) == reference(packets)).all()

    @MODES
    @pytest.mark.parametrize("lost", [1, 2, 3])
    def test_a_loss_is_concealed_for_the_state(self, mode: str, lost: int) -> None:
        packets = self.packets(mode)
        hole = [lost_frame(packets[49])[0]] * lost
        expected = reference([*packets[:50], *hole, *packets[50 + lost :]])
        decoder = OpusDecoder()
        decoded(in_a_row(packets[:50]), decoder)
        (first,) = decoded([((50 + lost) * 960, packets[50 + lost])], decoder)
        assert decoder.concealed == expected[48_000 : 48_000 + lost * 960].tobytes()
        rest = decoded(in_a_row(packets[51 + lost :], (51 + lost) * 960), decoder)
        assert (np.concatenate([first, *rest]) == expected[(50 + lost) * 960 :]).all()
        assert decoder.concealed == b""

    def test_concealment_is_never_longer_than_the_gap(self) -> None:
        packets = self.packets()
        for gap in (1, 120, 959, 960, 1_000, 1_439, 1_440, 2_500, MAX_CONCEALED_SAMPLES, MAX_CONCEALED_SAMPLES + 1):
            decoder = OpusDecoder()
            decoded([(0, packets[0]), (960 + gap, packets[1])], decoder)
            assert len(decoder.concealed) // SAMPLE_BYTES == min(gap, MAX_CONCEALED_SAMPLES)
            assert decoder.is_step == (gap < 960)

    def test_a_loss_hurts_less_than_without_concealment(self) -> None:
        packets = encoded(speech("Ada", 10.0), mode="silk")
        whole, after = reference(packets), []
        kept = []
        for lost in range(40, 480, 20):
            decoder = OpusDecoder()
            decoded(in_a_row(packets[lost - 30 : lost], (lost - 30) * 960), decoder)
            after += decoded(in_a_row(packets[lost + 1 : lost + 4], (lost + 1) * 960), decoder)
            kept.append(reference(packets[lost - 30 : lost] + packets[lost + 1 : lost + 4])[-3 * 960 :])
        source = (
            np.concatenate([whole[(lost + 1) * 960 : (lost + 4) * 960] for lost in range(40, 480, 20)]) / FULL_SCALE
        )
        concealed = snr_db(source, np.concatenate(after) / FULL_SCALE)
        assert concealed > snr_db(source, np.concatenate(kept) / FULL_SCALE) + 3

    @MODES
    def test_after_a_long_gap_it_depends_on_nothing_before(self, mode: str) -> None:
        packets = self.packets(mode)
        expected = reference([SILENCE, *packets[100:]])[960:]
        for before in (packets[:50], packets[:51], encoded(to_pcm(tone(48_000)))):
            placed = in_a_row(before) + in_a_row(packets[100:], 1_000_000)
            assert (np.concatenate(decoded(placed)[len(before) :]) == expected).all()

    @MODES
    def test_after_a_long_gap_nothing_bursts(self, mode: str) -> None:
        packets = encoded(speech("Ada", 10.0), mode=mode)
        whole = np.abs(reference(packets).astype(int)).reshape(len(packets), -1).max(axis=1)
        for first in range(20, 480, 3):
            decoder = OpusDecoder()
            decoded(in_a_row(packets[:5]), decoder)
            heard = np.concatenate(decoded(in_a_row(packets[first : first + 5], 480_000), decoder))
            assert np.abs(heard.astype(int)).max() <= 1.5 * whole[max(0, first - 1) : first + 6].max() + 200


class TestBadPackets:
    @pytest.mark.parametrize("packet", [b"", b"\xff", b"\xfb\x00"])
    def test_what_is_no_packet_is_refused_and_nothing_else_changes(self, packet: bytes) -> None:
        packets = encoded(speech("Ben", 1.0))
        decoder = OpusDecoder()
        heard = decoded(in_a_row(packets[:20]), decoder)
        with pytest.raises(OpusError):
            decoder.decode(packet, 20 * 960)
        heard += decoded(in_a_row(packets[20:], 20 * 960), decoder)
        assert (np.concatenate(heard) == reference(packets)).all()

    @CODECS
    @given(st.lists(st.tuples(st.integers(0, 5_000), st.binary(min_size=1, max_size=200)), max_size=20))
    def test_anything_becomes_sound_or_silence_of_the_right_length(
        self, codec: MakeCodec, packets: list[tuple[int, bytes]]
    ) -> None:
        decoder, at = OpusDecoder(codec()), 0
        for gap, packet in packets:
            at += gap
            if is_opus(packet):
                assert len(decoder.decode(packet, at)) == packet_samples(packet) * SAMPLE_BYTES
                at += packet_samples(packet)
        sound = encoded(to_pcm(tone(9_600)))
        assert all(pcm.any() for pcm in decoded(in_a_row(sound, at), decoder)[-3:])

    def test_a_packet_that_the_decoder_refuses_becomes_silence(self) -> None:
        """No well-formed packet was found that libopus refuses; one for MP3 refuses them all."""
        decoder = OpusDecoder(PyavCodec("mp3float"))
        heard = decoded(in_a_row(encoded(to_pcm(tone(9_600)), frame_ms=10)), decoder)
        assert decoder.corrupt_packets == 20
        assert [len(pcm) for pcm in heard] == [480] * 20
        assert not np.concatenate(heard).any()

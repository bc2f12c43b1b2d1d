from hypothesis import given
from hypothesis import strategies as st

from discord_recorder.audio.opus import SILENCE
from discord_recorder.audio.opus_preroll import LEAST_PACKETS, OPUS_PREROLL_SAMPLES, OpusPreroll


def after(places: list[tuple[int, int]]) -> list[int]:
    """The places of the packets kept after packets of these places and lengths."""
    preroll = OpusPreroll()
    for at, samples in places:
        preroll.add(SILENCE, at, samples)
    return [at for _, at in preroll.packets()]


class TestPreroll:
    def test_reaches_back_700_ms(self) -> None:
        assert after([(n * 960, 960) for n in range(100)]) == [n * 960 for n in range(65, 100)]
        assert after([(n * 2880, 2880) for n in range(100)])[0] == (100 - 12) * 2880

    def test_less_at_the_beginning(self) -> None:
        assert after([]) == []
        assert after([(7, 960), (967, 960)]) == [7, 967]

    def test_the_last_before_a_pause_are_kept(self) -> None:
        talk = [(n * 960, 960) for n in range(100)]
        assert after([*talk, (9_000_000, 960)]) == [*(n * 960 for n in range(96, 100)), 9_000_000]

    def test_a_late_packet_is_among_them(self) -> None:
        assert after([(n * 960, 960) for n in (*range(50), 51, 50)])[-2:] == [51 * 960, 50 * 960]

    def test_can_be_forgotten(self) -> None:
        preroll = OpusPreroll()
        preroll.add(SILENCE, 0, 960)
        preroll.clear()
        assert preroll.packets() == []

    @given(st.lists(st.tuples(st.integers(0, 100_000), st.sampled_from([120, 960, 5760])), max_size=300))
    def test_never_too_few_and_never_too_many(self, steps: list[tuple[int, int]]) -> None:
        places, at = [], 0
        for gap, samples in steps:
            places.append((at + gap, samples))
            at += gap + samples
        kept = after(places)
        needed = [place for place, samples in places if place + samples > at - OPUS_PREROLL_SAMPLES]
        assert (
            kept == [place for place, _ in places][-max(len(needed), min(LEAST_PACKETS, len(places))) or len(places) :]
        )

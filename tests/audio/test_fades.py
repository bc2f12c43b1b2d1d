import numpy as np

from discord_recorder.audio.fades import crossfaded, faded_in, faded_out
from discord_recorder.audio.pcm import SAMPLE_BYTES


def level(samples: int, value: int) -> bytes:
    return np.full((samples, 2), value, "<i2").tobytes()


def values(pcm: bytes) -> list[int]:
    return [int(value) for value in np.frombuffer(pcm, "<i2")[::2]]


def test_goes_down_to_silence_at_the_end() -> None:
    faded = values(faded_out(level(10, 1_000), 4))
    assert faded[:7] == [1_000] * 7
    assert faded[7:] == [750, 500, 250]


def test_comes_up_from_silence_at_the_beginning() -> None:
    assert values(faded_in(level(10, -1_000), 4)) == [0, -250, -500, -750, *[-1_000] * 6]


def test_what_is_shorter_fades_as_a_whole() -> None:
    assert values(faded_out(level(4, 1_000), 99)) == [1_000, 750, 500, 250]
    assert values(faded_in(level(2, 1_000), 99)) == [0, 500]
    assert faded_out(b"", 5) == faded_in(b"", 5) == b""
    assert faded_out(level(3, 7), 0) == level(3, 7)


def test_from_one_to_the_other_at_full_scale() -> None:
    faded = values(crossfaded(level(100, 32_767), level(100, -32_768)))
    assert len(faded) == 100
    assert faded[0] == 32_767
    assert np.diff(faded).min() >= -656
    assert np.diff(faded).max() < 0
    assert len(crossfaded(level(7, 1), level(7, 1))) == 7 * SAMPLE_BYTES

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from discord_recorder.audio.silence import SHORTEST_SILENCE_SAMPLES, sounding

PIECES = st.lists(st.tuples(st.booleans(), st.integers(1, 3 * SHORTEST_SILENCE_SAMPLES)), max_size=8)


def by_sample(pcm: bytes, start: int) -> list[tuple[int, int]]:
    """The same, one sample after the other."""
    found: list[tuple[int, int]] = []
    silent = SHORTEST_SILENCE_SAMPLES
    for at in range(start, start + len(pcm) // 4):
        if any(pcm[4 * (at - start) : 4 * (at - start) + 4]):
            if found and silent < SHORTEST_SILENCE_SAMPLES:
                found[-1] = (found[-1][0], at + 1)
            elif not found and at - start < SHORTEST_SILENCE_SAMPLES:
                found.append((start, at + 1))
            else:
                found.append((at, at + 1))
            silent = 0
        else:
            silent += 1
    end = start + len(pcm) // 4
    if found and silent < SHORTEST_SILENCE_SAMPLES:
        found[-1] = (found[-1][0], end)
    if not found and 0 < end - start < SHORTEST_SILENCE_SAMPLES:
        found.append((start, end))
    return found


@given(PIECES, st.integers(0, 10_000))
def test_silence_of_20_ms_parts_what_sounds(pieces: list[tuple[bool, int]], start: int) -> None:
    pcm = b"".join(b"\0\1\0\0" * count if sounds else bytes(4 * count) for sounds, count in pieces)
    assert sounding(pcm, start) == by_sample(pcm, start)


def test_to_the_sample() -> None:
    pcm = np.zeros((48_000, 2), "<i2")
    pcm[1001:2003] = 1
    pcm[2962:3000] = -1  # 959 samples of silence before it
    pcm[3960:4000, 1] = 1  # 960
    assert sounding(pcm.tobytes(), 480_000) == [(481_001, 483_000), (483_960, 484_000)]
    assert sounding(bytes(4 * 48_000), 0) == []
    assert sounding(b"", 0) == []

"""The measure itself: what it has to hear, it hears."""

import numpy as np
import pytest

from tests.audio.signals import Samples
from tests.faults.voices import ADA, BEN, RATE, SPEAKERS, differences, joined, mixed, silence, voice

VOICE = voice(ADA, 0, 3 * RATE)
NOISE = np.random.default_rng(1).normal(0, 150, VOICE.shape)
"""As much as MP3 leaves: -29 dB."""


def test_what_mp3_leaves_is_no_difference() -> None:
    assert differences(VOICE + NOISE, VOICE) == []


@pytest.mark.parametrize(
    "heard",
    [
        pytest.param(joined(VOICE[:RATE], VOICE[RATE + 1 :]), id="a sample lost"),
        pytest.param(joined(VOICE[:RATE], VOICE[RATE - 1 :]), id="a sample doubled"),
        pytest.param(joined(VOICE[:RATE], silence(240), VOICE[RATE + 240 :]), id="5 ms of silence"),
        pytest.param(joined(VOICE[RATE : 2 * RATE], VOICE[:RATE]), id="two pieces swapped"),
        pytest.param(VOICE * 0.8, id="a little quieter"),
        pytest.param(voice(BEN, 0, 3 * RATE), id="another speaker"),
        pytest.param(mixed([VOICE, voice(BEN, 0, RATE) * 0.1]), id="another speaker faintly"),
    ],
)
def test_every_fault_is_a_difference(heard: Samples) -> None:
    assert differences(heard, VOICE)


@pytest.mark.parametrize("user", SPEAKERS)
def test_a_lost_sample_is_heard_with_every_voice(user: int) -> None:
    whole = voice(user, 0, RATE)
    assert differences(whole[1:], whole)

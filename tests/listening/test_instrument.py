"""The instrument itself: faults that are put into a sound are read back from it."""

import itertools
from functools import cache
from pathlib import Path

import numpy as np
import pytest

from discord_recorder.audio.ffmpeg import PCM_FORMAT
from discord_recorder.audio.opus_decoder import OpusDecoder
from tests.audio.opus_signals import in_a_row, reference
from tests.audio.signals import Samples, from_pcm, played, run_ffmpeg, to_pcm
from tests.support.ear import Ear
from tests.support.tone_code import FRAME, RATE, packets
from tests.support.verdict import Said, Verdict, judge, misalignment_ms

SPEAKERS = range(1, 9)
FRAMES = 100
MS = RATE // 1000
SAID = [Said(frame, frame * FRAME) for frame in range(FRAMES)]


@cache
def ear() -> Ear:
    return Ear(SPEAKERS, seconds=10)


@cache
def opus(speaker: int) -> list[bytes]:
    return list(itertools.islice(packets(speaker), FRAMES))


@cache
def sound(speaker: int = 1) -> Samples:
    return reference(opus(speaker)) / 32_768


def through_mp3(sound: Samples, folder: Path) -> Samples:
    path = folder / "sound.mp3"
    run_ffmpeg(*PCM_FORMAT, "-i", "pipe:0", "-c:a", "libmp3lame", "-q:a", "4", "-y", path, stdin=to_pcm(sound))
    return played(path)


def verdict(sound: Samples, folder: Path, said: list[Said] = SAID) -> Verdict:
    return judge(ear().listen(through_mp3(sound, folder)), 1, said)


@pytest.mark.parametrize("speaker", SPEAKERS)
def test_a_tenth_of_a_second_tells_who_speaks_and_when(speaker: int, tmp_path: Path) -> None:
    whole = through_mp3(sound(speaker), tmp_path)
    for at in (10_000, 40_123, 77_777):
        (stretch,) = ear().listen(whole[at : at + RATE // 10]).stretches
        assert stretch.speaker == speaker
        assert stretch.samples > RATE // 11
        assert abs(at + stretch.at - stretch.said - 312) < MS / 10


def test_what_is_all_right(tmp_path: Path) -> None:
    found = verdict(sound(), tmp_path)
    assert found.is_clean
    assert found.missing == []
    assert found.worst_offset_ms < 0.1
    assert found.noise_ms < 10


@pytest.mark.parametrize("shift_ms", [-20, -3, 1, 3, 300])
def test_a_shift(shift_ms: int, tmp_path: Path) -> None:
    place = round(shift_ms * MS)
    moved = np.roll(sound(), place, axis=0) if place < 0 else np.concatenate([np.zeros((place, 2)), sound()])
    found = verdict(moved, tmp_path, SAID[2:-2])
    assert found.is_clean
    assert np.abs(found.offsets_ms - shift_ms).max() < 0.1


def test_a_shift_in_the_middle_is_a_seam(tmp_path: Path) -> None:
    found = verdict(np.insert(sound(), 50 * FRAME, np.zeros((3 * MS, 2)), axis=0), tmp_path)
    assert found.missing == []
    assert {49, 50} & set(found.seams)
    assert found.offsets_ms[:48].max() < 0.1
    assert np.abs(found.offsets_ms[52:] - 3).max() < 0.1
    assert found.worst_offset_ms == pytest.approx(3, abs=0.1)


@pytest.mark.parametrize("frames", [1, 2, 15])
def test_what_is_cut_out(frames: int, tmp_path: Path) -> None:
    found = verdict(np.delete(sound(), np.s_[40 * FRAME : (40 + frames) * FRAME], axis=0), tmp_path)
    assert found.missing == [*range(40, 40 + frames)]
    assert found.offsets_ms[-1] == pytest.approx(-20 * frames, abs=0.1)


@pytest.mark.parametrize("frames", [1, 2, 15])
def test_what_is_silent(frames: int, tmp_path: Path) -> None:
    silenced = sound().copy()
    silenced[40 * FRAME : (40 + frames) * FRAME] = 0
    found = verdict(silenced, tmp_path)
    assert found.missing == [*range(40, 40 + frames)]
    assert found.worst_offset_ms < 0.1
    assert found.silent_ms == pytest.approx(20 * frames, abs=20)


@pytest.mark.parametrize("lost", [[40], [40, 42], [40, 41], [30, 50, 51, 52, 70]])
def test_what_is_concealed(lost: list[int], tmp_path: Path) -> None:
    decoder, made = OpusDecoder(), np.zeros((FRAMES * FRAME, 2))
    for at, packet in in_a_row(opus(1)):
        if at // FRAME in lost:
            continue
        decoded = from_pcm(decoder.decode(packet, at))
        concealed = from_pcm(decoder.concealed)
        made[at - len(concealed) : at] = concealed
        made[at : at + FRAME] = decoded
    found = verdict(made, tmp_path)
    assert found.missing == lost
    assert found.seams == []
    assert found.clicks == []
    assert found.noise_ms > 10 * len(lost)


def test_what_is_repeated(tmp_path: Path) -> None:
    found = verdict(np.insert(sound(), 50 * FRAME, sound()[48 * FRAME : 50 * FRAME], axis=0), tmp_path)
    assert found.repeated_ms == pytest.approx(40, abs=12)
    assert found.out_of_order == 1


def test_order(tmp_path: Path) -> None:
    swapped = sound().copy()
    swapped[20 * FRAME : 40 * FRAME], swapped[40 * FRAME : 60 * FRAME] = (
        sound()[40 * FRAME : 60 * FRAME],
        sound()[20 * FRAME : 40 * FRAME],
    )
    found = verdict(swapped, tmp_path)
    assert found.out_of_order == 1
    assert found.worst_offset_ms == pytest.approx(400, abs=0.1)


@pytest.mark.parametrize("frames", [2, 10])
def test_another_voice(frames: int, tmp_path: Path) -> None:
    swapped = sound().copy()
    swapped[40 * FRAME : (40 + frames) * FRAME] = sound(2)[40 * FRAME : (40 + frames) * FRAME]
    found = verdict(swapped, tmp_path)
    assert found.missing == [*range(40, 40 + frames)]
    if frames > 4:  # who is heard for less than a tenth of a second is nobody
        assert found.foreign_ms == pytest.approx(20 * frames, abs=12)
    else:
        assert found.noise_ms > 15


@pytest.mark.parametrize("level", [0.02, 0.2])
def test_a_click(level: float, tmp_path: Path) -> None:
    clicked = sound().copy()
    clicked[50_000] += level
    found = verdict(clicked, tmp_path)
    (click,) = found.clicks
    assert abs(click - 50_000) < 1000
    assert found.missing == []


def test_a_sample_that_is_left_out_clicks(tmp_path: Path) -> None:
    found = verdict(np.delete(sound(), 50_000, axis=0), tmp_path)
    assert len(found.clicks) == 1


def test_how_two_lie_to_each_other(tmp_path: Path) -> None:
    late = np.concatenate([np.zeros((7 * MS, 2)), sound(2)])
    one = verdict(sound(), tmp_path)
    other = judge(ear().listen(through_mp3(late, tmp_path)), 2, SAID)
    assert misalignment_ms([one, other]) == pytest.approx(7, abs=0.1)


def test_a_mix(tmp_path: Path) -> None:
    places = {1: 0, 2: 5_000, 3: 50_000, 5: 30_000}
    whole = np.zeros((200_000, 2))
    for speaker, at in places.items():
        whole[at : at + FRAMES * FRAME] += sound(speaker)
    heard = ear().listen(through_mp3(whole, tmp_path), several=True)
    assert {stretch.speaker for stretch in heard.stretches} == set(places)
    assert heard.clicks == []
    for speaker, at in places.items():
        said = [Said(one.frame, one.at + at) for one in SAID]
        own = judge(heard.only(speaker), speaker, said[3:-3])
        assert own.missing == []
        assert own.worst_offset_ms < 0.3


def test_silence_and_noise_are_nobody() -> None:
    noise = np.random.default_rng(1).normal(0, 0.05, (RATE // 4, 2))
    assert ear().listen(np.zeros((RATE, 2))).stretches == []
    assert ear().listen(noise).stretches == []
    assert ear().listen(noise, several=True).stretches == []
    assert ear().listen(noise).noise_samples > 0.2 * RATE
    assert ear().listen(np.zeros((0, 2))).samples == 0

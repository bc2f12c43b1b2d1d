"""Opus frames are 20 ms each and sound like their source."""

import wave
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
from numpy.typing import NDArray

from discord_recorder.errors import NotAudioError
from discord_recorder.simulator.voice.opus_source import from_file, tone


def _decoded(frames: list[bytes]) -> list[NDArray[Any]]:
    decoder = av.CodecContext.create("libopus", "r")
    assert isinstance(decoder, av.AudioCodecContext)
    decoder.sample_rate, decoder.layout = 48_000, "stereo"
    return [frame.to_ndarray() for opus in frames for frame in decoder.decode(av.Packet(opus))]


def _hertz(blocks: list[NDArray[Any]]) -> float:
    left = np.concatenate([block[0][::2] for block in blocks])[4_800:].astype(float)
    return float(np.argmax(np.abs(np.fft.rfft(left))) * 48_000 / len(left))


@pytest.mark.parametrize("hertz", [440.0, 1000.0])
def test_a_tone(hertz: float) -> None:
    frames = tone(hertz, 1.0)
    blocks = _decoded(frames)
    assert len(frames) == len(blocks) == 50
    assert {block.size for block in blocks} == {2 * 960}
    assert abs(_hertz(blocks) - hertz) < 3


def test_a_file_of_another_rate(tmp_path: Path) -> None:
    path = tmp_path / "a.wav"
    with wave.open(str(path), "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(16_000)
        file.writeframes((np.sin(np.arange(16_000) * 2 * np.pi * 500 / 16_000) * 9_000).astype("<i2").tobytes())
    frames = from_file(path)
    assert 49 <= len(frames) <= 51
    assert abs(_hertz(_decoded(frames)) - 500) < 3


def test_what_is_no_audio(tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    path.write_text("no audio at all")
    with pytest.raises(NotAudioError):
        from_file(path)
    with pytest.raises(NotAudioError):
        from_file(tmp_path / "missing.wav")

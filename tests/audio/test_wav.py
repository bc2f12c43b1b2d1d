import struct
import wave
from pathlib import Path

import numpy as np

from discord_recorder.audio.pcm import SAMPLE_BYTES, SAMPLE_RATE
from discord_recorder.audio.wav import wav_header, write_wav
from tests.audio.signals import run_ffmpeg, speech_like, to_pcm


def test_other_readers_find_the_same(tmp_path: Path) -> None:
    pcm = to_pcm(speech_like(SAMPLE_RATE))
    source, target = tmp_path / "master.pcm", tmp_path / "master.wav"
    source.write_bytes(pcm)
    write_wav(source, target)
    with wave.open(str(target), "rb") as sound:
        assert sound.getparams()[:4] == (2, 2, SAMPLE_RATE, SAMPLE_RATE)
        assert sound.readframes(SAMPLE_RATE) == pcm


def test_what_no_plain_wav_can_hold(tmp_path: Path) -> None:
    """A header for more than 4 GiB, and a file that is a hole but for its last second."""
    samples = 2**32 // SAMPLE_BYTES + 5 * SAMPLE_RATE
    last = to_pcm(speech_like(SAMPLE_RATE))
    target = tmp_path / "long.wav"
    header = wav_header(samples * SAMPLE_BYTES)
    with target.open("wb") as sound:
        sound.write(header)
        sound.seek(len(header) + samples * SAMPLE_BYTES - len(last))
        sound.write(last)
    assert struct.unpack("<Q", header[20:28])[0] == target.stat().st_size - 8
    heard = run_ffmpeg("-ss", f"{samples / SAMPLE_RATE - 1:.6f}", "-i", target, "-f", "s16le", "pipe:1")
    difference = np.frombuffer(heard[-len(last) // 2 :], "<i2") - np.frombuffer(last[-len(last) // 2 :], "<i2")
    assert not difference.any()

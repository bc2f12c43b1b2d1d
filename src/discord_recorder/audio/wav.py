"""WAV files of the recorder's PCM: plain RIFF, or RF64 where that cannot tell the size any more (EBU Tech 3306)."""

import shutil
import struct
from pathlib import Path
from typing import Final

from discord_recorder.audio.pcm import CHANNELS, SAMPLE_BYTES, SAMPLE_RATE

_PCM: Final = 1
_MOST_BYTES: Final = 0xFFFF_FFFF
_FORMAT: Final = struct.pack(
    "<4sIHHIIHH",
    b"fmt ",
    16,
    _PCM,
    CHANNELS,
    SAMPLE_RATE,
    SAMPLE_RATE * SAMPLE_BYTES,
    SAMPLE_BYTES,
    8 * SAMPLE_BYTES // CHANNELS,
)


def wav_header(data_bytes: int) -> bytes:
    """What stands before that many bytes of PCM."""
    riff_bytes = 4 + len(_FORMAT) + 8 + data_bytes
    if riff_bytes <= _MOST_BYTES:
        return b"RIFF" + struct.pack("<I", riff_bytes) + b"WAVE" + _FORMAT + b"data" + struct.pack("<I", data_bytes)
    sizes = struct.pack("<4sIQQQI", b"ds64", 28, riff_bytes + 36, data_bytes, data_bytes // SAMPLE_BYTES, 0)
    unknown = struct.pack("<I", _MOST_BYTES)
    return b"RF64" + unknown + b"WAVE" + sizes + _FORMAT + b"data" + unknown


def write_wav(pcm: Path, target: Path) -> None:
    """Make a WAV file of a file of PCM, of any size; raises `OSError`."""
    with pcm.open("rb") as source, target.open("wb") as sound:
        sound.write(wav_header(pcm.stat().st_size))
        shutil.copyfileobj(source, sound, 1024 * 1024)

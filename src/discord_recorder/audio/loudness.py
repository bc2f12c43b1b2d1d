"""How loud speech is, by ITU-R BS.1770-4 and EBU R128: K-weighted blocks of 400 ms every 100 ms, then two gates.

A chunk's blocks are measured apart from every other's: they lie on one grid of the track, and those that begin before
the chunk are measured with its pre-roll. Of each block only its loudness is kept, as a histogram, so those of many
chunks are the sum of theirs.
"""

import math
import re
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Final, Self

from discord_recorder.audio.dual_mono import channel_of
from discord_recorder.audio.encode import ChunkPcm
from discord_recorder.audio.ffmpeg import MONO_PCM_FORMAT, NO_OUTPUT, PCM_FORMAT, Ffmpeg
from discord_recorder.audio.pcm import SAMPLE_BYTES, SAMPLE_RATE
from discord_recorder.errors import FfmpegError

_SLOT_SAMPLES: Final = SAMPLE_RATE // 10
"""A block begins every 100 ms: blocks of 400 ms overlap by 75 %."""
_SLOT_BYTES: Final = _SLOT_SAMPLES * SAMPLE_BYTES
_SILENT_SLOT: Final = bytes(_SLOT_BYTES)
_BLOCK_SLOTS: Final = 4

_SETTLE_SLOTS: Final = 1
"""What the weighting filter hears before a block, to forget what it heard before; its high-pass has a time of 4 ms."""

_BINS_PER_LU: Final = 2
_ABSOLUTE_GATE_LUFS: Final = -70
_RELATIVE_GATE_LU: Final = -10

_METER: Final = "ebur128=metadata=1:framelog=quiet:dualmono=1,ametadata=mode=print:key=lavfi.r128.M:file=-"
_READING: Final = re.compile(rb"lavfi\.r128\.M=(\S+)")

_MAGNITUDES: Final = bytes((*range(1, 129), *range(128, 0, -1)))
"""For each high byte of a 16 bit number, what its magnitude does not exceed, in 128ths of full scale."""
_FULL_SCALE: Final = 128


@dataclass(frozen=True, slots=True, kw_only=True)
class Loudness:
    """What was measured of a chunk.

    Args:
        blocks: pairs of a loudness in half LUFS (-46 is -23 LUFS) and how many blocks have it; softer than -70 LUFS
            (the absolute gate) none is counted.
        peak_dbfs: the highest sample is not above this.
    """

    blocks: Sequence[tuple[int, int]]
    peak_dbfs: int


def loudness_lufs(measured: Iterable[Sequence[tuple[int, int]]]) -> float | None:
    """The integrated loudness of chunks' blocks in LUFS, gated; None when nothing of them passes the absolute gate."""
    counts: Counter[int] = Counter()
    for blocks in measured:
        counts.update(dict(blocks))
    ungated = _mean_lufs(counts)
    if ungated is None:
        return None
    gate = (ungated + _RELATIVE_GATE_LU) * _BINS_PER_LU
    return _mean_lufs(Counter({level: count for level, count in counts.items() if level > gate}))


async def measure_loudness(ffmpeg: Ffmpeg, chunks: Sequence[ChunkPcm]) -> list[Loudness]:
    """The loudness of each chunk, made in one run of FFmpeg; none when all of them are silent.

    Raises:
        FfmpegError: as `Ffmpeg.run`, or it did not give one reading for each 100 ms.
    """
    plans = [_Plan.of(chunk) for chunk in chunks]
    pcm = b"".join(plan.pcm for plan in plans)
    if not pcm:
        return [plan.loudness([]) for plan in plans]
    mono = channel_of(pcm)
    source = (*PCM_FORMAT, "-i", "pipe:0") if mono is None else (*MONO_PCM_FORMAT, "-i", "pipe:0")
    printed = await ffmpeg.run((*source, "-af", _METER, *NO_OUTPUT), stdin=pcm if mono is None else mono)
    readings = [float(reading) for reading in _READING.findall(printed)]
    if len(readings) != len(pcm) // _SLOT_BYTES:
        raise FfmpegError(f"FFmpeg measured the loudness of {len(readings)} of {len(pcm) // _SLOT_BYTES} blocks")
    result, at = [], 0
    for plan in plans:
        result.append(plan.loudness(readings[at : at + len(plan.counts)]))
        at += len(plan.counts)
    return result


@dataclass(frozen=True, slots=True, kw_only=True)
class _Plan:
    """The slots of a chunk that the meter has to hear, and after which of them a block of the chunk ends."""

    pcm: bytes
    counts: list[bool]

    @classmethod
    def of(cls, chunk: ChunkPcm) -> Self:
        """The blocks that end in the chunk, but for those that are all silent, and what they are measured with."""
        pcm_start = chunk.start_sample - chunk.preroll_samples
        first_slot = pcm_start // _SLOT_SAMPLES
        data = bytes((pcm_start - first_slot * _SLOT_SAMPLES) * SAMPLE_BYTES) + chunk.pcm
        slots = range(first_slot, first_slot + len(data) // _SLOT_BYTES)

        def pcm_of(slot: int) -> bytes:
            at = (slot - first_slot) * _SLOT_BYTES
            return data[at : at + _SLOT_BYTES] if slot in slots else _SILENT_SLOT

        sounding = [slot for slot in slots if not data.startswith(_SILENT_SLOT, (slot - first_slot) * _SLOT_BYTES)]
        ends = {
            slot
            for begun in sounding
            for slot in range(begun, begun + _BLOCK_SLOTS)
            if slot in slots and slot + 1 >= _BLOCK_SLOTS and (slot + 1) * _SLOT_SAMPLES > chunk.start_sample
        }
        heard = sorted({slot - back for slot in ends for back in range(_BLOCK_SLOTS + _SETTLE_SLOTS)})
        return cls(pcm=b"".join(map(pcm_of, heard)), counts=[slot in ends for slot in heard])

    def loudness(self, readings: Sequence[float]) -> Loudness:
        """From what the meter read after each slot."""
        loud = (reading for reading, ends in zip(readings, self.counts, strict=True) if ends)
        counts = Counter(round(lufs * _BINS_PER_LU) for lufs in loud if lufs > _ABSOLUTE_GATE_LUFS)
        magnitudes = self.pcm[1::2].translate(_MAGNITUDES)
        peak = next((peak for peak in range(_FULL_SCALE, 0, -1) if peak in magnitudes), 1)  # quicker than max()
        return Loudness(blocks=sorted(counts.items()), peak_dbfs=math.ceil(20 * math.log10(peak / _FULL_SCALE)))


def _mean_lufs(counts: Counter[int]) -> float | None:
    """Of the blocks' energy."""
    blocks = counts.total()
    if not blocks:
        return None
    energy = sum(count * 10 ** (level / _BINS_PER_LU / 10) for level, count in counts.items())
    return 10 * math.log10(energy / blocks)

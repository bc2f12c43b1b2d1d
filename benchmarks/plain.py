"""What the product is compared with: one FFmpeg process for each chunk file, and one for each window of the mix."""

import os
import subprocess
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

_PCM = ("-f", "s16le", "-ar", "48000", "-ac", "2")
_QUIET = ("-hide_banner", "-loglevel", "error", "-nostdin", "-y")

CBR = ("-c:a", "libmp3lame", "-b:a", "128k")
"""FFmpeg's usual MP3, and its default bit rate."""

SAME_QUALITY = ("-c:a", "libmp3lame", "-q:a", "4")
"""The product's own quality, in files that do not join."""


def encode(program: str, files: Iterable[Path], encoder: Sequence[str]) -> None:
    """Make an MP3 of each PCM file, as many at a time as there are processors."""
    _run_all([[program, *_QUIET, *_PCM, "-i", str(pcm), *encoder, str(pcm.with_suffix(".mp3"))] for pcm in files])


def mix(program: str, windows: Iterable[Sequence[Path]], encoder: Sequence[str], folder: Path) -> None:
    """Make an MP3 of each window, the sum of its PCM files."""
    commands = []
    for number, window in enumerate(windows):
        inputs = [part for pcm in window for part in (*_PCM, "-i", str(pcm))]
        graph = ("-filter_complex", f"amix=inputs={len(window)}:normalize=0")
        commands.append([program, *_QUIET, *inputs, *graph, *encoder, str(folder / f"mix-{number:04d}.mp3")])
    _run_all(commands)


def _run_all(commands: Sequence[Sequence[str]]) -> None:
    with ThreadPoolExecutor(max(1, min(os.cpu_count() or 1, 8))) as pool:
        for ended in [pool.submit(subprocess.run, command, check=True) for command in commands]:
            ended.result()

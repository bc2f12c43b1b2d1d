import shutil
import wave
from pathlib import Path

import pytest

from tests.audio.signals import to_pcm, tone
from tests.cli.runs import MEETING, Cli, write_wav
from tests.support.ffmpeg import BAD_PCM, FFMPEG, UnreliableFfmpeg

ADA_SAMPLES = 12 * 48_000 + 1234
BEN_SAMPLES = 5 * 48_000


@pytest.fixture(scope="session")
def tones(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """Two speakers: Ada's tone in 12 s of WAV, Ben's in 5 s of FLAC."""
    folder = tmp_path_factory.mktemp("tones")
    ada = write_wav(folder / "Ada.wav", to_pcm(tone(ADA_SAMPLES, hertz=440)))
    ben = write_wav(folder / "Ben.wav", to_pcm(tone(BEN_SAMPLES, hertz=997)))
    flac = folder / "Ben.flac"
    Cli.succeed(FFMPEG, "-v", "error", "-i", ben, flac)
    return [ada, flac]


@pytest.fixture
def cli(data_dir: Path) -> Cli:
    """The program, working in the test's data directory."""
    return Cli(data_dir)


@pytest.fixture(scope="session")
def recorded_once(tones: list[Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A data directory with `MEETING` of Ada and Ben in it; not to be changed."""
    data_dir = tmp_path_factory.mktemp("recorded") / "data"
    Cli(data_dir).ok("ingest", *tones, "--meeting-id", MEETING, "--title", "Stand-up: a/b")
    return data_dir


@pytest.fixture
def recorded(recorded_once: Path, data_dir: Path, cli: Cli) -> Cli:
    """The program with a copy of that data directory."""
    shutil.copytree(recorded_once, data_dir)
    return cli


@pytest.fixture(scope="session")
def flawed(tones: list[Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Ada's tone with a flaw at 5 s, on which an `UnreliableFfmpeg` fails when it is told to."""
    with wave.open(str(tones[0]), "rb") as file:
        pcm = bytearray(file.readframes(file.getnframes()))
    pcm[5 * 192_000 : 5 * 192_000 + len(BAD_PCM)] = BAD_PCM
    return write_wav(tmp_path_factory.mktemp("flawed") / "Ada.wav", bytes(pcm))


@pytest.fixture(scope="session")
def broken_once(flawed: Path, tones: list[Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A data directory with a `MEETING` whose chunk from 4 s to 6 s could not be transcoded; not to be changed."""
    folder = tmp_path_factory.mktemp("broken")
    ffmpeg = UnreliableFfmpeg(folder / "unreliable")
    ffmpeg.fail_on_bad_pcm()
    cli = Cli(folder / "data")
    cli.env |= {"DISCORD_RECORDER_FFMPEG_PATH": str(ffmpeg.path), "DISCORD_RECORDER_TRANSCODE_ATTEMPTS": "1"}
    cli.failed("ingest", flawed, tones[1], "--meeting-id", MEETING)
    return cli.data_dir


@pytest.fixture
def broken(broken_once: Path, data_dir: Path, cli: Cli, unreliable: UnreliableFfmpeg) -> Cli:
    """The program with a copy of that data directory, and an FFmpeg that still fails."""
    shutil.copytree(broken_once, data_dir)
    cli.env |= {"DISCORD_RECORDER_FFMPEG_PATH": str(unreliable.path), "DISCORD_RECORDER_TRANSCODE_ATTEMPTS": "1"}
    unreliable.fail_on_bad_pcm()
    return cli

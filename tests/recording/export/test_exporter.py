"""Exports of a live call and of pushed audio, measured in the files that come out."""

import asyncio
import csv
import hashlib
import json
import resource
import shutil
import sqlite3
import tracemalloc
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from zipfile import ZIP_STORED, ZipFile

import numpy as np
import pytest

from discord_recorder import ServicesManager, StorageError, UserError
from discord_recorder.audio.opus_reader import read_ogg_opus
from discord_recorder.recording.export.exporter import Exported
from discord_recorder.recording.export.formats import ExportFormat, ExportOrder
from discord_recorder.recording.export.sheet import ExportedFile
from discord_recorder.services.exports import open_export
from tests.audio.signals import Samples, dbfs, from_pcm, offset_of, played, speech_like, to_pcm
from tests.recording.export.calls import LOST, SAID, SPURTS, TITLE, record_call
from tests.support.ffmpeg import UnreliableFfmpeg
from tests.support.players import shown
from tests.support.recorder import ALICE, BOB, CHANNEL, MEETING, OpenServices, quick_settings, started

MP3, OPUS, FLAC, WAV = ExportFormat
EVERY = ExportOrder(formats=tuple(ExportFormat))
RATE = 48_000
MILLISECOND = 48


class Silently:
    """Nobody looks, and it is only counted."""

    def __init__(self) -> None:
        self.samples = 0

    def begins(self, track: str, export_format: ExportFormat) -> None:
        self.file = (track, export_format)

    def advances(self, samples: int) -> None:
        assert samples >= 0
        self.samples += samples


async def export(data_dir: Path, folder: Path, order: ExportOrder = EVERY, **settings: Any) -> Exported:
    exporter = await open_export(quick_settings(data_dir, **settings), MEETING)
    return await exporter.export(made(folder), order, Silently())


def made(folder: Path) -> Path:
    folder.mkdir(exist_ok=True)
    return folder


def files_in(folder: Path) -> list[Path]:
    return sorted(folder.iterdir())


@pytest.fixture(scope="module")
def call_once(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A data directory with the call in it; not to be changed."""
    data_dir = tmp_path_factory.mktemp("call") / "data"
    asyncio.run(record_call(data_dir))
    return data_dir


@pytest.fixture(scope="module")
def exports_once(call_once: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Exported]:
    """The call in every format."""
    folder = tmp_path_factory.mktemp("exports")
    return folder, asyncio.run(export(call_once, folder))


@pytest.fixture
def call(call_once: Path, data_dir: Path) -> Path:
    """A copy of that data directory."""
    shutil.copytree(call_once, data_dir)
    return data_dir


@pytest.fixture
def out(tmp_path: Path) -> Path:
    return tmp_path / "out"


def file_of(files: list[ExportedFile], name: str, kind: ExportFormat) -> ExportedFile:
    (file,) = (file for file in files if file["name"] == name and file["format"] == kind)
    return file


def sounds(exports: tuple[Path, Exported], name: str) -> dict[ExportFormat, Samples]:
    folder, exported = exports
    return {kind: played(folder / file_of(exported.files, name, kind)["file"]) for kind in ExportFormat}


def recorded(data_dir: Path, name: str) -> Path:
    return data_dir / "recordings" / MEETING / name


def session_samples(data_dir: Path) -> int:
    samples = json.loads(recorded(data_dir, "manifest.json").read_bytes())["duration_samples"]
    assert samples >= 7 * RATE
    return int(samples)


class TestSound:
    @pytest.mark.parametrize("name", ["Ada", "Ben", "mix"])
    def test_every_format_is_as_long_as_the_session(
        self, call_once: Path, exports_once: tuple[Path, Exported], name: str
    ) -> None:
        lengths = {kind: len(sound) for kind, sound in sounds(exports_once, name).items()}
        assert lengths == dict.fromkeys(ExportFormat, session_samples(call_once))

    @pytest.mark.parametrize("name", ["Ada", "Ben", "mix"])
    def test_formats_of_a_track_are_aligned(self, exports_once: tuple[Path, Exported], name: str) -> None:
        heard = sounds(exports_once, name)
        for start, end in SPURTS:
            there = slice(round(start * RATE), round(end * RATE))
            for kind, sound in heard.items():
                assert dbfs(sound[there]) > -20
                assert abs(offset_of(heard[MP3][there], sound[there])) <= MILLISECOND, kind

    @pytest.mark.parametrize("kind", ExportFormat)
    def test_tracks_of_a_format_are_aligned_to_the_sample(
        self, exports_once: tuple[Path, Exported], kind: ExportFormat
    ) -> None:
        ada, ben, mix = (sounds(exports_once, name)[kind] for name in ("Ada", "Ben", "mix"))
        for start, end in SPURTS:
            there = slice(round(start * RATE), round(end * RATE))
            assert offset_of(ada[there], ben[there]) == 0
            assert abs(offset_of(ada[there], mix[there])) <= MILLISECOND

    def test_flac_and_wav_are_the_same(self, exports_once: tuple[Path, Exported]) -> None:
        heard = sounds(exports_once, "Ada")
        assert np.array_equal(heard[FLAC], heard[WAV])

    def test_they_are_made_of_the_best_there_is(self, exports_once: tuple[Path, Exported]) -> None:
        made = {(file["name"], file["format"]): file["made_from"] for file in exports_once[1].files}
        speakers = {MP3: "mp3", OPUS: "opus", FLAC: "opus", WAV: "opus"}
        assert made == {
            **{(name, kind): source for name in ("Ada", "Ben") for kind, source in speakers.items()},
            **{("mix", kind): "mp3" for kind in ExportFormat},
        }

    def test_losses_are_concealed_in_lossless_files_as_in_the_mp3(self, exports_once: tuple[Path, Exported]) -> None:
        heard = sounds(exports_once, "Ada")
        lost = slice(RATE // 2 + LOST.start * 960, RATE // 2 + LOST.stop * 960)
        assert dbfs(heard[WAV][lost][:1920]) > -50
        assert dbfs(heard[WAV][lost] - heard[MP3][lost]) < -30

    @pytest.mark.parametrize("name", ["Ada", "Ben"])
    def test_opus_is_what_was_received(self, call_once: Path, exports_once: tuple[Path, Exported], name: str) -> None:
        folder, exported = exports_once
        master = recorded(call_once, f"{ALICE if name == 'Ada' else BOB}.opus")
        copy = read_ogg_opus((folder / file_of(exported.files, name, OPUS)["file"]).read_bytes())
        assert copy == read_ogg_opus(master.read_bytes())
        assert set(SAID[:95]) <= {packet.opus for packet in copy.packets}

    def test_mp3_is_what_was_recorded_behind_its_tag(
        self, call_once: Path, exports_once: tuple[Path, Exported]
    ) -> None:
        folder, exported = exports_once
        data = (folder / file_of(exported.files, "Ada", MP3)["file"]).read_bytes()
        frames = recorded(call_once, f"{ALICE}.mp3").read_bytes()
        assert data.endswith(frames)
        assert data.startswith(b"ID3\4")


class TestTags:
    @pytest.mark.parametrize("kind", [MP3, OPUS, FLAC])
    @pytest.mark.parametrize(
        ("name", "artist", "number"), [("Ada", "Ada", "1"), ("Ben", "Ben", "2"), ("mix", "Ada, Ben", "3")]
    )
    def test_tell_whose_track_it_is(
        self, exports_once: tuple[Path, Exported], kind: ExportFormat, name: str, artist: str, number: str
    ) -> None:
        folder, exported = exports_once
        found = shown(folder / file_of(exported.files, name, kind)["file"])
        assert found.tags["title"] == f"{TITLE} - {name}"
        assert found.tags["artist"] == artist
        assert found.tags["album"] == TITLE
        assert found.tags["date"].startswith("2026-03-01T12:00:00")
        assert found.tags["track"].partition("/")[0] == number
        long = "x" * 119 + "\u2026"
        assert [(start, title) for start, _, title in found.chapters] == [
            (1000, "Ben: Budget: 20 % \U0001f389"),
            (7000, long),
        ]


class TestSheet:
    def test_tells_of_the_files_and_of_the_meeting(self, call_once: Path, exports_once: tuple[Path, Exported]) -> None:
        folder, exported = exports_once
        assert exported.sheet is not None
        sheet = json.loads(exported.sheet.read_bytes())
        manifest = json.loads(recorded(call_once, "manifest.json").read_bytes())
        assert sheet["files"] == exported.files
        assert len(sheet["files"]) == 12
        for file in sheet["files"]:
            data = (folder / file["file"]).read_bytes()
            assert (file["size_bytes"], file["sha256"]) == (len(data), hashlib.sha256(data).hexdigest())
        for part, own in zip(sheet["tracks"], manifest["tracks"], strict=True):
            assert part["gaps"] == own["gaps"]
            assert part["file"].endswith(".mp3")
            assert (folder / part["file"]).exists()
        same = manifest.keys() - {"tracks"}
        assert {key: sheet[key] for key in same} == {key: manifest[key] for key in same}


class TestZip:
    @pytest.mark.parametrize("kind", ExportFormat)
    async def test_holds_all_tracks_of_one_length_and_what_happened(
        self, call_once: Path, out: Path, tmp_path: Path, kind: ExportFormat
    ) -> None:
        exported = await export(call_once, out, ExportOrder(zip_of=kind))
        assert files_in(out) == [exported.zip_file]
        assert exported.zip_file is not None
        with ZipFile(exported.zip_file) as file:
            assert file.testzip() is None
            audio = [member for member in file.infolist() if member.filename.endswith(f".{kind}")]
            assert {member.compress_type for member in audio} == {ZIP_STORED}
            file.extractall(tmp_path / "unzipped")
        manifest = json.loads((tmp_path / "unzipped" / "manifest.json").read_bytes())
        assert {path.name for path in (tmp_path / "unzipped").iterdir()} == {
            "manifest.json", "labels.txt", *(part["file"] for part in manifest["tracks"])
        }  # fmt: skip
        assert manifest["files"] == exported.zipped
        for part in manifest["tracks"]:
            path = tmp_path / "unzipped" / part["file"]
            assert hashlib.sha256(path.read_bytes()).hexdigest() == part["sha256"]
            assert len(played(path)) == session_samples(call_once)
        with (tmp_path / "unzipped" / "labels.txt").open(encoding="utf-8", newline="") as file_of_labels:
            assert list(csv.reader(file_of_labels, delimiter="\t", quoting=csv.QUOTE_NONE)) == [
                ["1.000000", "1.000000", "Ben: Budget: 20 % \U0001f389"],
                ["4.000000", "4.000000", "paused for 0:01:00"],
                ["7.000000", "7.000000", "x" * 2000],
            ]

    async def test_beside_single_files(self, call_once: Path, out: Path) -> None:
        exported = await export(call_once, out, ExportOrder(formats=(MP3,), zip_of=MP3))
        assert [file["sha256"] for file in exported.files] == [file["sha256"] for file in exported.zipped]
        assert len(files_in(out)) == 5


class TestOldRecordings:
    """Of version 0.1: no manifest, no Opus, no length of the session, and tracks of their own lengths."""

    @pytest.fixture
    def old(self, call: Path) -> Path:
        for name in ("manifest.json", f"{ALICE}.opus", f"{BOB}.opus"):
            recorded(call, name).unlink()
        with sqlite3.connect(call / "recorder.sqlite3") as database:
            database.execute("UPDATE recordings SET manifest_key = NULL, duration_samples = NULL")
            database.execute("UPDATE recording_tracks SET master_key = NULL, heard_samples = NULL")
            database.execute("UPDATE meetings SET duration_samples = NULL, packets = NULL")
        database.close()
        return call

    async def test_are_exported_too(self, old: Path, out: Path) -> None:
        exported = await export(old, out, ExportOrder(formats=tuple(ExportFormat), zip_of=MP3))
        assert exported.faults == []
        assert {file["made_from"] for file in exported.files} == {"mp3"}
        for file in exported.files:
            assert len(played(out / file["file"])) == session_samples_of(exported)
        mp3 = played(out / file_of(exported.files, "Ada", MP3)["file"])
        for kind in (OPUS, FLAC, WAV):
            sound = played(out / file_of(exported.files, "Ada", kind)["file"])
            assert abs(offset_of(mp3, sound)) <= MILLISECOND
        assert len(shown(out / file_of(exported.files, "Ada", MP3)["file"]).chapters) == 2
        assert exported.sheet is not None
        sheet = json.loads(exported.sheet.read_bytes())
        assert {len(part["gaps"]) for part in sheet["tracks"]} == {0}
        assert sheet["meeting"]["title"] == TITLE


def session_samples_of(exported: Exported) -> int:
    assert exported.sheet is not None
    return int(json.loads(exported.sheet.read_bytes())["duration_samples"])


class TestPushed:
    async def test_lossless_from_end_to_end(self, open_services: OpenServices, data_dir: Path, out: Path) -> None:
        pcm = to_pcm(speech_like(2 * RATE + 7))
        async with open_services(keep_master=True) as services:
            await push(services, pcm)
        exported = await export(data_dir, out)
        assert {file["made_from"] for file in exported.files if file["format"] != MP3} == {"flac"}
        for kind in (FLAC, WAV):
            assert np.array_equal(played(out / file_of(exported.files, "Ada", kind)["file"]), from_pcm(pcm))
        opus = played(out / file_of(exported.files, "Ada", OPUS)["file"])
        assert len(opus) == 2 * RATE + 7
        assert abs(offset_of(from_pcm(pcm), opus)) <= MILLISECOND

    @pytest.mark.parametrize("samples", [16, 119, 961, RATE])
    async def test_however_short(self, open_services: OpenServices, data_dir: Path, out: Path, samples: int) -> None:
        async with open_services() as services:
            await push(services, to_pcm(speech_like(samples)))
        exported = await export(data_dir, out)
        lengths = {file["format"]: len(played(out / file["file"])) for file in exported.files}
        assert lengths == dict.fromkeys(ExportFormat, samples)


async def push(services: ServicesManager, pcm: bytes) -> None:
    session = await started(services)
    await session.set_speaker_name(ALICE, "Ada")
    await session.push_audio_data(pcm)
    assert await services.discord_recorder_service.stop_session(CHANNEL)


def damage(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)


class TestDamage:
    async def test_of_a_master_the_next_best_is_taken(self, call: Path, out: Path) -> None:
        master = recorded(call, f"{ALICE}.opus")
        damage(master)
        exported = await export(call, out, ExportOrder(formats=(WAV,)))
        [fault] = exported.faults
        assert f"{master} is damaged: its SHA-256 is " in fault
        assert fault.endswith(f"Ada.wav was made from {recorded(call, f'{ALICE}.mp3')} instead.")
        assert [file["made_from"] for file in exported.files] == ["mp3", "opus", "mp3"]
        assert {len(played(out / file["file"])) for file in exported.files} == {session_samples(call)}

    @pytest.mark.parametrize("kind", ExportFormat)
    async def test_of_all_there_is_means_no_file(self, call: Path, out: Path, kind: ExportFormat) -> None:
        damage(recorded(call, f"{ALICE}.mp3"))
        recorded(call, f"{ALICE}.opus").unlink()
        exported = await export(call, out, ExportOrder(formats=(kind,), zip_of=kind))
        assert [file["name"] for file in exported.files] == ["Ben", "mix"] == [file["name"] for file in exported.zipped]
        assert exported.faults
        assert all(fault.endswith(f"Ada.{kind} was not exported.") for fault in exported.faults)
        assert any("is damaged" in fault for fault in exported.faults)
        assert exported.zip_file is not None
        with ZipFile(exported.zip_file) as file:
            manifest = json.loads(file.read("manifest.json"))
            assert len(file.namelist()) == 4
        assert [part["file"] is None for part in manifest["tracks"]] == [True, False, False]

    @pytest.mark.parametrize("name", ["1.opus", "1.mp3"])
    async def test_that_no_checksum_tells_of(self, call: Path, out: Path, name: str) -> None:
        """As the manifest is gone, and with it the masters' checksums."""
        recorded(call, "manifest.json").unlink()
        damage(recorded(call, name.replace("1", str(ALICE))))
        exported = await export(call, out, ExportOrder(formats=(MP3, OPUS, WAV)))
        assert "manifest.json cannot be read" in exported.faults[0]
        assert len(exported.faults) == (3 if name == "1.opus" else 2)
        assert all("is damaged" in fault for fault in exported.faults[1:])

    async def test_of_the_manifest_is_told_and_keeps_nothing_from_being_exported(self, call: Path, out: Path) -> None:
        recorded(call, "manifest.json").write_text("{")
        exported = await export(call, out, ExportOrder(formats=(MP3,)))
        [fault] = exported.faults
        assert "manifest.json is damaged" in fault
        assert len(exported.files) == 3


@contextmanager
def full_disk(free_bytes: int) -> Iterator[None]:
    """No file may grow beyond that: writing fails in this process, and kills FFmpeg."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (free_bytes, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


class TestInterruption:
    @pytest.mark.parametrize("kind", ExportFormat)
    @pytest.mark.parametrize("zipped", [False, True])
    async def test_a_full_disk_leaves_nothing_half_written(
        self, call: Path, out: Path, kind: ExportFormat, zipped: bool
    ) -> None:
        order = ExportOrder(zip_of=kind) if zipped else ExportOrder(formats=(kind,))
        exporter = await open_export(quick_settings(call), MEETING)
        with full_disk(20_000), pytest.raises(StorageError, match=r"written"):
            await exporter.export(made(out), order, Silently())
        assert files_in(out) == []
        assert (await export(call, out, order)).faults == []

    @pytest.mark.parametrize("kind", ExportFormat)
    @pytest.mark.parametrize("zipped", [False, True])
    async def test_cancelled_in_the_middle_of_a_file(
        self, call: Path, out: Path, unreliable: UnreliableFfmpeg, kind: ExportFormat, zipped: bool
    ) -> None:
        settings = quick_settings(call, ffmpeg_path=str(unreliable.path))
        exporter = await open_export(settings, MEETING)
        order = ExportOrder(zip_of=kind) if zipped else ExportOrder(formats=(kind,))

        class Impatient(Silently):
            def advances(self, samples: int) -> None:
                running.cancel()

        running = asyncio.create_task(exporter.export(made(out), order, Impatient()))
        with pytest.raises(asyncio.CancelledError):
            await running
        assert files_in(out) == []
        assert unreliable.living == []

    async def test_what_is_there_is_not_replaced(self, call: Path, out: Path) -> None:
        first = await export(call, out, ExportOrder(formats=(MP3,), zip_of=MP3))
        before = {path: path.read_bytes() for path in files_in(out)}
        for order in (ExportOrder(formats=(MP3,)), ExportOrder(zip_of=MP3)):
            with pytest.raises(UserError, match="already there"):
                await export(call, out, order)
        assert {path: path.read_bytes() for path in files_in(out)} == before
        again = await export(call, out, ExportOrder(formats=(MP3,), zip_of=MP3, force=True))
        assert [file["sha256"] for file in again.files] == [file["sha256"] for file in first.files]


@pytest.mark.parametrize("kind", ExportFormat)
async def test_progress_ends_at_the_end(call_once: Path, out: Path, kind: ExportFormat) -> None:
    exporter = await open_export(quick_settings(call_once), MEETING)
    order, watcher = ExportOrder(formats=(kind,), zip_of=kind), Silently()
    await exporter.export(made(out), order, watcher)
    assert watcher.samples == pytest.approx(exporter.samples(order), rel=0.05)


@pytest.mark.parametrize("kind", [FLAC, WAV])
async def test_memory_does_not_grow_with_the_session(
    open_services: OpenServices, data_dir: Path, out: Path, kind: ExportFormat
) -> None:
    """Ten minutes are 115 MB of PCM."""
    async with open_services() as services:
        session = await started(services)
        await session.push_audio_data(to_pcm(speech_like(RATE)))
        await session.push_audio_data(to_pcm(speech_like(RATE)), at_ms=599_000)
        assert await services.discord_recorder_service.stop_session(CHANNEL)
    tracemalloc.start()
    try:
        exported = await export(data_dir, out, ExportOrder(zip_of=kind))
        _, peak_bytes = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert [file["duration_ms"] for file in exported.zipped] == [600_000]
    assert peak_bytes < 20_000_000


@pytest.mark.parametrize(
    "title", ["CON", "../../etc/passwd", "a\0b\n\x1b[31m\u202e", "\U0001f600" * 300, ". .", "=-metadata"]
)
async def test_hostile_titles_and_names(call: Path, out: Path, title: str) -> None:
    with sqlite3.connect(call / "recorder.sqlite3") as database:
        database.execute("UPDATE recordings SET title = ?, manifest_key = NULL", (title,))
        database.execute("UPDATE recording_tracks SET name = ?", (title,))
    database.close()
    exported = await export(call, out, ExportOrder(formats=tuple(ExportFormat), zip_of=FLAC))
    assert exported.faults == []
    assert len(exported.files) == 12
    for path in files_in(out):
        assert path.parent == out
        assert not set(path.name) & set('<>:"/\\|?*\0\n\x1b')
        assert len(path.name.encode()) <= 255
    shown(out / exported.files[0]["file"])
    assert exported.zip_file is not None
    with ZipFile(exported.zip_file) as file:
        assert len(set(map(str.casefold, file.namelist()))) == 5

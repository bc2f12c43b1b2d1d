import hashlib
import json
import os
from pathlib import Path

import numpy as np
import pytest

from tests.audio.signals import played
from tests.cli.conftest import ADA_SAMPLES, BEN_SAMPLES
from tests.cli.runs import MEETING, Cli


@pytest.fixture
def out(tmp_path: Path) -> Path:
    return tmp_path / "my exports" / "new"


def names_in(folder: Path) -> list[str]:
    """The files without the day in front."""
    return sorted(path.name.partition(" ")[2] for path in folder.iterdir())


def test_files_get_readable_names_that_every_file_system_takes(recorded: Cli, out: Path) -> None:
    printed = recorded.ok("export", MEETING, "--to", out).stdout
    assert names_in(out) == [
        "Stand-up_ a_b - Ada.mp3",
        "Stand-up_ a_b - Ben.mp3",
        "Stand-up_ a_b - mix.mp3",
        "Stand-up_ a_b.json",
    ]
    for path in out.iterdir():
        assert str(path) in printed


def test_the_copies_are_what_was_recorded(recorded: Cli, out: Path) -> None:
    told = recorded.json("export", MEETING, "--to", out)
    sheet = json.loads((out / told["description_file"]).read_text())
    assert sheet["meeting"]["meeting_id"] == MEETING
    assert sheet["meeting"]["title"] == "Stand-up: a/b"
    assert (told["meeting_id"], told["title"], told["files"]) == (MEETING, "Stand-up: a/b", sheet["files"])
    assert [(file["name"], file["kind"]) for file in sheet["files"]] == [
        ("Ada", "speaker"),
        ("Ben", "speaker"),
        ("mix", "mix"),
    ]
    for file in sheet["files"]:
        path = out / file["file"]
        assert hashlib.sha256(path.read_bytes()).hexdigest() == file["sha256"]
        assert path.stat().st_size == file["size_bytes"]
        assert len(played(path)) == ADA_SAMPLES, "every file is as long as the session"


def test_nothing_is_overwritten_unless_forced(recorded: Cli, out: Path) -> None:
    recorded.ok("export", MEETING, "--to", out)
    [ada] = out.glob("*Ada.mp3")
    ada.write_text("mine")
    complaint = recorded.refused("export", MEETING, "--to", out)
    assert "already there" in complaint
    assert "--force" in complaint
    assert ada.read_text() == "mine"
    recorded.ok("export", MEETING, "--to", out, "--force")
    assert ada.stat().st_size > 10_000
    assert len(names_in(out)) == 4


def test_one_file_that_is_there_keeps_all_from_being_exported(recorded: Cli, out: Path) -> None:
    recorded.ok("export", MEETING, "--to", out)
    for path in out.iterdir():
        if "mix" not in path.name:
            path.unlink()
    recorded.refused("export", MEETING, "--to", out)
    assert names_in(out) == ["Stand-up_ a_b - mix.mp3"]


def test_another_meeting_of_that_day_and_title_gets_names_of_its_own(
    recorded: Cli, out: Path, tones: list[Path]
) -> None:
    other = "0000000000000000"
    recorded.ok("ingest", tones[1], "--meeting-id", other, "--title", "Stand-up: a/b")
    recorded.ok("export", MEETING, "--to", out)
    recorded.ok("export", other, "--to", out, "--force")
    assert f"Stand-up_ a_b {other} - Ben.mp3" in names_in(out)
    assert len(names_in(out)) == 6


def test_a_damaged_file_is_named_and_the_others_are_exported(recorded: Cli, out: Path) -> None:
    damaged = recorded.data_dir / "recordings" / MEETING / "1.mp3"
    content = bytearray(damaged.read_bytes())
    content[5000] ^= 1
    damaged.write_bytes(content)
    complaint = recorded.failed("export", MEETING, "--to", out)
    assert f"{damaged} is damaged" in complaint
    assert "Ada" not in "".join(names_in(out))
    assert len(names_in(out)) == 3


def test_a_file_that_is_gone_is_named(recorded: Cli, out: Path) -> None:
    gone = recorded.data_dir / "recordings" / MEETING / "mix.mp3"
    gone.unlink()
    assert f"{gone} is gone" in recorded.failed("export", MEETING, "--to", out)
    assert len(names_in(out)) == 3


def test_the_target_is_a_file(recorded: Cli, tmp_path: Path) -> None:
    target = tmp_path / "file"
    target.write_text("mine")
    assert str(target) in recorded.refused("export", MEETING, "--to", target)
    assert target.read_text() == "mine"


def test_ctrl_c_leaves_no_part_of_a_file(recorded: Cli, out: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(os, "fsync", interrupted)
    assert recorded.failed("export", MEETING, "--to", out, code=130) == "error: interrupted\n"
    assert names_in(out) == []


def test_lossless_masters_are_what_lossless_files_are_made_from(cli: Cli, out: Path, tones: list[Path]) -> None:
    cli.env["DISCORD_RECORDER_KEEP_MASTER"] = "true"
    cli.ok("ingest", tones[1], "--meeting-id", MEETING)
    told = cli.json("export", MEETING, "--to", out, "--format", "flac", "--format", "mp3", "--format", "flac")
    assert names_in(out) == [f"{MEETING} - Ben.flac", f"{MEETING} - Ben.mp3", f"{MEETING}.json"]
    flac, mp3 = told["files"]
    assert (flac["format"], flac["made_from"], mp3["format"], mp3["made_from"]) == ("flac", "flac", "mp3", "mp3")
    [master] = (cli.data_dir / "recordings" / MEETING).glob("*.flac")
    assert np.array_equal(played(out / flac["file"]), played(master))
    assert len(played(out / flac["file"])) == BEN_SAMPLES

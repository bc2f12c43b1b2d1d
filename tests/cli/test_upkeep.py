import errno
import json
import os
import time
from pathlib import Path

import pytest

from tests.audio.signals import clicks, played
from tests.cli.runs import MEETING, Cli
from tests.support.ffmpeg import UnreliableFfmpeg


def test_retry_mends_the_recording(broken: Cli, unreliable: UnreliableFfmpeg) -> None:
    unreliable.fail_on_bad_pcm(False)
    told = broken.json("retry", MEETING)
    assert (told["status"], told["retried"], told["mended"], told["failed"]) == ("complete", 1, 1, 0)
    [ada] = [track for track in broken.json("show", MEETING)["recording"]["tracks"] if track["name"] == "Ada"]
    sound = played(Path(ada["path"]))
    assert clicks(sound[4 * 48_000 - 2000 : 5 * 48_000 - 2000], 440).max() < 0.01
    assert abs(sound[4 * 48_000 : 6 * 48_000]).max() > 0.2


def test_retry_that_fails_again_keeps_the_audio(broken: Cli, unreliable: UnreliableFfmpeg) -> None:
    result = broken.run("retry", MEETING)
    assert result.exit_code == 1
    assert "this chunk cannot be encoded" in result.stdout
    assert "1 chunk failed again" in result.stderr
    unreliable.fail_on_bad_pcm(False)
    assert "Mended       1 chunk" in broken.ok("retry", MEETING).stdout


def test_retry_of_a_whole_meeting_changes_nothing(recorded: Cli) -> None:
    before = recorded.json("show", MEETING)["recording"]["tracks"]
    told = recorded.json("retry", MEETING)
    assert (told["status"], told["retried"], told["failed"]) == ("complete", 0, 0)
    assert recorded.json("show", MEETING)["recording"]["tracks"] == before


def test_delete_leaves_nothing(recorded: Cli) -> None:
    assert recorded.ok("delete", MEETING, "--yes").stdout == f"Meeting {MEETING} is deleted.\n"
    assert recorded.json("recordings") == []
    assert not list(recorded.data_dir.rglob("*.mp3"))


def test_delete_asks_first(recorded: Cli) -> None:
    result = recorded.run("delete", MEETING, stdin="n\n")
    assert result.exit_code == 1
    assert "Stand-up: a/b" in result.stderr
    assert len(recorded.json("recordings")) == 1
    assert recorded.run("delete", MEETING).exit_code == 1  # nobody there to answer
    assert len(recorded.json("recordings")) == 1
    assert recorded.run("delete", MEETING, stdin="y\n").exit_code == 0
    assert recorded.json("recordings") == []


def orphan(data_dir: Path) -> Path:
    path = data_dir / "temp" / "0123456789abcdef" / "1" / "000000000000-0.pcm"
    path.parent.mkdir(parents=True)
    path.write_bytes(bytes(4000))
    two_days_ago = time.time() - 48 * 3600
    os.utime(path, (two_days_ago, two_days_ago))
    return path


def test_cleanup_removes_orphans_and_spares_what_failed(broken: Cli) -> None:
    path = orphan(broken.data_dir)
    assert broken.json("cleanup", "--ttl-hours", "0") == {"removed": 0, "undeletable": 0}
    assert not path.exists()
    assert len(broken.json("show", MEETING)["chunks"]) == 1
    assert broken.ok("cleanup").stdout == "0 temp recordings removed.\n"


def test_cleanup_tells_what_cannot_be_deleted(recorded: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    path = orphan(recorded.data_dir)
    unlink = Path.unlink

    def refuse(self: Path, missing_ok: bool = False) -> None:
        if self == path:
            raise PermissionError(errno.EACCES, "Permission denied", str(self))
        unlink(self, missing_ok=missing_ok)

    monkeypatch.setattr(Path, "unlink", refuse)
    result = recorded.run("cleanup", "--json")
    assert result.exit_code == 1
    assert json.loads(result.stdout)["undeletable"] > 0
    assert str(path) in result.stderr
    assert "could not be deleted; the next cleanup tries again" in result.stderr


def test_cleanup_takes_no_negative_age(cli: Cli) -> None:
    assert "--ttl-hours" in cli.failed("cleanup", "--ttl-hours", "-1", code=2)

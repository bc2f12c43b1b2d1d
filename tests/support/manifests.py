"""What holds for every manifest."""

import hashlib
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from discord_recorder.audio.pcm import samples_to_ms
from discord_recorder.recording.finishing.manifest import Manifest, TrackPart
from discord_recorder.services.sql_recording import RecordingDict

REASONS: Final = {"paused", "opted_out", "disconnected", "undecryptable", "lost", "failed", "silence"}


def read_manifest(recording: RecordingDict) -> Manifest:
    """The manifest of a recording, from its file, after a look at whether it can be true."""
    assert recording["manifest_path"] is not None
    manifest: Manifest = json.loads(Path(recording["manifest_path"]).read_bytes())
    assert_true(manifest, recording)
    return manifest


def assert_true(manifest: Manifest, recording: RecordingDict) -> None:
    """It tells of exactly the files that are there, all of one length, and of each moment of each speaker once."""
    assert manifest["format"] == 1
    assert manifest["meeting"]["meeting_id"] == recording["meeting_id"]
    assert manifest["meeting"]["status"] == recording["status"]
    assert manifest["duration_ms"] == recording["duration_ms"] == samples_to_ms(manifest["duration_samples"])
    assert [part["user_id"] for part in manifest["tracks"]] == [track["user_id"] for track in recording["tracks"]]
    for part, track in zip(manifest["tracks"], recording["tracks"], strict=True):
        assert part["file"] == Path(track["path"]).name
        assert (part["sha256"], part["size_bytes"]) == (track["sha256"], track["size_bytes"])
        assert (part["name"], part["kind"]) == (track["name"], track["kind"])
        if track["master_path"] is None:
            assert (part["master_file"], part["master_sha256"]) == (None, None)
        else:
            master = Path(track["master_path"])
            assert part["master_file"] == master.name
            assert part["master_sha256"] == hashlib.sha256(master.read_bytes()).hexdigest()
        assert part["samples"] == manifest["duration_samples"]
        assert part["duration_ms"] == track["duration_ms"] == manifest["duration_ms"]
        assert [part["heard_ms"], part["lost_ms"], part["concealed_ms"]] == [
            track["heard_ms"],
            track["lost_ms"],
            track["concealed_ms"],
        ]
        assert part["undecryptable_ms"] == track["undecryptable_ms"]
        assert part["longest_gap_ms"] == track["longest_gap_ms"]
        if part["kind"] == "mix":
            assert (part["gaps"], part["heard_ms"]) == ([], None)
        else:
            _assert_covered(part)


def heard(part: TrackPart) -> list[tuple[int, int]]:
    """What the gaps of a track leave, in samples."""
    return list(_heard(part))


def gaps(part: TrackPart) -> list[tuple[int, int, str]]:
    """The gaps of a track: from, to and why, in milliseconds."""
    return [(gap["at_ms"], samples_to_ms(gap["at_sample"] + gap["samples"]), gap["reason"]) for gap in part["gaps"]]


def part_of(manifest: Manifest, user_id: int | None) -> TrackPart:
    """The part of a speaker; of the mix for None."""
    (part,) = (one for one in manifest["tracks"] if one["user_id"] == (None if user_id is None else str(user_id)))
    return part


def _heard(part: TrackPart) -> Iterator[tuple[int, int]]:
    end = 0
    for gap in part["gaps"]:
        if gap["at_sample"] > end:
            yield end, gap["at_sample"]
        end = gap["at_sample"] + gap["samples"]
    if end < part["samples"]:
        yield end, part["samples"]


def _assert_covered(part: TrackPart) -> None:
    end = 0
    for gap in part["gaps"]:
        assert gap["at_sample"] >= end, "gaps are in order and apart"
        assert gap["samples"] > 0
        assert gap["reason"] in REASONS
        assert abs(gap["at_ms"] - gap["at_sample"] / 48) <= 0.5
        assert abs(gap["duration_ms"] - gap["samples"] / 48) <= 0.5
        end = gap["at_sample"] + gap["samples"]
    assert end <= part["samples"]
    assert part["heard_ms"] == samples_to_ms(sum(last - first for first, last in _heard(part)))
    lost = sum(gap["samples"] for gap in part["gaps"] if gap["reason"] == "lost")
    assert part["lost_ms"] == samples_to_ms(lost)
    assert (part["concealed_ms"] or 0) <= part["lost_ms"]

from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path

import numpy as np
import pytest

from discord_recorder.audio.framefile import FrameFile
from discord_recorder.audio.id3 import id3v2_tag
from discord_recorder.audio.mp3 import id3v2_bytes
from discord_recorder.audio.opus import missing_packet
from discord_recorder.audio.opus_reader import read_ogg_opus
from discord_recorder.audio.opus_tags import with_comments
from discord_recorder.audio.tags import MOST_CHAPTERS, Chapter, Tags
from discord_recorder.errors import OggError
from tests.audio.opus_signals import encoded, speech, speech_file
from tests.audio.signals import encoded_at_once, played, speech_like, to_pcm
from tests.audio.test_opus_master import master, placed
from tests.support.players import shown

STARTED_AT = datetime(2026, 3, 1, 12, 0, 0, 123456, tzinfo=timezone(timedelta(hours=2)))


def chapters(count: int) -> list[Chapter]:
    return [Chapter(start_ms=n * 10, end_ms=(n + 1) * 10, title=f"Note {n} \u00fc\U0001f600") for n in range(count)]


def tags(count: int = 0) -> Tags:
    return Tags(
        title="Stand-up - Ad\u00e4", artist="Ad\u00e4", album="Stand-up", recorded_at=STARTED_AT, number=1, count=3,
        chapters=chapters(count),
    )  # fmt: skip


def as_shown(given: Tags) -> list[tuple[int, int, str]]:
    return [(one.start_ms, one.end_ms, one.title) for one in given.chapters]


class TestId3:
    @pytest.fixture
    def mp3(self, tmp_path: Path) -> Path:
        file = FrameFile.create(tmp_path / "a.mp3")
        file.append(encoded_at_once(to_pcm(speech_like(100_001))))
        file.finish(100_001)
        return file.path

    @pytest.mark.parametrize("count", [0, 1, 2, 255, 256, 600, MOST_CHAPTERS])
    def test_players_show_it_and_play_the_same(self, mp3: Path, count: int) -> None:
        given = tags(count)
        data, sound = mp3.read_bytes(), played(mp3)
        tag = id3v2_tag(given)
        assert id3v2_bytes(tag) == len(tag)
        mp3.write_bytes(tag + data)
        found = shown(mp3)
        assert found.chapters == as_shown(given)
        assert found.tags == {
            "title": given.title,
            "artist": given.artist,
            "album": "Stand-up",
            "date": "2026-03-01T10:00:00",
            "track": "1/3",
        }
        assert len(sound) == 100_001
        assert np.array_equal(played(mp3), sound)

    @pytest.mark.parametrize("count", [255, 256, 510, 511, MOST_CHAPTERS])
    def test_every_chapter_is_in_a_table_of_contents_that_the_top_one_leads_to(self, count: int) -> None:
        frames = list(frames_of(id3v2_tag(tags(count))))
        tables = {}
        for name, data in frames:
            if name == "CTOC":
                own, rest = data.split(b"\0", 1)
                entries = rest[2:].split(b"\0")[:-1]
                assert len(entries) == rest[1]
                tables[own] = (rest[0], entries)
        flags, entries = tables.pop(b"toc")
        assert flags == 3
        reached = [one for entry in entries for one in tables.pop(entry, (1, [entry]))[1]]
        assert not tables
        assert reached == [data.split(b"\0", 1)[0] for name, data in frames if name == "CHAP"]
        assert len(set(reached)) == count


def frames_of(tag: bytes) -> list[tuple[str, bytes]]:
    """By the structure document, section 4, without the code under test."""
    assert tag[:6] == b"ID3\4\0\0"
    found, at = [], 10
    while at < len(tag):
        sizes = tag[at + 4 : at + 8]
        assert max(sizes) < 0x80
        size = sizes[0] << 21 | sizes[1] << 14 | sizes[2] << 7 | sizes[3]
        assert tag[at + 8 : at + 10] == b"\0\0"
        found.append((tag[at : at + 4].decode(), tag[at + 10 : at + 10 + size]))
        at += 10 + size
    assert at == len(tag)
    return found


def retagged(data: bytes, given: Tags) -> bytes:
    return b"".join(with_comments(data, given.comments()))


class TestOpus:
    @pytest.mark.parametrize("count", [0, 3, MOST_CHAPTERS])
    def test_players_show_it_and_nothing_else_changes(self, tmp_path: Path, count: int) -> None:
        """Three notes fit a page, a thousand take more than the file had before; and back again."""
        packets = encoded(speech("Ada", 3.0))
        packets[40:42] = [missing_packet(packets[0], 960)] * 2
        data = master(placed(packets, 24_000), 200_003)
        (tmp_path / "before.opus").write_bytes(data)
        given = tags(count)
        after = tmp_path / "after.opus"
        after.write_bytes(retagged(data, given))
        found = shown(after)
        assert [(start, title) for start, _, title in found.chapters] == [
            (start, title) for start, _, title in as_shown(given)
        ]
        assert {name: value for name, value in found.tags.items() if not name.startswith("chapter")} == {
            "title": given.title,
            "artist": given.artist,
            "album": "Stand-up",
            "date": "2026-03-01T10:00:00Z",
            "track": "1",
            "tracktotal": "3",
        }
        assert read_ogg_opus(after.read_bytes()) == read_ogg_opus(data)
        assert np.array_equal(played(after), played(tmp_path / "before.opus"))
        again = retagged(after.read_bytes(), tags(3))
        assert again == retagged(data, tags(3))

    def test_another_programs_file_keeps_its_own_header(self, tmp_path: Path) -> None:
        after = tmp_path / "after.opus"
        after.write_bytes(retagged(speech_file("Ada").read_bytes(), tags(3)))
        assert np.array_equal(played(after), played(speech_file("Ada")))
        assert read_ogg_opus(after.read_bytes()) == read_ogg_opus(speech_file("Ada").read_bytes())

    @pytest.mark.parametrize("at", [3, 60, 400, -3])
    def test_damage_is_told(self, at: int) -> None:
        data = bytearray(master(placed(encoded(speech("Ada", 1.0))), 48_000))
        data[at] ^= 1
        with pytest.raises(OggError):
            retagged(bytes(data), tags())

    @pytest.mark.parametrize("data", [b"", b"no Ogg", b"OggS"])
    def test_no_ogg_is_told(self, data: bytes) -> None:
        with pytest.raises(OggError):
            retagged(data, tags())

    def test_a_file_that_ends_within_its_comments(self) -> None:
        data = retagged(master(placed(encoded(speech("Ada", 1.0))), 48_000), tags(MOST_CHAPTERS))
        with pytest.raises(OggError):
            retagged(data[:65_400], tags())


def test_the_date_is_told_in_utc() -> None:
    assert "DATE=2026-03-01T10:00:00Z" in tags().comments()
    assert STARTED_AT.astimezone(UTC).hour == 10


def test_chapters_as_comments() -> None:
    one = Chapter(start_ms=3_723_004, end_ms=3_800_000, title="a=b")
    given = Tags(title="", artist="", album="", recorded_at=STARTED_AT, number=1, count=1, chapters=[one])
    assert given.comments()[-2:] == ["CHAPTER001=01:02:03.004", "CHAPTER001NAME=a=b"]

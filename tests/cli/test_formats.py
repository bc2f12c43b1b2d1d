from datetime import UTC, datetime

import pytest

from discord_recorder.cli.formats import clock, count, printable, size, when


@pytest.mark.parametrize(
    ("ms", "text"), [(0, "0:00:00"), (79_180, "0:01:19"), (3_599_600, "1:00:00"), (360_000_000, "100:00:00")]
)
def test_clock(ms: float, text: str) -> None:
    assert clock(ms) == text


@pytest.mark.parametrize(
    ("number", "text"),
    [(0, "0 bytes"), (1023, "1023 bytes"), (1024, "1.0 KiB"), (3 << 40, "3.0 TiB"), (1 << 52, "4096.0 TiB")],
)
def test_size(number: int, text: str) -> None:
    assert size(number) == text


def test_printable() -> None:
    assert printable("Zo\u00eb\t\x1b[2J\u202e\n") == "Zo\u00eb \ufffd[2J\ufffd "


def test_count_and_when() -> None:
    assert (count(1, "chunk"), count(0, "chunk")) == ("1 chunk", "0 chunks")
    assert when(None) == "-"
    assert when(datetime(2026, 3, 1, tzinfo=UTC)).startswith("2026-0")

import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from discord_recorder.recording.export.names import distinct, safe_part


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("Ada", "Ada"),
        (' a/b:c\\d*?"<>| ', "a_b_c_d______"),
        ("one\ttwo\nthree", "one two three"),
        ("...hidden...", "hidden"),
        ("Zoe\u0308 \U0001f600", "Zo\u00eb \U0001f600"),
        ("\x1b\u202e\x00", "instead"),
        ("", "instead"),
    ],
)
def test_parts(text: str, name: str) -> None:
    assert safe_part(text, "instead") == name


@given(st.text())
def test_any_text_is_made_safe(text: str) -> None:
    part = safe_part(text.encode(errors="replace").decode(), "instead")
    assert part
    assert not set(part) & set('<>:"/\\|?*\x00')
    assert part.isprintable()
    assert part[0] not in ". "
    assert part[-1] not in ". "
    assert len(part.encode()) <= 80


def test_equal_names_are_numbered_whatever_their_case() -> None:
    assert distinct([("a", ".mp3"), ("A", ".mp3"), ("a", ".flac"), ("a", ".mp3"), ("a (2)", ".mp3")]) == [
        "a.mp3",
        "A (2).mp3",
        "a.flac",
        "a (3).mp3",
        "a (2) (2).mp3",
    ]


@given(st.lists(st.tuples(st.text(), st.sampled_from([".mp3", ".flac"]))))
def test_names_are_distinct_to_any_file_system(names: list[tuple[str, str]]) -> None:
    chosen = distinct(names)
    assert len({unicodedata.normalize("NFC", name).casefold() for name in chosen}) == len(names)

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from discord_recorder import DiscordRecorderError, InvalidIdError, UserError, generate_16_char_uuid
from discord_recorder.ids import parse_meeting_id, parse_snowflake

LIMIT = 2**64


def test_generated_meeting_ids_are_hexadecimal_and_differ() -> None:
    made = {generate_16_char_uuid() for _ in range(1000)}
    assert len(made) == 1000
    assert all(re.fullmatch(r"[0-9a-f]{16}", one) for one in made)
    assert all(parse_meeting_id(one) == one for one in made)


@given(st.from_regex(r"[0-9a-z]{16}", fullmatch=True, alphabet=st.characters(codec="ascii")))
def test_meeting_ids_are_taken_as_they_are(text: str) -> None:
    assert parse_meeting_id(text) == text


@given(
    st.one_of(
        st.text(),
        st.text("0123456789abcdefghijklmnopqrstuvwxyz", min_size=14, max_size=18).filter(lambda text: len(text) != 16),
        st.integers(),
        st.binary(),
        st.none(),
        st.sampled_from(
            [
                "ABC123XYZ7890DEF",
                "abc123xyz7890de\n",
                "abc123xyz7890def\n",
                "../../../../../x",
                "\N{ARABIC-INDIC DIGIT ONE}" * 16,
            ]
        ),
    )
)
def test_anything_else_is_no_meeting_id(value: object) -> None:
    if isinstance(value, str) and re.fullmatch(r"[0-9a-z]{16}", value, re.ASCII):
        return
    with pytest.raises(InvalidIdError, match="16 characters") as caught:
        parse_meeting_id(value)
    assert isinstance(caught.value, UserError)
    assert isinstance(caught.value, DiscordRecorderError)


@given(st.integers(1, LIMIT - 1))
def test_discord_ids_may_be_int_or_text(number: int) -> None:
    assert parse_snowflake(number, "user id") == str(number)
    assert parse_snowflake(str(number), "user id") == str(number)
    assert parse_snowflake(f" {number}\n", "user id") == str(number)


def test_one_id_has_one_spelling() -> None:
    assert parse_snowflake("0042", "user id") == parse_snowflake(42, "user id") == "42"


@given(
    st.one_of(
        st.integers(max_value=0),
        st.integers(min_value=LIMIT),
        st.text().filter(lambda text: not re.fullmatch(r"\s*[0-9]{1,20}\s*", text, re.ASCII)),
        st.floats(),
        st.booleans(),
        st.none(),
        st.binary(),
        st.sampled_from(
            [
                "0",
                "00",
                "-1",
                "+1",
                "1_000",
                "1e3",
                "0x10",
                "\N{ARABIC-INDIC DIGIT FOUR}",
                "12 34",
                str(LIMIT),
                "unknown",
                "mix",
            ]
        ),
    )
)
def test_anything_else_is_no_discord_id(value: object) -> None:
    with pytest.raises(InvalidIdError, match="is not a user id"):
        parse_snowflake(value, "user id")


def test_a_monstrous_int_is_no_id_either() -> None:
    with pytest.raises(InvalidIdError, match="is not a meeting id"):
        parse_meeting_id(10**5000)
    with pytest.raises(InvalidIdError, match="is not a user id"):
        parse_snowflake(10**5000, "user id")

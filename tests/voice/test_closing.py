"""The close codes as the protocol document lists them."""

import pytest

from discord_recorder.voice.closing import CLOSE_RULES, Reaction, rule_for


@pytest.mark.parametrize(
    ("codes", "reaction"),
    [
        ((None, 1006, 4015), Reaction.RESUME),
        ((1000, 1001, 1011, 4000, 4999), Reaction.RESUME),
        ((4006, 4009), Reaction.REJOIN),
        ((4014, 4022), Reaction.ASK_MAIN_GATEWAY),
        ((4016,), Reaction.OTHER_MODE),
        ((4017, 4021), Reaction.GIVE_UP),
        ((4001, 4002, 4003, 4004, 4005, 4011, 4012, 4020), Reaction.FRESH_ONCE),
    ],
)
def test_every_code_has_its_reaction(codes: tuple[int | None, ...], reaction: Reaction) -> None:
    assert {rule_for(code).reaction for code in codes} == {reaction}


def test_every_code_is_explained() -> None:
    assert all(rule.meaning for rule in CLOSE_RULES.values())

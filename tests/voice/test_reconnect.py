"""The ladder of reconnects, in virtual time."""

import pytest

from discord_recorder.voice.reconnect import BACKOFF_SECONDS, Loss, LossKind, ReconnectPolicy, Step
from discord_recorder.voice.sink import Ended, EndReason


def closed(code: int | None) -> Loss:
    return Loss(kind=LossKind.CLOSED, code=code)


def lived(seconds: float = 100.0, *, reconnect: bool = True) -> ReconnectPolicy:
    policy = ReconnectPolicy(reconnect=reconnect)
    policy.established(-seconds)
    return policy


@pytest.mark.parametrize(
    ("loss", "step"),
    [
        (closed(4015), Step.RESUME),
        (closed(1006), Step.RESUME),
        (closed(None), Step.RESUME),
        (Loss(kind=LossKind.UNRESPONSIVE), Step.RESUME),
        (closed(4006), Step.REJOIN),
        (closed(4009), Step.REJOIN),
        (closed(4014), Step.AWAIT),
        (closed(4022), Step.AWAIT),
        (Loss(kind=LossKind.NO_ENDPOINT), Step.AWAIT),
        (closed(4016), Step.IDENTIFY),
        (closed(4004), Step.REJOIN),
        (Loss(kind=LossKind.PROTOCOL), Step.REJOIN),
        (Loss(kind=LossKind.DEAF), Step.REJOIN),
        (closed(4017), Step.END),
        (closed(4021), Step.END),
    ],
)
def test_the_first_step_is_the_tables_and_at_once(loss: Loss, step: Step) -> None:
    plan = lived().lost(loss, 0.0, can_resume=True)
    assert (plan.step, plan.delay_seconds) == (step, 0.0)


def test_the_ladder_is_resume_identify_rejoin() -> None:
    policy = lived()
    steps = [policy.lost(closed(None), float(now), can_resume=True).step for now in range(6)]
    assert steps == [Step.RESUME, Step.RESUME, Step.IDENTIFY, Step.REJOIN, Step.REJOIN, Step.REJOIN]


def test_a_session_never_established_is_not_resumed() -> None:
    assert ReconnectPolicy().lost(closed(None), 0.0, can_resume=False).step is Step.IDENTIFY


def test_a_resume_that_is_refused_leads_to_a_new_session() -> None:
    policy = lived()
    policy.lost(closed(4015), 0.0, can_resume=True)
    assert policy.lost(closed(4006), 0.1, can_resume=True).step is Step.REJOIN


@pytest.mark.parametrize("code", [4001, 4002, 4003, 4004, 4005, 4011, 4012, 4020])
def test_a_refusal_gets_one_fresh_session(code: int) -> None:
    policy = lived()
    assert policy.lost(closed(code), 0.0, can_resume=True).step is Step.REJOIN
    plan = policy.lost(closed(code), 0.1, can_resume=False)
    assert plan.ended == Ended(reason=EndReason.REFUSED, close_code=code)
    assert str(code) in str(plan.ended)


def test_a_refusal_is_forgiven_after_a_good_minute() -> None:
    policy = lived()
    policy.lost(closed(4004), 0.0, can_resume=True)
    policy.established(1.0)
    assert policy.lost(closed(4004), 62.0, can_resume=True).step is Step.REJOIN


def test_another_mode_is_tried_once() -> None:
    policy = lived()
    plan = policy.lost(closed(4016), 0.0, can_resume=False)
    assert plan.other_mode
    assert policy.lost(closed(4016), 0.1, can_resume=False).ended == Ended(reason=EndReason.REFUSED, close_code=4016)


@pytest.mark.parametrize(("code", "reason"), [(4017, EndReason.E2EE_REQUIRED), (4021, EndReason.RATE_LIMITED)])
def test_what_cannot_be_mended_ends_it(code: int, reason: EndReason) -> None:
    assert lived().lost(closed(code), 0.0, can_resume=True).ended == Ended(reason=reason, close_code=code)


def test_attempts_back_off_and_end() -> None:
    policy, now, pauses = lived(), 0.0, []
    while (plan := policy.lost(Loss(kind=LossKind.UNREACHABLE), now, can_resume=False)).step is not Step.END:
        pauses.append(plan.delay_seconds)
        now += plan.delay_seconds + 5
    assert pauses[: len(BACKOFF_SECONDS)] == list(BACKOFF_SECONDS)
    assert set(pauses[len(BACKOFF_SECONDS) :]) == {BACKOFF_SECONDS[-1]}
    assert 900 <= now < 930
    assert plan.ended == Ended(reason=EndReason.GAVE_UP)


def test_a_connection_that_lasted_starts_the_back_off_anew() -> None:
    policy = lived()
    for now in range(5):
        policy.lost(closed(None), float(now), can_resume=False)
    policy.established(10.0)
    assert policy.lost(closed(None), 12.0, can_resume=True).delay_seconds > 0  # it did not last
    policy.established(13.0)
    assert policy.lost(closed(None), 20.0, can_resume=True).delay_seconds == 0


def test_nothing_is_tried_when_reconnecting_is_off() -> None:
    plan = lived(reconnect=False).lost(closed(4015), 0.0, can_resume=True)
    assert plan.ended == Ended(reason=EndReason.NO_RECONNECT, close_code=4015)


class TestHealing:
    def test_is_at_once_and_then_rarer_while_it_does_not_help(self) -> None:
        policy = ReconnectPolicy()
        healed = [now for now in range(1000) if policy.deaf(float(now), heard=False)]
        assert healed[:6] == [0, 15, 45, 105, 225, 525]

    def test_keeps_its_pace_when_it_helps(self) -> None:
        policy = ReconnectPolicy()
        healed = [now for now in range(100) if policy.deaf(float(now), heard=True)]
        assert healed == list(range(0, 100, 10))

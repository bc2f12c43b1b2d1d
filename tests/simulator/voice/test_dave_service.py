"""The delivery service with real davey sessions: races, churn, bad commits, resets and versions."""

import random

import davey
import pytest

from discord_recorder.simulator.voice.dave_group import Refusal
from discord_recorder.simulator.voice.dave_service import STALL_SECONDS, STALL_SECONDS_EACH
from discord_recorder.simulator.voice.outgoing import Op
from discord_recorder.simulator.voice.transitions import TRANSITION_SECONDS
from tests.simulator.voice.dave_clients import Call, DaveClient

SEEDS = range(5)
A, B, C, D = 1001, 1002, 1003, 1004


def _together(*users: int, seed: int = 0) -> Call:
    call = Call(seed)
    for user in users:
        call.join(user)
        call.settle()
    call.check_all_hear_all()
    return call


@pytest.mark.parametrize("seed", SEEDS)
def test_two_get_into_one_group(seed: int) -> None:
    call = Call(seed)
    call.join(A)
    call.join(B)
    call.settle()
    call.check_all_hear_all()
    assert call.service.epoch == 1
    assert [c.executed for c in call.clients.values()] == [[0], [0]]


@pytest.mark.parametrize("seed", SEEDS)
def test_five_who_come_at_once_get_into_one_group(seed: int) -> None:
    call = Call(seed)
    for user in range(A, A + 5):
        call.join(user)
    call.settle()
    call.check_all_hear_all()
    assert not any(c.resets for c in call.clients.values())


@pytest.mark.parametrize("seed", SEEDS)
def test_many_are_added_together(seed: int) -> None:
    call = Call(seed, batch_seconds=1.0)
    for user in range(A, A + 12):
        call.join(user)
    call.settle()
    assert call.service.epoch == 0
    assert not call.service.settled
    call.leave(A)  # before it was proposed
    call.now = 1.0
    call.route(call.service.expire(call.now))
    call.settle()
    call.check_all_hear_all()
    assert call.service.epoch == 1
    for user in range(A + 20, A + 24):
        call.join(user)
    call.settle()
    call.now = 2.0
    call.route(call.service.expire(call.now))
    call.settle()
    call.check_all_hear_all()
    assert call.service.epoch == 2
    assert sum(call.service.refused.values()) <= 22  # of 11 members each, one commit an epoch


@pytest.mark.parametrize("seed", SEEDS)
def test_each_join_and_leave_is_a_new_epoch(seed: int) -> None:
    call = _together(A, B, C, seed=seed)
    epoch = call.service.epoch
    call.leave(B)
    call.settle()
    call.check_all_hear_all()
    assert call.service.epoch == epoch + 1
    call.join(B)
    call.settle()
    call.check_all_hear_all()
    assert call.service.epoch == epoch + 2
    assert call.service.settled


def test_a_leaver_opens_nothing_of_the_next_epoch() -> None:
    call = _together(A, B, C)
    gone = call.clients[C]
    call.leave(C)
    call.settle()
    sealed = call.clients[A].session.encrypt_opus(b"x" * 40)
    with pytest.raises(ValueError, match="NoValidCryptor"):
        gone.session.decrypt(A, davey.MediaType.audio, sealed)


@pytest.mark.parametrize("seed", SEEDS)
def test_churn_ends_in_one_group(seed: int) -> None:
    call, lot = _together(A, B, seed=seed), random.Random(seed)
    for _ in range(40):
        user = lot.randrange(C, C + 5)
        if user in call.clients:
            call.leave(user)
        else:
            call.join(user)
        for _ in range(lot.randrange(6)):  # the next change comes while this one is under way
            call.step()
    call.settle()
    call.check_all_hear_all()


@pytest.mark.parametrize("seed", SEEDS)
def test_raced_commits_one_wins(seed: int) -> None:
    call = _together(A, B, C, seed=seed)
    epoch, raced = call.service.epoch, call.service.refused[Refusal.PAST_EPOCH]
    call.join(D)
    call.settle()
    call.check_all_hear_all()
    assert call.service.epoch == epoch + 1
    assert set(call.service.refused) == {Refusal.PAST_EPOCH}
    assert call.service.refused[Refusal.PAST_EPOCH] - raced == 2  # A, B and C committed, one was chosen


@pytest.mark.parametrize("wins", [A, B])
def test_whose_commit_wins_can_be_chosen(wins: int) -> None:
    call = Call()
    call.service.passed_over = {A, B} - {wins}
    call.join(A)
    call.join(B)
    call.settle()
    call.check_all_hear_all()
    assert call.clients[wins].session.own_leaf_index == 0
    assert call.service.refused.keys() <= {Refusal.PASSED_OVER, Refusal.PAST_EPOCH}


def test_a_welcome_left_out_by_davey_is_refused_and_proposed_again() -> None:
    call = _together(A, B, C)
    joining = call.join(D)
    while joining.outbox:
        call.send(D, *joining.outbox.popleft())  # the Add is in flight; nobody has read it
    call.leave(C)  # the last op 27 holds only a Remove: davey commits both and makes no Welcome
    assert not call.service.refused[Refusal.NO_WELCOME]
    call.settle()
    assert call.service.refused[Refusal.NO_WELCOME]
    call.check_all_hear_all()
    assert not any(c.resets for c in call.clients.values())


def test_a_commit_without_its_welcome_is_given_up_after_some_tries() -> None:
    call = _together(A, B)
    for client in call.clients.values():
        client.keep_welcome = lambda welcome: None
    call.join(C)
    for _ in range(2000):
        if call.clients[A].resets:
            break
        assert call.step()
    for client in call.clients.values():
        client.keep_welcome = lambda welcome: welcome
    call.settle()
    call.check_all_hear_all()
    assert call.service.refused[Refusal.NO_WELCOME] >= 3


@pytest.mark.parametrize("user", [A, B, C])
@pytest.mark.parametrize("seed", SEEDS)
def test_op_31_brings_the_client_back(user: int, seed: int) -> None:
    call = _together(A, B, C, seed=seed)
    call.clients[user].break_commits = 1
    call.join(D)
    call.settle()
    assert call.clients[user].resets == 1
    call.check_all_hear_all()


@pytest.mark.parametrize("seed", SEEDS)
def test_all_members_reset_at_once_makes_a_new_group(seed: int) -> None:
    call = _together(A, B, seed=seed)
    for client in call.clients.values():
        client.break_commits = 1
    call.join(C)
    call.settle()
    call.check_all_hear_all()


def test_the_last_one_begins_anew_and_the_next_one_is_heard() -> None:
    call = _together(A, B)
    call.leave(B)
    call.settle()
    assert call.service.epoch == 0
    assert call.clients[A].executed[-1] == 0
    call.join(C)
    call.settle()
    call.check_all_hear_all()


def test_a_joiner_whose_only_partners_left_is_not_forgotten() -> None:
    call = _together(A, B)
    call.join(C)
    call.join(D)
    for user in (C, D):
        while call.clients[user].outbox:
            call.send(user, *call.clients[user].outbox.popleft())
    call.leave(A)
    call.leave(B)
    call.settle()
    call.check_all_hear_all()
    assert set(call.service.members) == {C, D}


def test_pending_members_leave_before_the_first_commit() -> None:
    call = Call()
    for user in (A, B, C):
        client = call.join(user)
        call.send(user, *client.outbox.popleft())
    call.leave(C)
    call.settle()
    call.check_all_hear_all()


def test_transitions_are_executed_when_all_are_ready_or_late() -> None:
    call = _together(A, B)
    call.join(C)
    call.settle()
    assert {c.executed[-1] for c in call.clients.values()} == {1}

    call.leave(C)
    stuck = call.clients[B]
    while call.service.epoch == 2:
        assert call.step()
    while stuck.inbox:
        stuck.inbox.popleft()  # B never gets to be ready
    stuck.outbox.clear()
    call.settle()
    assert call.clients[A].executed[-1] == 1
    assert call.service.expire(call.now + TRANSITION_SECONDS - 0.01) == []
    executed = call.service.expire(call.now + TRANSITION_SECONDS)
    assert sorted((m.user_id, m.op) for m in executed) == [(A, Op.EXECUTE_TRANSITION), (B, Op.EXECUTE_TRANSITION)]


def test_proposals_that_nobody_commits_are_made_again() -> None:
    call = _together(A, B)
    joiner = call.join(C)
    call.send(C, *joiner.outbox.popleft())
    for user in (A, B):
        call.clients[user].inbox.clear()
    call.settle()
    assert C not in call.service.members
    call.now += STALL_SECONDS + STALL_SECONDS_EACH - 0.01
    assert call.service.expire(call.now) == []
    call.now += 0.01
    for message in call.service.expire(call.now):
        if isinstance(message.content, bytes) and message.content[0] == 0:  # these members have nothing to revoke
            call.route([message])
    call.settle()
    call.check_all_hear_all()


@pytest.mark.parametrize("seed", SEEDS)
def test_down_to_version_0_and_up_again(seed: int) -> None:
    call = _together(A, B, C, seed=seed)
    call.route(call.service.change_version(0, call.now))
    call.settle()
    assert {c.version for c in call.clients.values()} == {0}
    assert call.service.members == ()
    call.join(D)
    call.settle()
    assert call.clients[D].version == 0
    call.route(call.service.change_version(1, call.now))
    call.settle()
    assert {c.version for c in call.clients.values()} == {1}
    assert {c.executed[-1] > 0 for c in call.clients.values()} == {True}
    call.check_all_hear_all()


def test_a_call_that_began_at_0_goes_up_even_for_one() -> None:
    call = Call(version=0)
    call.join(A)
    call.settle()
    call.route(call.service.change_version(1, call.now))
    call.settle()
    assert call.clients[A].version == 1
    assert call.clients[A].executed == [0]
    call.join(B)
    call.settle()
    call.check_all_hear_all()


def test_garbage_changes_nothing() -> None:
    call = _together(A, B)
    package = DaveClient(C).outbox[0][1]
    assert isinstance(package, bytes)
    assert call.service.key_package(A, b"", 0.0) == []
    assert call.service.key_package(A, package, 0.0) == []  # of somebody else
    lot = random.Random(1)
    for _ in range(300):
        body = bytearray(package)
        body[lot.randrange(len(body))] ^= 1 << lot.randrange(8)
        assert call.service.key_package(C, bytes(body), 0.0) == []
        assert call.service.commit(A, lot.randbytes(lot.randrange(80)), 0.0) == []
    assert call.service.invalid(9999, 0.0) == []
    assert call.service.ready(A, 77) == []
    assert call.service.refused[Refusal.MALFORMED] == 300
    call.check_all_hear_all()

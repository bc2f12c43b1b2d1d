"""What the delivery service reads, from real davey sessions and from noise."""

import davey
import pytest
from hypothesis import given
from hypothesis import strategies as st

from discord_recorder.errors import MlsError
from discord_recorder.simulator.voice.external_sender import ExternalSender
from discord_recorder.simulator.voice.mls import WireFormat, message, read_commit_welcome, read_key_package
from discord_recorder.simulator.voice.wire import vector

CHANNEL = 77
APPEND = davey.ProposalsOperationType.append


def _session(sender: ExternalSender, user_id: int) -> davey.DaveSession:
    session = davey.DaveSession(1, user_id, CHANNEL)
    session.set_external_sender(sender.package)
    return session


def test_key_packages_are_read_bare_and_wrapped() -> None:
    bare = davey.DaveSession(1, 1001, CHANNEL).get_serialized_key_package()
    package = read_key_package(bare)
    assert package.user_id == 1001
    assert package == read_key_package(message(WireFormat.KEY_PACKAGE, bare))


def test_a_commit_names_what_was_proposed_and_its_welcome_whom_it_adds() -> None:
    sender = ExternalSender(CHANNEL.to_bytes(8))
    author = _session(sender, 1001)
    packages = [read_key_package(_session(sender, user).get_serialized_key_package()) for user in (1002, 1003)]
    proposals = [sender.add(0, package) for package in packages]
    made = author.process_proposals(APPEND, vector(b"".join(one.message for one in proposals)), [1002, 1003])
    assert made is not None
    assert made.welcome is not None
    commit, welcome = read_commit_welcome(made.commit + made.welcome)
    assert (commit.group_id, commit.epoch, commit.sender_leaf) == (CHANNEL.to_bytes(8), 0, 0)
    assert set(commit.proposals) == {one.ref for one in proposals}
    assert welcome is not None
    assert welcome.new_members == {package.ref for package in packages}
    assert commit.encoded + welcome.encoded == made.commit + made.welcome


def test_a_removal_brings_a_new_path_of_the_author() -> None:
    sender = ExternalSender(CHANNEL.to_bytes(8))
    author, other = _session(sender, 1001), _session(sender, 1002)
    key = read_key_package(author.get_serialized_key_package()).signature_key
    proposal = sender.add(0, read_key_package(other.get_serialized_key_package()))
    made = author.process_proposals(APPEND, vector(proposal.message))
    assert made is not None
    author.process_commit(made.commit)
    removal = sender.remove(1, 1002, 1)
    made = author.process_proposals(APPEND, vector(removal.message))
    assert made is not None
    commit, welcome = read_commit_welcome(made.commit)
    assert welcome is None
    assert (commit.epoch, commit.proposals, commit.path_signature_key) == (1, (removal.ref,), key)


def test_a_proposal_of_another_sender_is_refused_by_davey() -> None:
    sender, stranger = ExternalSender(CHANNEL.to_bytes(8)), ExternalSender(CHANNEL.to_bytes(8))
    author, other = _session(sender, 1001), _session(sender, 1002)
    proposal = stranger.add(0, read_key_package(other.get_serialized_key_package()))
    with pytest.raises(ValueError, match=r"[Ss]ignature"):
        author.process_proposals(APPEND, vector(proposal.message))


def test_every_changed_bit_of_a_key_package_is_noticed() -> None:
    encoded = davey.DaveSession(1, 1001, CHANNEL).get_serialized_key_package()
    for at in range(len(encoded)):
        changed = bytearray(encoded)
        changed[at] ^= 1 << at % 8
        with pytest.raises(MlsError):
            read_key_package(bytes(changed))


@given(st.binary(max_size=300))
def test_only_the_documented_error_escapes(noise: bytes) -> None:
    for read in (read_key_package, read_commit_welcome):
        for data in (noise, bytes.fromhex("00010001") + noise, bytes.fromhex("00010002") + noise):
            with pytest.raises(MlsError):
                read(data)

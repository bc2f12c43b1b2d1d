"""The delivery service's view of an MLS group: epoch, who sits at which leaf, which proposals wait for a commit."""

from dataclasses import dataclass
from enum import StrEnum

from discord_recorder.simulator.voice.external_sender import ExternalSender, Proposal
from discord_recorder.simulator.voice.mls import Commit, KeyPackage, Welcome


class Refusal(StrEnum):
    """Why a commit is not the one that ends its epoch."""

    MALFORMED = "malformed"
    """Not readable, or it holds what DAVE forbids."""
    NOT_A_MEMBER = "not a member"
    """Its author is not in the group, or about to be removed from it."""
    PAST_EPOCH = "past epoch"
    """Another commit was chosen before."""
    FOREIGN = "foreign"
    """Of another group or leaf, or with another signature key than its author's."""
    NOT_ALL_PROPOSALS = "not all proposals"
    """It does not name exactly the proposals in flight."""
    NO_WELCOME = "no welcome"
    """It adds somebody and has no welcome for them."""
    PASSED_OVER = "passed over"
    """Its author was told to be passed over while others can commit."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Leaf:
    """A member's place in the tree."""

    user_id: int
    package: KeyPackage


@dataclass(frozen=True, slots=True, kw_only=True)
class NextEpoch:
    """What a chosen commit did."""

    announced_to: tuple[int, ...]
    welcomed: tuple[int, ...]


class DaveGroup:
    """One group from its first epoch to its end. Until the first commit there is no group, only those who wait for it.

    While there is none every waiting client has a group of its own at epoch 0; the commit of one of them makes it the
    group of all.
    """

    def __init__(self, group_id: bytes, sender: ExternalSender) -> None:
        self._group_id = group_id
        self._sender = sender
        self._leaves: list[Leaf | None] = []
        self.epoch = 0
        self.packages: dict[int, KeyPackage] = {}
        """Of those who wait to be added."""
        self.in_flight: dict[bytes, Proposal] = {}
        """Proposals of this epoch that no commit has ended and nobody revoked, by ProposalRef."""

    @property
    def established(self) -> bool:
        """There has been a first commit."""
        return self.epoch > 0

    @property
    def committers(self) -> tuple[int, ...]:
        """Users whose commit would count: all members that are to stay; before the first commit all who wait."""
        if not self.established:
            return tuple(self.packages)
        going = self._going()
        return tuple(leaf.user_id for at, leaf in enumerate(self._leaves) if leaf is not None and at not in going)

    def expected_of(self, user_id: int) -> dict[bytes, Proposal]:
        """The proposals that this user's commit has to name: all but the one to add the user."""
        return {ref: one for ref, one in self.in_flight.items() if one.added is None or one.user_id != user_id}

    def propose_add(self, package: KeyPackage) -> Proposal:
        """Propose to add somebody who waits."""
        self.packages[package.user_id] = package
        return self._fly(self._sender.add(self.epoch, package))

    def propose_remove(self, user_id: int) -> Proposal | None:
        """Propose to remove a member; None when there is none, or it is proposed already."""
        going = self._going()
        for at, leaf in enumerate(self._leaves):
            if leaf is not None and leaf.user_id == user_id and at not in going:
                return self._fly(self._sender.remove(self.epoch, user_id, at))
        return None

    def withdraw_add(self, user_id: int) -> Proposal | None:
        """Forget the key package of somebody who waits; gives the proposal that is to be revoked, if one was made."""
        self.packages.pop(user_id, None)
        for ref, proposal in self.in_flight.items():
            if proposal.added is not None and proposal.user_id == user_id:
                del self.in_flight[ref]
                return proposal
        return None

    def propose_again(self) -> list[tuple[Proposal, Proposal]]:
        """Sign all proposals in flight anew, so that they have other references; gives (old, new) pairs."""
        pairs = []
        for old in list(self.in_flight.values()):
            del self.in_flight[old.ref]
            new = self._sender.sign_again(self.epoch, old)
            pairs.append((old, self._fly(new)))
        return pairs

    def refusal_of(self, user_id: int, commit: Commit, welcome: Welcome | None) -> Refusal | None:
        """Why this commit cannot end the epoch; None when it can."""
        if commit.epoch != self.epoch:
            return Refusal.PAST_EPOCH
        if user_id not in self.committers:
            return Refusal.NOT_A_MEMBER
        if not self._is_authors(user_id, commit):
            return Refusal.FOREIGN
        expected = self.expected_of(user_id)
        if not expected or len(commit.proposals) != len(expected) or set(commit.proposals) != expected.keys():
            return Refusal.NOT_ALL_PROPOSALS
        added = {one.added.ref for one in expected.values() if one.added is not None}
        if added != (welcome.new_members if welcome is not None else frozenset()):
            return Refusal.NO_WELCOME
        return None

    def apply(self, user_id: int, commit: Commit) -> NextEpoch:
        """Go to the next epoch by a commit that was not refused."""
        expected = self.expected_of(user_id)
        announced_to = self.committers if self.established else (user_id,)
        if not self.established:
            self._leaves = [Leaf(user_id=user_id, package=self.packages.pop(user_id))]
        named = [expected[ref] for ref in commit.proposals]
        for proposal in named:
            if proposal.removed_leaf is not None:
                self._leaves[proposal.removed_leaf] = None
        welcomed = [proposal.added for proposal in named if proposal.added is not None]
        for package in welcomed:
            self._seat(Leaf(user_id=package.user_id, package=package))
            self.packages.pop(package.user_id, None)
        self.in_flight.clear()
        self.epoch += 1
        return NextEpoch(announced_to=announced_to, welcomed=tuple(package.user_id for package in welcomed))

    def _is_authors(self, user_id: int, commit: Commit) -> bool:
        if commit.group_id != self._group_id:
            return False
        if self.established:
            leaf = self._leaves[commit.sender_leaf] if commit.sender_leaf < len(self._leaves) else None
            package = leaf.package if leaf is not None and leaf.user_id == user_id else None
        else:
            package = self.packages[user_id] if commit.sender_leaf == 0 else None
        if package is None or commit.sender_leaf in self._going():
            return False
        return commit.path_signature_key in (None, package.signature_key)

    def _seat(self, leaf: Leaf) -> None:
        """Put a new member at the leftmost free leaf (RFC 9420, section 7.7)."""
        for at, taken in enumerate(self._leaves):
            if taken is None:
                self._leaves[at] = leaf
                return
        self._leaves.append(leaf)

    def _going(self) -> set[int]:
        return {one.removed_leaf for one in self.in_flight.values() if one.removed_leaf is not None}

    def _fly(self, proposal: Proposal) -> Proposal:
        self.in_flight[proposal.ref] = proposal
        return proposal

"""The DAVE delivery service of one call: it proposes, chooses commits, welcomes, and times the transitions.

Nothing here knows a socket or a clock: messages of clients come in with the time (monotonic seconds), messages for
clients come out. It can check all of a commit but its signature and tags; the other members do that.
Source: the DAVE whitepaper, "Group Key Exchange" and "Voice Gateway Opcodes"; PROTOCOL, "DAVE".
"""

from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from logging import getLogger
from typing import Any, Final

from discord_recorder.errors import MlsError
from discord_recorder.simulator.voice.dave_group import DaveGroup, Refusal
from discord_recorder.simulator.voice.external_sender import ExternalSender, Proposal
from discord_recorder.simulator.voice.mls import KeyPackage, read_commit_welcome, read_key_package
from discord_recorder.simulator.voice.outgoing import Op, Outgoing
from discord_recorder.simulator.voice.transitions import INITIAL, Due, Transitions
from discord_recorder.simulator.voice.wire import vector

STALL_SECONDS: Final = 5.0
"""Proposals that nobody commits for this long are revoked and proposed again."""

STALL_SECONDS_EACH: Final = 1.0
"""What is added to that for every proposal in flight: a commit takes the longer the more it adds."""

_TRIES: Final = 3
"""How often proposals of one epoch are made again before the group is given up."""

_APPEND: Final = b"\x00"
_REVOKE: Final = b"\x01"
_FIRST_EPOCH: Final = 1

_log = getLogger(__name__)


class DaveService:
    """Delivery service for the clients of one call; `channel_id` is the group's id, `version` 0 means no encryption.

    Key packages wait `batch_seconds` for others, to be proposed in one go: what large groups need, for every proposal
    costs every member a commit.
    """

    def __init__(self, channel_id: int, *, version: int = 1, batch_seconds: float = 0.0) -> None:
        self._group_id = channel_id.to_bytes(8)
        self._sender = ExternalSender(self._group_id)
        self._group = DaveGroup(self._group_id, self._sender)
        self._version = version
        self._clients: dict[int, bool] = {}  # user id -> was told of the external sender
        self._transitions = Transitions()
        self._upgrading = False
        self._tries = 0
        self._proposed_at = 0.0
        self._batch_seconds = batch_seconds
        self._queued: dict[int, KeyPackage] = {}
        self._queued_at = 0.0
        self.passed_over: set[int] = set()
        """Users whose commits are refused as long as another member can commit; for tests."""
        self.refused: Counter[Refusal] = Counter()
        """Commits that did not end an epoch, by reason."""

    @property
    def version(self) -> int:
        """What SESSION_DESCRIPTION tells to those who connect now."""
        return self._version

    @property
    def epoch(self) -> int:
        """The group's epoch, 0 while there is no group."""
        return self._group.epoch

    @property
    def members(self) -> tuple[int, ...]:
        """Users in the group that are to stay; none while there is no group."""
        return self._group.committers if self._group.established else ()

    @property
    def settled(self) -> bool:
        """Nothing is under way: no key package waits, no proposal, no transition."""
        return not (self._queued or self._group.in_flight or self._transitions)

    def connect(self, user_id: int) -> list[Outgoing]:
        """A client has got its SESSION_DESCRIPTION, with the version of now."""
        self._clients[user_id] = False
        return self._introduce(user_id) if self._version else []

    def key_package(self, user_id: int, body: bytes, now: float) -> list[Outgoing]:
        """Op 26: the client wants to be added, in place of an older self if there is one."""
        if user_id not in self._clients or not self._version:
            return []
        try:
            package = read_key_package(body)
            if package.user_id != user_id:
                raise MlsError("a key package is not its sender's own")
        except MlsError:
            _log.warning("A key package was refused")
            return []
        if not self._queued:
            self._queued_at = now
        self._queued[user_id] = package
        return self._add_queued(now)

    def commit(self, user_id: int, body: bytes, now: float) -> list[Outgoing]:
        """Op 28: announce the commit if it is the epoch's first valid one, otherwise refuse it."""
        if not self._version or user_id not in self._clients:
            return []
        try:
            commit, welcome = read_commit_welcome(body)
            refusal = self._group.refusal_of(user_id, commit, welcome)
        except MlsError:
            return self._refuse(Refusal.MALFORMED, now)
        if refusal is None and user_id in self.passed_over and set(self._group.committers) - self.passed_over:
            refusal = Refusal.PASSED_OVER
        if refusal is not None:
            return self._refuse(refusal, now)
        first = not self._group.established
        next_epoch = self._group.apply(user_id, commit)
        self._tries = 0
        announced = [user for user in next_epoch.announced_to if user in self._clients]
        welcomed = [user for user in next_epoch.welcomed if user in self._clients]
        at_once, self._upgrading = first and not self._upgrading, False
        transition_id = INITIAL if at_once else self._transitions.begin((*announced, *welcomed), now)
        prefix = transition_id.to_bytes(2)
        _log.debug("A commit was chosen", extra={"epoch": self._group.epoch, "transition_id": transition_id})
        out = self._to(announced, Op.ANNOUNCE_COMMIT, prefix + commit.encoded)
        if welcome is not None:
            out += self._to(welcomed, Op.WELCOME, prefix + welcome.encoded)
        return out

    def ready(self, user_id: int, transition_id: int) -> list[Outgoing]:
        """Op 23: the client can execute the transition."""
        return self._execute(self._transitions.ready(user_id, transition_id))

    def invalid(self, user_id: int, now: float) -> list[Outgoing]:
        """Op 31: the client could not process a commit or welcome; it waits to be added anew, after an op 26."""
        if user_id not in self._clients or not self._version:
            return []
        self._proposed_at = now
        _log.info("A client reported an invalid commit or welcome", extra={"epoch": self._group.epoch})
        out = self._withdraw(user_id)
        removed = self._group.propose_remove(user_id)
        if removed is not None:
            out += self._append([removed])
        return out + self._renew_if_orphaned()

    def leave(self, user_id: int, now: float) -> list[Outgoing]:
        """A client has gone for good."""
        if self._clients.pop(user_id, None) is None:
            return []
        out = self._execute(self._transitions.leave(user_id))
        if not self._version:
            return out
        self._proposed_at = now
        if len(self._clients) <= 1 and (self._group.established or self._upgrading):
            return out + self._renew()
        out += self._withdraw(user_id)
        removed = self._group.propose_remove(user_id)
        if removed is not None:
            out += self._append([removed])
        return out + self._renew_if_orphaned()

    def change_version(self, version: int, now: float) -> list[Outgoing]:
        """Go to another protocol version: down to 0 by a transition, up by a new group."""
        if version == self._version:
            return []
        self._version = version
        if version:
            self._upgrading = True
            self._proposed_at = now
            return self._renew()
        self._upgrading = False
        self._forget_group()
        if not self._clients:
            return []
        transition_id = self._transitions.begin(self._clients, now)
        return self._to(
            self._clients, Op.PREPARE_TRANSITION, {"protocol_version": version, "transition_id": transition_id}
        )

    def expire(self, now: float) -> list[Outgoing]:
        """Do what is due: transitions that somebody is not ready for, proposals that nobody commits."""
        out = self._execute(self._transitions.late(now)) + self._add_queued(now)
        in_flight = len(self._group.in_flight)
        patience = STALL_SECONDS + STALL_SECONDS_EACH * in_flight
        can_commit = in_flight and any(self._group.expected_of(user) for user in self._group.committers)
        if can_commit and now - self._proposed_at >= patience:
            out += self._propose_again(now)
        return out

    def _add_queued(self, now: float) -> list[Outgoing]:
        """Propose to add all whose key packages are queued, if they have waited long enough for each other."""
        if not self._queued or now - self._queued_at < self._batch_seconds:
            return []
        packages, self._queued = self._queued, {}
        self._proposed_at = now
        out, removed = list[Outgoing](), list[Proposal]()
        for user_id in packages:
            out += self._withdraw(user_id)
            older_self = self._group.propose_remove(user_id)
            if older_self is not None:
                removed.append(older_self)
        before = list(self._group.in_flight.values())
        added = [self._group.propose_add(package) for package in packages.values()]
        if self._group.established:
            return out + self._append([*removed, *added]) + self._renew_if_orphaned()
        out += self._append(added, [user for user in self._group.packages if user not in packages])
        return out + self._append([*before, *added], packages)

    def _introduce(self, user_id: int) -> list[Outgoing]:
        self._clients[user_id] = True
        return self._to([user_id], Op.EXTERNAL_SENDER, self._sender.package)

    def _withdraw(self, user_id: int) -> list[Outgoing]:
        self._queued.pop(user_id, None)
        withdrawn = self._group.withdraw_add(user_id)
        return [] if withdrawn is None else self._revoke([withdrawn], self._group.committers)

    def _refuse(self, refusal: Refusal, now: float) -> list[Outgoing]:
        self.refused[refusal] += 1
        _log.debug("A commit was refused", extra={"refusal": str(refusal), "epoch": self._group.epoch})
        return self._propose_again(now) if refusal is Refusal.NO_WELCOME else []

    def _propose_again(self, now: float) -> list[Outgoing]:
        self._proposed_at = now
        self._tries += 1
        if self._tries > _TRIES:
            return self._renew()
        pairs = self._group.propose_again()
        users = self._group.committers
        return self._revoke([old for old, _ in pairs], users) + self._append([new for _, new in pairs], users)

    def _renew_if_orphaned(self) -> list[Outgoing]:
        """Begin a new group when no member is left that could commit."""
        return self._renew() if self._group.established and not self._group.committers else []

    def _renew(self) -> list[Outgoing]:
        """Begin a new group: all clients make new key packages; one who is alone goes over to its own group at once."""
        self._forget_group()
        version = self._version
        out = self._to(self._clients, Op.PREPARE_EPOCH, {"protocol_version": version, "epoch": _FIRST_EPOCH})
        for user_id, told in self._clients.items():
            if not told:
                out += self._introduce(user_id)
        if len(self._clients) <= 1:
            self._upgrading = False
            out += self._to(
                self._clients, Op.PREPARE_TRANSITION, {"protocol_version": version, "transition_id": INITIAL}
            )
        return out

    def _forget_group(self) -> None:
        self._group = DaveGroup(self._group_id, self._sender)
        self._queued.clear()
        self._tries = 0

    def _execute(self, due: Iterable[Due]) -> list[Outgoing]:
        return [
            message
            for transition_id, members in due
            for message in self._to(members, Op.EXECUTE_TRANSITION, {"transition_id": transition_id})
        ]

    def _append(self, proposals: Sequence[Proposal], users: Iterable[int] | None = None) -> list[Outgoing]:
        return self._proposals(_APPEND, proposals, lambda one: one.message, users)

    def _revoke(self, proposals: Sequence[Proposal], users: Iterable[int] | None = None) -> list[Outgoing]:
        return self._proposals(_REVOKE, proposals, lambda one: vector(one.ref), users)

    def _proposals(
        self,
        kind: bytes,
        proposals: Sequence[Proposal],
        encoded: Callable[[Proposal], bytes],
        users: Iterable[int] | None,
    ) -> list[Outgoing]:
        """Op 27 to users (all that can commit, if none are named), without what would add themselves."""
        out = []
        for user_id in self._group.committers if users is None else users:
            body = b"".join(encoded(one) for one in proposals if one.added is None or one.user_id != user_id)
            if body:
                out += self._to([user_id], Op.PROPOSALS, kind + vector(body))
        return out

    @staticmethod
    def _to(users: Iterable[int], op: Op, content: dict[str, Any] | bytes) -> list[Outgoing]:
        return [Outgoing(user_id=user_id, op=op, content=content) for user_id in users]

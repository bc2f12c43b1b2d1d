"""End-to-end encryption of one voice connection: Discord's DAVE on the `davey` library, and how it recovers.

Sans-I/O: the voice gateway's DAVE messages go in, messages to send come out. Sources: the DAVE whitepaper, PROTOCOL
"DAVE".

- A message that cannot be processed is never an error here. What costs us our place in the group (a commit or a
  welcome) is answered with op 31, a new session and a new key package; anything else is counted and ignored, for if it
  mattered, the next commit fails and leads there too.
- The session that a reset replaces goes on opening frames, for the others use its keys until their next commit.
- Frames are judged by their looks: those that end like encrypted ones are, the others are plain. So `davey`'s own
  passthrough mode is not needed, and whether plain frames are welcome is the receiver's decision.
"""

import logging
from collections import deque
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from enum import StrEnum
from hashlib import sha256
from typing import Any, Final, TypeVar

import davey

from discord_recorder.errors import DaveError, ParseError
from discord_recorder.voice import opus
from discord_recorder.voice.dave_messages import (
    BINARY_OPS,
    JSON_OPS,
    OP_ANNOUNCE_COMMIT,
    OP_COMMIT_WELCOME,
    OP_EXECUTE_TRANSITION,
    OP_EXTERNAL_SENDER,
    OP_INVALID_COMMIT_WELCOME,
    OP_KEY_PACKAGE,
    OP_PREPARE_EPOCH,
    OP_PREPARE_TRANSITION,
    OP_PROPOSALS,
    OP_TRANSITION_READY,
    OP_WELCOME,
    BinaryMessage,
    JsonMessage,
    Message,
    epoch_ended_by,
    number,
)

__all__ = [
    "BINARY_OPS",
    "JSON_OPS",
    "MAX_VERSION",
    "BinaryMessage",
    "DaveFault",
    "DaveSession",
    "JsonMessage",
    "Message",
]

MAX_VERSION: Final = davey.DAVE_PROTOCOL_VERSION
"""The highest version spoken here, for IDENTIFY."""

_AUDIO: Final = davey.MediaType.audio
_FIRST_EPOCH: Final = 1
_REVOKE: Final = 1
_STRANGER: Final = "UnexpectedUser"
_NOBODY: Final = "NoDecryptorForUser"
_TRANSITION_BYTES: Final = 2
_AT_ONCE: Final = 0
"""The transition that needs no execute."""

_MAX_PENDING: Final = 64
"""Transitions that were prepared and not executed; the oldest is forgotten."""

_MAX_DEFERRED: Final = 16
"""Proposals about people who are not known yet; the oldest is forgotten."""

_T = TypeVar("_T")
_log = logging.getLogger(__name__)


class DaveFault(StrEnum):
    """Why a frame was not opened or sealed: the `reason` of a `DaveError`."""

    NO_GROUP = "no_group"
    """We are in no group (yet)."""

    NOT_A_MEMBER = "not_a_member"
    """The sender is not in our group (yet, or any more), or it is ourselves."""

    NO_KEY = "no_key"
    """None of the sender's keys opens it: of an epoch to come or long gone, a duplicate, damaged, or of another."""


class DaveSession:
    """Our membership in the encrypted group of one voice connection."""

    def __init__(self, user_id: int, channel_id: int) -> None:
        """Begin without a group; `start` tells what the call uses."""
        self.epoch = 0
        """Grows whenever frames that did not open may open now."""

        self.resets = 0
        """How often our place in the group had to be asked for again."""

        self.rejected = 0
        """Messages that could not be processed."""

        self.user_id = user_id
        self._channel_id = channel_id
        self._version = 0
        self._group_version = 0
        self._session: davey.DaveSession | None = None
        self._previous: davey.DaveSession | None = None
        self._external_sender: bytes | None = None
        self._previous_is_due = False
        self._welcomed_by: bytes | None = None
        self._pending: dict[int, int] = {}
        self._deferred: deque[bytes] = deque(maxlen=_MAX_DEFERRED)
        self._members: list[int] | None = None

    @property
    def version(self) -> int:
        """The protocol version in force; 0 means that nothing is encrypted end to end."""
        return self._version

    @property
    def ready(self) -> bool:
        """True when we are in a group."""
        return self._session is not None and self._session.ready

    @property
    def expects_encrypted(self) -> bool:
        """False as long as no group was ever spoken of: then every frame is what it looks like."""
        return self._session is not None or self._version > 0

    @property
    def expects_plain(self) -> bool:
        """True when plain frames are what the protocol says, now or as soon as a transition is executed."""
        return not self._version or 0 in self._pending.values()

    @property
    def members(self) -> list[int]:
        """The user ids of the group, our own left out."""
        if self._members is None:
            session = self._session
            known = (
                [int(user_id) for user_id in session.get_user_ids()] if session is not None and session.ready else []
            )
            self._members = [user_id for user_id in known if user_id != self.user_id]
        return self._members

    def start(self, version: int) -> list[Message]:
        """Begin with the version of a session description (op 4); gives our key package, unless it is 0.

        Raises:
            ParseError: the version is not spoken here.
        """
        if not 0 <= version <= MAX_VERSION:
            raise ParseError("the voice server wants a version of DAVE that is not spoken here")
        self._pending.clear()
        self._version = self._group_version = version
        return self._new_group() if version else []

    def on_json(self, op: int, data: Mapping[str, Any]) -> list[Message]:
        """Process a JSON message (`JSON_OPS`)."""
        try:
            if op == OP_PREPARE_TRANSITION:
                return self._prepare(number(data, "transition_id"), number(data, "protocol_version", MAX_VERSION))
            if op == OP_EXECUTE_TRANSITION:
                self._execute(number(data, "transition_id"))
                return []
            if op == OP_PREPARE_EPOCH:
                return self._prepare_epoch(number(data, "epoch"), number(data, "protocol_version", MAX_VERSION))
        except ParseError:
            pass
        return self._reject(op)

    def on_binary(self, op: int, body: bytes, members: Iterable[int] | None = None) -> list[Message]:
        """Process a binary message (`BINARY_OPS`), sequence number and op taken off.

        Args:
            op: the number of the message.
            body: what follows it.
            members: ids of the users who are in the channel, as far as is known; nobody else is let into the group by
                us. None lets in everybody.
        """
        if op == OP_EXTERNAL_SENDER:
            return self._on_external_sender(body)
        if op == OP_PROPOSALS:
            return self._on_proposals(body, members)
        if op in (OP_ANNOUNCE_COMMIT, OP_WELCOME) and len(body) > _TRANSITION_BYTES:
            transition, message = int.from_bytes(body[:_TRANSITION_BYTES]), body[_TRANSITION_BYTES:]
            if op == OP_WELCOME:
                return self._on_welcome(transition, message)
            return self._on_commit(transition, message)
        return self._reject(op)

    def on_members(self, members: Iterable[int]) -> list[Message]:
        """Somebody came into the channel: proposals that wait for their announcement are processed again."""
        return self._process_deferred(members) if self._deferred else []

    def decrypt(self, user_id: int, frame: bytes) -> bytes:
        """Open an encrypted frame of a user; the same frame is opened once only.

        Of each epoch the sender's first frame has to be the first: `davey` opens none that was sent before the first
        that it has opened, but any that came later and was overtaken.

        Raises:
            DaveError: it did not open, for a `DaveFault`; it may after the next change of `epoch`.
        """
        session = self._session
        if session is None:
            raise DaveError(DaveFault.NO_GROUP)
        try:
            return session.decrypt(user_id, _AUDIO, frame)
        except ValueError as error:
            fault = DaveFault.NOT_A_MEMBER if _NOBODY in str(error) else DaveFault.NO_KEY
        except OverflowError:
            raise DaveError(DaveFault.NOT_A_MEMBER) from None
        except BaseException as error:
            _raise_unless_panic(error)
            raise DaveError(DaveFault.NO_KEY) from None
        if self._previous is not None:
            try:
                return self._previous.decrypt(user_id, _AUDIO, frame)
            except ValueError:
                pass
            except BaseException as error:
                _raise_unless_panic(error)
        raise DaveError(fault if session.ready else DaveFault.NO_GROUP)

    def encrypt(self, packet: bytes) -> bytes:
        """Seal an Opus packet of ours; silence, and everything in version 0, stays plain.

        Raises:
            DaveError: the call is encrypted and we are in no group yet.
        """
        if packet == opus.SILENCE or not self._version:
            return packet
        if self._session is None or not self._session.ready:
            raise DaveError(DaveFault.NO_GROUP)
        session = self._session
        return _ask(lambda: session.encrypt_opus(packet))

    def _prepare(self, transition: int, version: int) -> list[Message]:
        self._remember(transition, version)
        return self._settle(transition)

    def _prepare_epoch(self, epoch: int, version: int) -> list[Message]:
        if epoch != _FIRST_EPOCH:
            return []  # the commit brings it
        self._group_version = version
        if not version:
            self._set_version(0)
            return []
        return self._new_group()

    def _settle(self, transition: int) -> list[Message]:
        """Execute a prepared transition if it is one to execute at once, or say that we are ready for it."""
        if transition == _AT_ONCE:
            self._execute(transition)
            return []
        return [JsonMessage(op=OP_TRANSITION_READY, data={"transition_id": transition})]

    def _remember(self, transition: int, version: int) -> None:
        self._pending.pop(transition, None)
        self._pending[transition] = version
        if len(self._pending) > _MAX_PENDING:
            del self._pending[next(iter(self._pending))]

    def _execute(self, transition: int) -> None:
        version = self._pending.pop(transition, None)
        if version is not None:
            self._set_version(version)

    def _set_version(self, version: int) -> None:
        if version != self._version:
            self._version = version
            self.epoch += 1

    def _new_group(self) -> list[Message]:
        """Replace the session by one that is in no group, and ask for a place with a new key package."""
        if self._session is not None and self._session.ready:
            self._previous, self._previous_is_due = self._session, False
        self._session = session = davey.DaveSession(self._group_version, self.user_id, self._channel_id)
        self._welcomed_by = self._members = None
        self._deferred.clear()
        if self._external_sender is not None:
            session.set_external_sender(self._external_sender)
        return [BinaryMessage(op=OP_KEY_PACKAGE, body=session.get_serialized_key_package())]

    def _reset(self, transition: int) -> list[Message]:
        self.resets += 1
        _log.info("dave_reset", extra={"transition_id": transition, "resets": self.resets})
        invalid = JsonMessage(op=OP_INVALID_COMMIT_WELCOME, data={"transition_id": transition})
        return [invalid, *self._new_group()]

    def _reject(self, op: int) -> list[Message]:
        self.rejected += 1
        _log.debug("dave_message_rejected", extra={"op": op})
        return []

    def _on_external_sender(self, body: bytes) -> list[Message]:
        if body == self._external_sender:
            return []
        try:  # on a session apart: a bad one would cost ours its group
            _ask(lambda: davey.DaveSession(MAX_VERSION, self.user_id, self._channel_id).set_external_sender(body))
        except DaveError:
            return self._reject(OP_EXTERNAL_SENDER)
        self._external_sender = body
        session = self._session
        if session is None:
            return []
        try:
            _ask(lambda: session.set_external_sender(body))
        except DaveError:
            return self._reset(_AT_ONCE)  # a group keeps its sender: another one means another group
        return []

    def _on_proposals(self, body: bytes, members: Iterable[int] | None) -> list[Message]:
        self._deferred.append(body)
        return self._process_deferred(members)

    def _process_deferred(self, members: Iterable[int] | None) -> list[Message]:
        members = None if members is None else frozenset(members)
        waiting, commit = list(self._deferred), None
        self._deferred.clear()
        for body in waiting:
            try:
                commit = self._propose(body, members)
            except DaveError as error:
                if _STRANGER in error.reason:
                    self._deferred.append(body)  # they may be announced yet
                    continue
                self._reject(OP_PROPOSALS)
                if body[:1] == b"\1":
                    self._deferred.clear()  # it revokes what was not processed
                if self.ready and not self.members:
                    return self._reset(_AT_ONCE)  # nobody else is there to commit
        return [] if commit is None else [commit]

    def _propose(self, body: bytes, members: Iterable[int] | None) -> BinaryMessage | None:
        """Process proposals; gives our commit to what is proposed by now.

        Raises:
            DaveError: they cannot be processed.
        """
        session = self._session
        if session is None or not body or body[0] > _REVOKE:
            raise DaveError(DaveFault.NO_GROUP)
        expected = None if members is None else [self.user_id, *members]
        operation = davey.ProposalsOperationType.revoke if body[0] else davey.ProposalsOperationType.append
        made = _ask(lambda: session.process_proposals(operation, body[1:], expected))
        return None if made is None else BinaryMessage(op=OP_COMMIT_WELCOME, body=made.commit + (made.welcome or b""))

    def _on_commit(self, transition: int, commit: bytes) -> list[Message]:
        session = self._session
        if session is None or session.status == davey.SessionStatus.pending:
            return self._reject(OP_ANNOUNCE_COMMIT)  # of a group that we are not in
        try:
            self._follow(session, commit)
        except DaveError:
            self._reject(OP_ANNOUNCE_COMMIT)
            epoch = epoch_ended_by(commit)
            if session.ready and epoch is not None and session.epoch is not None and epoch < session.epoch:
                return []  # it came before
            return self._reset(transition)
        return self._entered(transition)

    def _follow(self, session: davey.DaveSession, commit: bytes) -> None:
        """Process a commit; if need be with the proposals that we did not commit to ourselves.

        Raises:
            DaveError: it cannot be processed.
        """
        try:
            _ask(lambda: session.process_commit(commit))
        except DaveError:
            if not self._deferred:
                raise
            for body in self._deferred:  # only now: this replaces a commit of ours that may be the announced one
                with suppress(DaveError):
                    self._propose(body, None)
            _ask(lambda: session.process_commit(commit))

    def _on_welcome(self, transition: int, welcome: bytes) -> list[Message]:
        session, digest = self._session, sha256(welcome).digest()
        if session is None or digest == self._welcomed_by:
            return self._reject(OP_WELCOME)
        try:
            _ask(lambda: session.process_welcome(welcome))
        except DaveError:
            self._reject(OP_WELCOME)
            return self._reset(transition)
        self._welcomed_by = digest
        return self._entered(transition)

    def _entered(self, transition: int) -> list[Message]:
        """We are in a new epoch."""
        if self._previous_is_due:
            self._previous = None
        self._previous_is_due = True
        self._members = None
        self._deferred.clear()
        self.epoch += 1
        return self._prepare(transition, self._group_version)


def _ask(act: Callable[[], _T]) -> _T:
    """Call `davey`, which raises several things, one of them no `Exception` (a panic of its Rust code).

    Raises:
        DaveError: it refused; the reason is its own text.
    """
    try:
        return act()
    except (ValueError, OverflowError) as error:
        raise DaveError(str(error)) from None
    except BaseException as error:
        _raise_unless_panic(error)
        raise DaveError("panic") from None


def _raise_unless_panic(error: BaseException) -> None:
    if type(error).__name__ != "PanicException":  # has no importable name
        raise error

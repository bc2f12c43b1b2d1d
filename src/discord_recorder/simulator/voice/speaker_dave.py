"""The DAVE side of a simulated speaker: a real davey session and what a client answers to op 21 to 30."""

from asyncio import TimerHandle
from collections.abc import Callable
from logging import getLogger
from typing import Any, Final

import davey

from discord_recorder.simulator.voice.outgoing import Op

_INITIAL: Final = 0
_FIRST_EPOCH: Final = 1
_REVOKE: Final = 1

_log = getLogger(__name__)


class SpeakerDave:
    """Encrypts what one speaker says; `send_json` and `send_binary` answer the server.

    `on_change` is called when frames may go another way than before (`ready`). With `commit_after_seconds` proposals
    wait for somebody else's commit first; `later` is the event loop's `call_later`.
    """

    def __init__(
        self,
        user_id: int,
        channel_id: int,
        *,
        send_json: Callable[[Op, dict[str, Any]], None],
        send_binary: Callable[[Op, bytes], None],
        on_change: Callable[[], None],
        later: Callable[[float, Callable[[], None]], TimerHandle],
        commit_after_seconds: float = 0.0,
    ) -> None:
        self._user_id = user_id
        self._channel_id = channel_id
        self._send_json = send_json
        self._send_binary = send_binary
        self._on_change = on_change
        self._later = later
        self._commit_after_seconds = commit_after_seconds
        self._proposals: list[bytes] = []  # op 27 that wait for somebody else's commit
        self._timer: TimerHandle | None = None
        self._session: davey.DaveSession | None = None
        self._prepared: dict[int, int] = {}
        self.version = 0
        self.resets = 0
        """How often a commit or welcome could not be processed."""

    @property
    def ready(self) -> bool:
        """Frames go as the call demands: encrypted, or plain in a call of version 0."""
        return self.version == 0 or (self._session is not None and self._session.ready)

    @property
    def epoch(self) -> int:
        """The group's epoch, 0 without a group."""
        return (self._session.epoch or 0) if self._session is not None and self._session.ready else 0

    def start(self, version: int) -> None:
        """SESSION_DESCRIPTION told the version."""
        self.version = version
        if version:
            self._reset()
        self._on_change()

    def encrypt(self, opus: bytes) -> bytes:
        """The frame as it goes into a packet: plain while there is no group to encrypt for."""
        if self.version == 0 or self._session is None or not self._session.ready:
            return opus
        return self._session.encrypt_opus(opus)

    def decrypt(self, user_id: int, frame: bytes) -> bytes | None:
        """The Opus of somebody's encrypted frame, None when it does not open."""
        if self._session is None:
            return None
        try:
            return self._session.decrypt(user_id, davey.MediaType.audio, frame)
        except ValueError:
            return None

    def json(self, op: int, data: dict[str, Any]) -> None:
        """Handle op 21, 22 or 24; others are not meant for DAVE."""
        match op:
            case Op.PREPARE_TRANSITION:
                self._prepare(data["transition_id"], data["protocol_version"])
            case Op.EXECUTE_TRANSITION:
                self.version = self._prepared.pop(data["transition_id"], self.version)
                self._on_change()
            case Op.PREPARE_EPOCH if data["epoch"] == _FIRST_EPOCH:
                self.version = data["protocol_version"]
                self._reset()
                self._on_change()

    def binary(self, op: int, body: bytes) -> None:
        """Handle op 25, 27, 29 or 30."""
        if self._session is None:
            return
        match op:
            case Op.EXTERNAL_SENDER:
                self._session.set_external_sender(body)
            case Op.PROPOSALS:
                self._proposals.append(body)
                if not self._commit_after_seconds:
                    self._commit()
                elif self._timer is None:
                    self._timer = self._later(self._commit_after_seconds, self._commit)
            case Op.ANNOUNCE_COMMIT:
                self._process_proposals()  # what the commit names has to be known
                self._enter(self._session.process_commit, body)
            case Op.WELCOME:
                self._drop_proposals()
                self._enter(self._session.process_welcome, body)

    def close(self) -> None:
        """Do nothing any more."""
        self._drop_proposals()

    def _commit(self) -> None:
        made = self._process_proposals()
        if made is not None:
            self._send_binary(Op.COMMIT_WELCOME, made.commit + (made.welcome or b""))

    def _process_proposals(self) -> davey.CommitWelcome | None:
        """Tell davey of the proposals that wait; gives the commit that holds all of them."""
        session, bodies, made = self._session, self._drop_proposals(), None
        if session is None:
            return None
        for body in bodies:
            kind = davey.ProposalsOperationType.revoke if body[0] == _REVOKE else davey.ProposalsOperationType.append
            try:
                made = session.process_proposals(kind, body[1:])
            except ValueError:
                _log.debug("Proposals could not be processed")  # sent before the server knew of our reset
        return made

    def _drop_proposals(self) -> list[bytes]:
        bodies, self._proposals = self._proposals, []
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        return bodies

    def _enter(self, process: Callable[[bytes], None], body: bytes) -> None:
        transition_id = int.from_bytes(body[:2])
        try:
            process(body[2:])
        except ValueError:
            self.resets += 1
            self._send_json(Op.INVALID_COMMIT, {"transition_id": transition_id})
            self._reset()
        else:
            self._prepare(transition_id, self.version)
        self._on_change()

    def _prepare(self, transition_id: int, version: int) -> None:
        if transition_id == _INITIAL:
            self.version = version
            self._on_change()
        else:
            self._prepared[transition_id] = version
            self._send_json(Op.TRANSITION_READY, {"transition_id": transition_id})

    def _reset(self) -> None:
        self._drop_proposals()
        if self._session is None:
            self._session = davey.DaveSession(1, self._user_id, self._channel_id)
        else:
            self._session.reinit(1, self._user_id, self._channel_id)
        self._send_binary(Op.KEY_PACKAGE, self._session.get_serialized_key_package())

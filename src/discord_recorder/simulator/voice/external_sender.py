"""The voice gateway as a group's external sender: it proposes whom to add and whom to remove, and signs that.

Sources: RFC 9420, sections 6.1, 12.1 and 12.1.8; the DAVE whitepaper, op 25 and 27.
"""

from dataclasses import dataclass, replace
from typing import Final

from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from discord_recorder.simulator.voice.mls import (
    BASIC_CREDENTIAL,
    MLS_10,
    ContentType,
    KeyPackage,
    SenderType,
    WireFormat,
    message,
    reference,
    signed_bytes,
)
from discord_recorder.simulator.voice.wire import vector

_ADD: Final = 1
_REMOVE: Final = 3
_SENDER_INDEX: Final = 0  # a DAVE group has exactly one external sender
_IDENTITY: Final = b"discord-recorder simulator"


@dataclass(frozen=True, slots=True, kw_only=True)
class Proposal:
    """A signed proposal: `message` is its MLSMessage, `ref` the ProposalRef a commit names it by.

    `content` is the unsigned proposal. Exactly one of `added` and `removed_leaf` is set; `user_id` says who is meant.
    """

    content: bytes
    message: bytes
    ref: bytes
    user_id: int
    added: KeyPackage | None = None
    removed_leaf: int | None = None


class ExternalSender:
    """A signing key and the group it proposes to; each voice server and channel has its own."""

    def __init__(self, group_id: bytes) -> None:
        self._group_id = group_id
        self._key = ec.generate_private_key(ec.SECP256R1())

    @property
    def package(self) -> bytes:
        """The body of op 25: public key and credential."""
        point = self._key.public_key().public_bytes(Encoding.X962, PublicFormat.UncompressedPoint)
        return vector(point) + BASIC_CREDENTIAL.to_bytes(2) + vector(_IDENTITY)

    def add(self, epoch: int, package: KeyPackage) -> Proposal:
        """Propose to add the owner of a key package."""
        content = _ADD.to_bytes(2) + package.encoded
        body, ref = self._sign(epoch, content)
        return Proposal(content=content, message=body, ref=ref, user_id=package.user_id, added=package)

    def remove(self, epoch: int, user_id: int, leaf: int) -> Proposal:
        """Propose to remove the member at a leaf."""
        content = _REMOVE.to_bytes(2) + leaf.to_bytes(4)
        body, ref = self._sign(epoch, content)
        return Proposal(content=content, message=body, ref=ref, user_id=user_id, removed_leaf=leaf)

    def sign_again(self, epoch: int, proposal: Proposal) -> Proposal:
        """The same proposal with another signature, and therefore another reference."""
        body, ref = self._sign(epoch, proposal.content)
        return replace(proposal, message=body, ref=ref)

    def _sign(self, epoch: int, proposal: bytes) -> tuple[bytes, bytes]:
        content = (
            vector(self._group_id)
            + epoch.to_bytes(8)
            + SenderType.EXTERNAL.to_bytes(1)
            + _SENDER_INDEX.to_bytes(4)
            + vector(b"")  # authenticated_data
            + ContentType.PROPOSAL.to_bytes(1)
            + proposal
        )
        wire_format = WireFormat.PUBLIC_MESSAGE.to_bytes(2)
        to_sign = signed_bytes("FramedContentTBS", MLS_10.to_bytes(2) + wire_format + content)
        signed = content + vector(self._key.sign(to_sign, ec.ECDSA(hashes.SHA256())))
        return message(WireFormat.PUBLIC_MESSAGE, signed), reference("Proposal", wire_format + signed)

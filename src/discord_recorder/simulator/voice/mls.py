"""MLS messages as far as a delivery service looks into them: key packages, commits and welcomes.

Only what DAVE 1 allows is read: MLS 1.0 in plain text, ciphersuite 2 (P-256), basic credentials that are a user id.
Sources: RFC 9420, sections 6, 7.2, 10, 12.4 and 12.4.3.1; the DAVE whitepaper's rules for the voice gateway.
"""

import hashlib
from dataclasses import dataclass
from enum import IntEnum
from typing import Final

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec

from discord_recorder.errors import MlsError
from discord_recorder.simulator.voice.wire import Reader, vector

MLS_10: Final = 1
CIPHERSUITE: Final = 2
BASIC_CREDENTIAL: Final = 1
MAX_LIFETIME: Final = bytes(8) + b"\xff" * 8
"""From 0 to the end of time, the only lifetime that Discord takes."""

_KEY_PACKAGE_LEAF: Final = 1
_UPDATE_LEAF: Final = 2
_COMMIT_LEAF: Final = 3
_BY_REFERENCE: Final = 2
_USER_ID_BYTES: Final = 8


class WireFormat(IntEnum):
    """What an MLSMessage holds (RFC 9420, section 6)."""

    PUBLIC_MESSAGE = 1
    WELCOME = 3
    KEY_PACKAGE = 5


class SenderType(IntEnum):
    """Who signed a message (RFC 9420, section 6)."""

    MEMBER = 1
    EXTERNAL = 2


class ContentType(IntEnum):
    """What a PublicMessage says (RFC 9420, section 6)."""

    PROPOSAL = 2
    COMMIT = 3


def signed_bytes(label: str, content: bytes) -> bytes:
    """What SignWithLabel signs (RFC 9420, section 5.1.2)."""
    return vector(b"MLS 1.0 " + label.encode()) + vector(content)


def reference(label: str, value: bytes) -> bytes:
    """RefHash of SHA-256 (RFC 9420, section 5.2): 32 bytes that name a proposal or key package."""
    return hashlib.sha256(vector(f"MLS 1.0 {label} Reference".encode()) + vector(value)).digest()


def message(wire_format: WireFormat, content: bytes) -> bytes:
    """An MLSMessage of MLS 1.0."""
    return MLS_10.to_bytes(2) + wire_format.to_bytes(2) + content


@dataclass(frozen=True, slots=True, kw_only=True)
class KeyPackage:
    """What a member brings to be added: `encoded` is the bare KeyPackage, `ref` its KeyPackageRef."""

    user_id: int
    signature_key: bytes
    encoded: bytes
    ref: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class Commit:
    """A member's commit: the epoch it ends, the leaf of its author, the proposals it names, each by its ProposalRef.

    `path_signature_key` is the author's key in the update path, None when the commit has no path. The signature and
    the tags are not looked at: they need the group's secrets, or a copy of its tree.
    """

    group_id: bytes
    epoch: int
    sender_leaf: int
    proposals: tuple[bytes, ...]
    path_signature_key: bytes | None
    encoded: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class Welcome:
    """A Welcome and the KeyPackageRefs of those whom it lets in."""

    new_members: frozenset[bytes]
    encoded: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class _Leaf:
    signature_key: bytes
    credential: bytes
    source: int
    lifetime: bytes
    signed: bytes
    signature: bytes


def read_key_package(data: bytes) -> KeyPackage:
    """Read a bare KeyPackage, or one in an MLSMessage, and check what Discord checks: user id, lifetime, signatures.

    Raises:
        MlsError: it is malformed, of another ciphersuite, or not signed by its own key.
    """
    if data[:4] == message(WireFormat.KEY_PACKAGE, b""):
        data = data[4:]
    reader = Reader(data)
    if reader.uint(2) != MLS_10 or reader.uint(2) != CIPHERSUITE:
        raise MlsError("the key package is not one of MLS 1.0 with ciphersuite 2")
    reader.vector()  # init_key
    leaf = _read_leaf(reader)
    reader.vector()  # extensions
    signed = reader.since(0)
    signature = reader.vector()
    reader.end()
    if leaf.source != _KEY_PACKAGE_LEAF or leaf.lifetime != MAX_LIFETIME:
        raise MlsError("the key package's leaf has not the lifetime that Discord demands")
    if len(leaf.credential) != _USER_ID_BYTES:
        raise MlsError("the key package's credential is not a user id")
    _verify(leaf.signature_key, leaf.signature, signed_bytes("LeafNodeTBS", leaf.signed))
    _verify(leaf.signature_key, signature, signed_bytes("KeyPackageTBS", signed))
    return KeyPackage(
        user_id=int.from_bytes(leaf.credential),
        signature_key=leaf.signature_key,
        encoded=data,
        ref=reference("KeyPackage", data),
    )


def read_commit_welcome(data: bytes) -> tuple[Commit, Welcome | None]:
    """Read a client's op 28: the commit, and the bare Welcome that follows when the commit adds someone.

    Raises:
        MlsError: it is malformed, or holds something that DAVE forbids (proposals by value, other senders).
    """
    reader = Reader(data)
    commit = _read_commit(reader)
    return commit, _read_welcome(reader.rest()) if reader.left else None


def _read_commit(reader: Reader) -> Commit:
    if reader.take(4) != message(WireFormat.PUBLIC_MESSAGE, b""):
        raise MlsError("the commit is not a public message of MLS 1.0")
    group_id, epoch = reader.vector(), reader.uint(8)
    if reader.uint(1) != SenderType.MEMBER:
        raise MlsError("the commit is not from a member")
    sender_leaf = reader.uint(4)
    reader.vector()  # authenticated_data
    if reader.uint(1) != ContentType.COMMIT:
        raise MlsError("the message is not a commit")
    proposals = _read_references(reader.vector())
    path_signature_key = None
    match reader.uint(1):
        case 0:
            pass
        case 1:
            path_signature_key = _read_leaf(reader).signature_key
            reader.vector()  # nodes
        case _:
            raise MlsError("the commit's path is neither there nor absent")
    reader.vector()  # signature
    reader.vector()  # confirmation_tag
    reader.vector()  # membership_tag
    return Commit(
        group_id=group_id,
        epoch=epoch,
        sender_leaf=sender_leaf,
        proposals=proposals,
        path_signature_key=path_signature_key,
        encoded=reader.since(0),
    )


def _read_references(data: bytes) -> tuple[bytes, ...]:
    reader, found = Reader(data), list[bytes]()
    while reader.left:
        if reader.uint(1) != _BY_REFERENCE:
            raise MlsError("the commit holds a proposal by value")
        found.append(reader.vector())
    return tuple(found)


def _read_welcome(data: bytes) -> Welcome:
    reader = Reader(data)
    if reader.uint(2) != CIPHERSUITE:
        raise MlsError("the welcome is not of ciphersuite 2")
    secrets, new_members = Reader(reader.vector()), set[bytes]()
    while secrets.left:
        new_members.add(secrets.vector())
        secrets.vector()  # kem_output
        secrets.vector()  # ciphertext
    reader.vector()  # encrypted_group_info
    reader.end()
    return Welcome(new_members=frozenset(new_members), encoded=data)


def _read_leaf(reader: Reader) -> _Leaf:
    start = reader.at
    reader.vector()  # encryption_key
    signature_key = reader.vector()
    if reader.uint(2) != BASIC_CREDENTIAL:
        raise MlsError("a credential is not a basic one")
    credential = reader.vector()
    for _ in range(5):  # capabilities: versions, ciphersuites, extensions, proposals, credentials
        reader.vector()
    source, lifetime = reader.uint(1), b""
    if source == _KEY_PACKAGE_LEAF:
        lifetime = reader.take(16)
    elif source == _COMMIT_LEAF:
        reader.vector()  # parent_hash
    elif source != _UPDATE_LEAF:
        raise MlsError("a leaf has no source")
    reader.vector()  # extensions
    signed = reader.since(start)
    return _Leaf(
        signature_key=signature_key,
        credential=credential,
        source=source,
        lifetime=lifetime,
        signed=signed,
        signature=reader.vector(),
    )


def _verify(key: bytes, signature: bytes, signed: bytes) -> None:
    try:
        public_key = ec.EllipticCurvePublicKey.from_encoded_point(ec.SECP256R1(), key)
        public_key.verify(signature, signed, ec.ECDSA(hashes.SHA256()))
    except (ValueError, InvalidSignature) as error:
        raise MlsError("a signature does not fit its key") from error

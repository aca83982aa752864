"""The frames of the `infer`, `payload`, `sync`, `query` and `body` streams.

Law: one frame is one message, an array that begins with its kind's tag. Each kind bounds its bytes and CBOR items
(BYTES, ITEMS), and a reader names the kinds it expects, so nothing else is decoded.

What is sent -> what is answered (any answer may be a Failure instead):

- infer: Ask (client) or Forward (agent) -> Accepted?, then (Trying | Declined | Tokens | Working)*, then Done. The
  agent may send Stop meanwhile.
- payload: PayloadWanted -> Payload
- query: Query | SubmitTransaction -> Answer
- body: BodyWanted -> Body
- sync: SyncWanted -> SyncTop | SyncBlock; LightWanted -> LightAnswer; SnapshotWanted -> SnapshotManifest |
  SnapshotChunk
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, ClassVar, get_args

from msgspec import Meta

from p2p.base.codec import Message, convert, decode, encode, whole
from p2p.base.errors import (
    RemoteProtocolError,
    unsupported_version,
)
from p2p.base.limits import (
    FRAME_TIMEOUT_S,
    KIB,
    MAX_FRAME,
    MAX_ITEMS,
    MAX_PROPOSAL,
    MAX_TX,
    MAX_TXS_PER_BLOCK,
    MIB,
)
from p2p.base.serving_limits import (
    MAX_ARTIFACT,
    MAX_BODY,
    MAX_HANDOVERS,
    MAX_OUTPUT_TOKENS,
    MAX_TOKEN_TEXT,
    MAX_TOKENS_PER_FRAME,
)
from p2p.base.types import (
    U32,
    U64,
    VERSION,
    Bytes32,
    Bytes64,
    Reason,
    Short,
    SignedBusy,
    SignedFinish,
    SignedRequest,
    SignedStreamed,
)
from p2p.consensus.light import LightBlock
from p2p.consensus.messages import Block, CommitCertificate
from p2p.ledger.rules.ops import SignedOp
from p2p.ledger.state.snapshot import MAX_DIGITS, Manifest

if TYPE_CHECKING:
    from p2p.gossip.connections.streams import Stream

# Sizes of what frames contain, generous and in bytes.
_TINY = KIB  # some hashes and numbers
_SMALL = 8 * KIB  # a signed record, a reason, a list of 64 keys or 512 numbers
_MEMBERS = 128 * KIB  # a header with the signatures and keys of all validators
_TEXT = 128 * KIB  # the text of one Tokens frame: MAX_TEXT characters
_TOKEN_ID = 5  # one encoded token id
_PAYLOAD = 2 * MIB  # an answer to a query, or a snapshot's chunk
_WITH_TOKENS = MAX_ITEMS + MAX_TOKENS_PER_FRAME  # CBOR items of a frame with token ids
_ROW = 32  # of an artifact
MAX_TEXT = 65_536  # characters of text in one Tokens frame
MAX_QUERY = 4096  # bytes of a query's operation and arguments
MAX_DRAWN = 64  # candidates of a draw that are listed
MAX_CHUNKS = 16**MAX_DIGITS  # chunks in a snapshot's manifest

BodyBytes = Annotated[bytes, Meta(min_length=1, max_length=MAX_BODY)]  # canonical encoding of a Body (base/body.py)
# Token ids of a whole answer, packed (base/token_ids.py): one CBOR item, however many.
PackedIds = Annotated[bytes, Meta(max_length=MAX_OUTPUT_TOKENS * _TOKEN_ID)]
NextTokens = Annotated[tuple[U32, ...], Meta(min_length=1, max_length=MAX_TOKENS_PER_FRAME)]
Handovers = Annotated[tuple[SignedStreamed, ...], Meta(max_length=MAX_HANDOVERS)]
PayloadBytes = Annotated[bytes, Meta(max_length=_PAYLOAD)]
ArtifactBytes = Annotated[bytes, Meta(max_length=MAX_ARTIFACT)]


class Ask(Message, frozen=True, tag="ask"):
    """A client asks an agent for an answer."""

    BYTES: ClassVar[int] = MAX_BODY + _SMALL
    version: U32
    signed_request: SignedRequest
    body: BodyBytes
    rows: bool = False  # Tokens frames shall carry the artifact's rows, for who shows log-probabilities


class Forward(Message, frozen=True, tag="forward"):
    """The agent hands a request to a drawn executor."""

    BYTES: ClassVar[int] = MAX_BODY + MAX_OUTPUT_TOKENS * _TOKEN_ID + _SMALL
    version: U32
    signed_request: SignedRequest
    body: BodyBytes
    agent: Bytes32
    prefix: PackedIds  # tokens that executors before this one streamed before they broke off
    taken: Handovers = ()  # their signed statements about these tokens
    rows: bool = False  # as in Ask


class Accepted(Message, frozen=True, tag="accepted"):
    """The agent has taken the request. Its draw, so that the client can recompute it."""

    BYTES: ClassVar[int] = _SMALL
    inference_id: Bytes32
    agent: Bytes32
    beacon: Bytes32
    candidates: Annotated[tuple[Bytes32, ...], Meta(max_length=MAX_DRAWN)]


class Trying(Message, frozen=True, tag="trying"):
    """The agent asks this executor now."""

    BYTES: ClassVar[int] = _TINY
    node: Bytes32


class Declined(Message, frozen=True, tag="declined"):
    """This executor did not give the answer."""

    BYTES: ClassVar[int] = _SMALL
    node: Bytes32
    reason: Reason
    busy: SignedBusy | None  # the executor's own statement; None where it made none


class Tokens(Message, frozen=True, tag="tokens"):
    """The next tokens of the answer, at least one: a frame without would keep a stalled stream open."""

    BYTES: ClassVar[int] = _TEXT + MAX_TOKENS_PER_FRAME * (_TOKEN_ID + _ROW) + _TINY
    ITEMS: ClassVar[int] = _WITH_TOKENS
    position: U32  # of the first of them in the answer
    tokens: NextTokens
    text: Annotated[str, Meta(max_length=MAX_TEXT)]
    signature: Bytes64  # the executor's, over a Streamed up to the last of them
    # Their rows as in the artifact with 18 bits an id, where the request asks for rows. Not signed: the artifact is.
    rows: Annotated[bytes, Meta(max_length=MAX_TOKENS_PER_FRAME * _ROW)] = b""


class Working(Message, frozen=True, tag="working"):
    """No token yet, but whoever sends this is at work. Without it nobody could tell a slow executor from a dead one."""

    BYTES: ClassVar[int] = _TINY
    silence_ms: U32  # the next frame comes within so many milliseconds


class Stop(Message, frozen=True, tag="stop"):
    """The agent ends the answer, because its client left. The executor stops and signs for what it has sent."""

    BYTES: ClassVar[int] = _TINY
    inference_id: Bytes32


class Done(Message, frozen=True, tag="done"):
    """The answer is complete."""

    BYTES: ClassVar[int] = MAX_ARTIFACT + _SMALL
    finish: SignedFinish
    artifact: ArtifactBytes  # its root is in the finish record; the client checks its tokens against it
    cached: U32 = 0  # prompt tokens that the executor's prefix cache had, by its word: nothing is charged by it


class Failure(Message, frozen=True, tag="failure"):
    """An error, instead of the answer (base/errors.py)."""

    BYTES: ClassVar[int] = _SMALL
    code: Short
    field: Short  # the field that the error is about; "" where there is none
    message: Reason
    retry_after: U32 = 0  # heights to wait, where the error is Overloaded; 0 = not known


class PayloadWanted(Message, frozen=True, tag="payload_wanted"):
    """Asks for what a check of one inference needs."""

    BYTES: ClassVar[int] = _TINY
    version: U32
    inference_id: Bytes32


class Payload(Message, frozen=True, tag="payload"):
    """What a check needs: body and artifact."""

    BYTES: ClassVar[int] = MAX_ARTIFACT + MAX_BODY + _SMALL
    body: BodyBytes
    artifact: ArtifactBytes


class SyncWanted(Message, frozen=True, tag="sync_wanted"):
    """Asks for a block with its certificate."""

    BYTES: ClassVar[int] = _TINY
    version: U32
    height: U64  # 0: only for a SyncTop


class SyncTop(Message, frozen=True, tag="sync_top"):
    """Which history this peer has."""

    BYTES: ClassVar[int] = _TINY
    base: U64  # height of its oldest block
    top: U64  # height of its newest block
    snapshot: U64 = 0  # height of its newest snapshot; 0: it has none


class SyncBlock(Message, frozen=True, tag="sync_block"):
    """A decided block, and the votes that decided it."""

    BYTES: ClassVar[int] = MAX_PROPOSAL
    block: Block
    certificate: CommitCertificate


class BodyWanted(Message, frozen=True, tag="body_wanted"):
    """Asks for some transactions of a block that the asked peer has proposed or repeated."""

    BYTES: ClassVar[int] = _SMALL
    version: U32
    height: U64
    block_id: Bytes32
    # The transactions' indices in the block.
    places: Annotated[tuple[U32, ...], Meta(max_length=MAX_TXS_PER_BLOCK)]


class Body(Message, frozen=True, tag="body"):
    """These transactions, in the order of BodyWanted.places."""

    BYTES: ClassVar[int] = MAX_PROPOSAL
    txs: Annotated[tuple[Annotated[bytes, Meta(max_length=MAX_TX)], ...], Meta(max_length=MAX_TXS_PER_BLOCK)]


class LightWanted(Message, frozen=True, tag="light_wanted"):
    """Asks for what a light client needs of one height."""

    BYTES: ClassVar[int] = _TINY
    version: U32
    height: U64


class LightAnswer(Message, frozen=True, tag="light"):
    """Header, signatures and validators of that height."""

    BYTES: ClassVar[int] = _MEMBERS
    block: LightBlock


class SnapshotWanted(Message, frozen=True, tag="snapshot_wanted"):
    """Asks for a part of a snapshot."""

    BYTES: ClassVar[int] = _TINY
    version: U32
    height: U64
    # -1: the manifest; from 0 on: a chunk.
    index: Annotated[int, Meta(ge=-1, lt=2**31)]


class SnapshotManifest(Message, frozen=True, tag="snapshot_manifest"):
    """The hashes of a snapshot's chunks, and how they prove the state's root."""

    BYTES: ClassVar[int] = MAX_FRAME
    ITEMS: ClassVar[int] = MAX_CHUNKS + 64  # a hash for each chunk, and a few numbers
    manifest: Manifest


class SnapshotChunk(Message, frozen=True, tag="snapshot_chunk"):
    """A part of the state's pairs."""

    BYTES: ClassVar[int] = _PAYLOAD + _SMALL
    chunk: PayloadBytes


class Query(Message, frozen=True, tag="query"):
    """Asks about the chain."""

    BYTES: ClassVar[int] = MAX_QUERY + _TINY
    version: U32
    # Canonical CBOR of a map with text keys: "op" and its arguments, as on the control socket.
    body: Annotated[bytes, Meta(max_length=MAX_QUERY)]


class SubmitTransaction(Message, frozen=True, tag="submit_transaction"):
    """An account transaction for the chain. The answer says that the peer took it, not that a block contains it."""

    BYTES: ClassVar[int] = _SMALL
    version: U32
    signed_op: SignedOp


class Answer(Message, frozen=True, tag="answer"):
    """The answer to a Query or SubmitTransaction."""

    BYTES: ClassVar[int] = _PAYLOAD + _SMALL
    body: PayloadBytes  # canonical CBOR of one of the structs in wire/answers


Frame = (
    Ask | Forward | Accepted | Trying | Declined | Tokens | Working | Stop | Done | Failure | PayloadWanted | Payload
    | SyncWanted | SyncTop | SyncBlock | LightWanted | LightAnswer | SnapshotWanted | SnapshotManifest | SnapshotChunk
    | Query | SubmitTransaction | Answer | BodyWanted | Body
)

_BY_TAG: dict[bytes, type[Frame]] = {str(kind.__struct_config__.tag).encode(): kind for kind in get_args(Frame)}
# Tags of the kinds that begin a stream: their first field is the protocol version. An answer has no version of its own,
# because its sender has accepted the one that was asked with.
_VERSIONED = frozenset(
    str(kind.__struct_config__.tag) for kind in get_args(Frame) if kind.__struct_fields__[0] == "version"
)


def pack_frame(frame: Frame) -> bytes:
    """The bytes that Stream.send takes: the frame's encoding, which begins with its tag. Inverse of parse_frame."""
    return encode(frame)


def frame_limit(*kinds: type[Message]) -> int:
    """Bytes that the largest of `kinds` may have: the most that a reader that expects them reads."""
    return max(kind.BYTES for kind in kinds)


def parse_frame(data: bytes, *kinds: type[Message]) -> Frame:
    """The frame in `data`, one of `kinds` where any are named.

    Its tag is read first, so a kind that is not expected, or too large for its kind, is refused before anything is
    decoded. Raises RemoteProtocolError with code 'shape', 'cbor', 'too_large' or 'version', naming the field.
    """
    kind = _kind_of(data)
    if kinds and kind not in kinds:
        raise RemoteProtocolError(
            f"a {kind.__name__} frame came where {_names(kinds)} is expected", field="frame", code="shape",
        )
    plain = decode(data, limit=kind.BYTES, items=kind.ITEMS)
    if kind.__struct_config__.tag in _VERSIONED and len(plain) > 1 and plain[1] != VERSION:
        raise RemoteProtocolError(
            unsupported_version("protocol", plain[1], VERSION), field="version", code="version", penalty=0,
        )
    frame: Frame = convert(kind, plain)
    return whole(frame, data)


def check_text(frame: Tokens) -> None:
    """Raises RemoteProtocolError where the text is longer than these tokens can make.

    One token more than the frame has is allowed, because a character may begin with a token that was sent before.
    """
    if len(frame.text.encode()) > MAX_TOKEN_TEXT * (len(frame.tokens) + 1):
        raise RemoteProtocolError(f"more than {MAX_TOKEN_TEXT} bytes of text per token", field="text")


async def receive_frame(stream: Stream, *kinds: type[Message], timeout_s: float = FRAME_TIMEOUT_S) -> Frame:
    """The stream's next frame, one of `kinds`. No more bytes are read than the largest of them may have.

    Raises as parse_frame does, and Unavailable when the stream ends or nothing comes in `timeout_s` seconds.
    """
    return parse_frame(await stream.receive(limit=frame_limit(*kinds), timeout_s=timeout_s), *kinds)


def _kind_of(data: bytes) -> type[Frame]:
    """The kind by its tag, a short text right behind the head of a short array."""
    if len(data) > 2 and data[0] >> 5 == 4 and data[0] & 31 < 24 and data[1] >> 5 == 3 and data[1] & 31 < 24:
        kind = _BY_TAG.get(data[2 : 2 + (data[1] & 31)])
        if kind is not None:
            return kind
    raise RemoteProtocolError(
        "not a frame of this protocol: it must be an array that begins with the tag of a known kind",
        field="frame", code="shape",
    )


def _names(kinds: tuple[type[Message], ...]) -> str:
    return " or ".join(kind.__name__ for kind in kinds)

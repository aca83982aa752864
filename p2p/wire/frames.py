"""Frames of the `infer`, `payload`, `sync`, `query` and `body` streams. Law: one frame, one tagged positional message.

Each kind says how many bytes and CBOR items it may have (BYTES, ITEMS); who reads a stream says which kinds it expects.

infer:   Ask (client) or Forward (agent) -> Accepted? (Trying | Declined | Tokens)* then Done | Failure; the agent may say Stop meanwhile
payload: PayloadWanted -> Payload | Failure      query: Query | SubmitTransaction -> Answer | Failure
body:    BodyWanted -> Body | Failure
sync:    SyncWanted -> SyncTop | SyncBlock, LightWanted -> LightAnswer, SnapshotWanted -> SnapshotManifest | SnapshotChunk, or Failure
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, ClassVar, get_args

from msgspec import Meta

from p2p.base.codec import Message, convert, decode, encode, whole
from p2p.base.errors import FolkmootError, InvalidRequest, Overloaded, RemoteProtocolError, Unavailable, unsupported_version
from p2p.base.limits import (
    FRAME_TIMEOUT_S,
    KIB,
    MAX_FRAME,
    MAX_HANDOVERS,
    MAX_ITEMS,
    MAX_OUTPUT_TOKENS,
    MAX_PROMPT_BYTES,
    MAX_PROPOSAL,
    MAX_TOKEN_TEXT,
    MAX_TX,
    MAX_TXS_PER_BLOCK,
)
from p2p.base.types import U32, U64, VERSION, Bytes32, Bytes64, Reason, Short, SignedBusy, SignedFinish, SignedRequest, SignedStreamed
from p2p.consensus.light import LightBlock
from p2p.consensus.messages import Block, CommitCertificate
from p2p.ledger.rules.ops import SignedOp
from p2p.ledger.state.snapshot import MAX_DIGITS, Manifest

if TYPE_CHECKING:
    from p2p.gossip.streams import Stream

_TINY = KIB  # what a frame of hashes and numbers has room in
_SMALL = 8 * KIB  # a signed record, a reason, a list of 64 keys or 512 places
_MEMBERS = 128 * KIB  # a header with the signatures and keys of all validators
_TEXT = 128 * KIB
_WITH_TOKENS = MAX_ITEMS + MAX_OUTPUT_TOKENS

Prompt = Annotated[str, Meta(max_length=MAX_PROMPT_BYTES)]
TokenIds = Annotated[tuple[U32, ...], Meta(max_length=MAX_OUTPUT_TOKENS)]
NextTokens = Annotated[tuple[U32, ...], Meta(min_length=1, max_length=MAX_OUTPUT_TOKENS)]
Handovers = Annotated[tuple[SignedStreamed, ...], Meta(max_length=MAX_HANDOVERS)]


class Ask(Message, frozen=True, tag="ask"):
    BYTES: ClassVar[int] = MAX_PROMPT_BYTES + _SMALL
    version: U32
    signed_request: SignedRequest
    prompt: Prompt


class Forward(Message, frozen=True, tag="forward"):
    """The agent hands a request to a drawn executor. prefix: tokens already streamed by those that died; taken: their word for it."""

    BYTES: ClassVar[int] = MAX_PROMPT_BYTES + MAX_OUTPUT_TOKENS * 5 + _SMALL
    ITEMS: ClassVar[int] = _WITH_TOKENS
    version: U32
    signed_request: SignedRequest
    prompt: Prompt
    agent: Bytes32
    prefix: TokenIds
    taken: Handovers = ()


class Accepted(Message, frozen=True, tag="accepted"):
    """The agent's draw, so that the client can recompute it."""

    BYTES: ClassVar[int] = _SMALL
    inference_id: Bytes32
    agent: Bytes32
    beacon: Bytes32
    candidates: Annotated[tuple[Bytes32, ...], Meta(max_length=64)]


class Trying(Message, frozen=True, tag="trying"):
    BYTES: ClassVar[int] = _TINY
    node: Bytes32


class Declined(Message, frozen=True, tag="declined"):
    """This executor did not do it: signed Busy when it said so itself, a reason otherwise."""

    BYTES: ClassVar[int] = _SMALL
    node: Bytes32
    reason: Reason
    busy: SignedBusy | None


class Tokens(Message, frozen=True, tag="tokens"):
    """The next tokens, at least one: a frame that moves nothing is none. signature: the executor's, over a Streamed up to here."""

    BYTES: ClassVar[int] = _TEXT + MAX_OUTPUT_TOKENS * 5 + _TINY
    ITEMS: ClassVar[int] = _WITH_TOKENS
    position: U32
    tokens: NextTokens
    text: Annotated[str, Meta(max_length=65536)]
    signature: Bytes64


class Stop(Message, frozen=True, tag="stop"):
    """The client left: the executor ends here and signs for what it has sent."""

    BYTES: ClassVar[int] = _TINY
    inference_id: Bytes32


class Done(Message, frozen=True, tag="done"):
    """artifact: the payload whose root the finish record signs; the client checks its tokens against it."""

    BYTES: ClassVar[int] = MAX_FRAME // 2 + _SMALL
    finish: SignedFinish
    artifact: Annotated[bytes, Meta(max_length=MAX_FRAME // 2)]


class Failure(Message, frozen=True, tag="failure"):
    """retry_after: heights to wait, where the error is Overloaded; 0 = not known."""

    BYTES: ClassVar[int] = _SMALL
    code: Short
    field: Short
    message: Reason
    retry_after: U32 = 0


class PayloadWanted(Message, frozen=True, tag="payload_wanted"):
    BYTES: ClassVar[int] = _TINY
    version: U32
    inference_id: Bytes32


class Payload(Message, frozen=True, tag="payload"):
    BYTES: ClassVar[int] = MAX_FRAME // 2 + MAX_PROMPT_BYTES + _SMALL
    prompt: Prompt
    artifact: Annotated[bytes, Meta(max_length=MAX_FRAME // 2)]


class SyncWanted(Message, frozen=True, tag="sync_wanted"):
    """height 0 asks only for the peer's top height."""

    BYTES: ClassVar[int] = _TINY
    version: U32
    height: U64


class SyncTop(Message, frozen=True, tag="sync_top"):
    """Blocks base..top are here; snapshot: height of the newest one, 0 if none."""

    BYTES: ClassVar[int] = _TINY
    base: U64
    top: U64
    snapshot: U64 = 0


class SyncBlock(Message, frozen=True, tag="sync_block"):
    BYTES: ClassVar[int] = MAX_PROPOSAL
    block: Block
    certificate: CommitCertificate


class BodyWanted(Message, frozen=True, tag="body_wanted"):
    """Transactions of a block that the asked peer has proposed or said again, by their places in it."""

    BYTES: ClassVar[int] = _SMALL
    version: U32
    height: U64
    block_id: Bytes32
    places: Annotated[tuple[U32, ...], Meta(max_length=MAX_TXS_PER_BLOCK)]


class Body(Message, frozen=True, tag="body"):
    """In the order of the places asked for."""

    BYTES: ClassVar[int] = MAX_PROPOSAL
    txs: Annotated[tuple[Annotated[bytes, Meta(max_length=MAX_TX)], ...], Meta(max_length=MAX_TXS_PER_BLOCK)]


class LightWanted(Message, frozen=True, tag="light_wanted"):
    BYTES: ClassVar[int] = _TINY
    version: U32
    height: U64


class LightAnswer(Message, frozen=True, tag="light"):
    BYTES: ClassVar[int] = _MEMBERS
    block: LightBlock


class SnapshotWanted(Message, frozen=True, tag="snapshot_wanted"):
    """index -1 asks for the manifest, 0.. for a chunk."""

    BYTES: ClassVar[int] = _TINY
    version: U32
    height: U64
    index: Annotated[int, Meta(ge=-1, lt=2**31)]


class SnapshotManifest(Message, frozen=True, tag="snapshot_manifest"):
    BYTES: ClassVar[int] = MAX_FRAME
    ITEMS: ClassVar[int] = 16**MAX_DIGITS + 64
    manifest: Manifest


class SnapshotChunk(Message, frozen=True, tag="snapshot_chunk"):
    BYTES: ClassVar[int] = MAX_FRAME // 2 + _SMALL
    chunk: Annotated[bytes, Meta(max_length=MAX_FRAME // 2)]


class Query(Message, frozen=True, tag="query"):
    """op and arguments as on the control socket; body is canonical CBOR of a map with text keys."""

    BYTES: ClassVar[int] = 4096 + _TINY
    version: U32
    body: Annotated[bytes, Meta(max_length=4096)]


class SubmitTransaction(Message, frozen=True, tag="submit_transaction"):
    """An account's order for the chain; the answer says that the peer took it, not that a block holds it."""

    BYTES: ClassVar[int] = _SMALL
    version: U32
    signed_op: SignedOp


class Answer(Message, frozen=True, tag="answer"):
    BYTES: ClassVar[int] = MAX_FRAME // 2 + _SMALL
    body: Annotated[bytes, Meta(max_length=MAX_FRAME // 2)]


Frame = (
    Ask | Forward | Accepted | Trying | Declined | Tokens | Stop | Done | Failure | PayloadWanted | Payload
    | SyncWanted | SyncTop | SyncBlock | LightWanted | LightAnswer | SnapshotWanted | SnapshotManifest | SnapshotChunk
    | Query | SubmitTransaction | Answer | BodyWanted | Body
)

_BY_TAG: dict[bytes, type[Frame]] = {str(kind.__struct_config__.tag).encode(): kind for kind in get_args(Frame)}
_VERSIONED = ("ask", "forward", "payload_wanted", "sync_wanted", "light_wanted", "snapshot_wanted", "query", "submit_transaction", "body_wanted")
_BY_CODE: dict[str, type[FolkmootError]] = {
    kind.code: kind for kind in (InvalidRequest, RemoteProtocolError, Overloaded, Unavailable)
}


def pack_frame(frame: Frame) -> bytes:
    return encode(frame)


def frame_limit(*kinds: type[Message]) -> int:
    """Bytes that the largest of `kinds` may have: what a stream that expects them reads at most."""
    return max(kind.BYTES for kind in kinds)


def parse_frame(data: bytes, *kinds: type[Message]) -> Frame:
    """One frame from bytes, one of `kinds` where any are named. Raises RemoteProtocolError naming the field; an unknown version is named,
    never guessed. The kind is read first: what it may not be, or not be so large, is refused before anything is decoded."""
    kind = _kind_of(data)
    if kinds and kind not in kinds:
        raise RemoteProtocolError(f"{kind.__name__} has no place here; expected {_names(kinds)}", field="frame", code="shape")
    plain = decode(data, limit=kind.BYTES, items=kind.ITEMS)
    if kind.__struct_config__.tag in _VERSIONED and len(plain) > 1 and plain[1] != VERSION:
        raise RemoteProtocolError(
            unsupported_version("protocol", plain[1], VERSION), field="version", code="version", penalty=0,
        )
    frame: Frame = convert(kind, plain)
    return whole(frame, data)


def check_text(frame: Tokens) -> None:
    """Raises RemoteProtocolError where tokens come with more text than any have."""
    if len(frame.text.encode()) > MAX_TOKEN_TEXT * (len(frame.tokens) + 1):  # a character may begin with a token that was sent before
        raise RemoteProtocolError(f"more than {MAX_TOKEN_TEXT} bytes of text for a token", field="text")


async def receive_frame(stream: Stream, *kinds: type[Message], timeout_s: float = FRAME_TIMEOUT_S) -> Frame:
    """The stream's next frame, one of `kinds`; no more bytes are kept than the largest of them may have."""
    return parse_frame(await stream.receive(limit=frame_limit(*kinds), timeout_s=timeout_s), *kinds)


def _kind_of(data: bytes) -> type[Frame]:
    """By the tag, which a canonical frame has at once after its array's head."""
    if len(data) > 2 and data[0] >> 5 == 4 and data[0] & 31 < 24 and data[1] >> 5 == 3 and data[1] & 31 < 24:
        kind = _BY_TAG.get(data[2 : 2 + (data[1] & 31)])
        if kind is not None:
            return kind
    raise RemoteProtocolError("not a frame of this protocol: an array that begins with its kind", field="frame", code="shape")


def _names(kinds: tuple[type[Message], ...]) -> str:
    return " or ".join(kind.__name__ for kind in kinds)


def failure(error: FolkmootError) -> Failure:
    """The frame that carries an error to the other side."""
    wait = error.retry_after if isinstance(error, Overloaded) else 0
    return Failure(error.code[:96], error.field[:96], error.message[:300], wait)


def raise_failure(frame: Failure) -> None:
    """The other side's error, as the same type here."""
    kind = _BY_CODE.get(frame.code, InvalidRequest if frame.field else Unavailable)
    error = kind(frame.message, field=frame.field, code=frame.code)
    if isinstance(error, Overloaded):
        error.retry_after = frame.retry_after
    raise error

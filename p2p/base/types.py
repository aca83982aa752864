"""The types that every layer shares: ids, amounts, requests, and the records that peers put on chain.

Law: data only; no behaviour beyond identity and shape. Wire types are encoded by position (base/codec.py), so a new
field goes to the end of its struct and has a default.
"""

from __future__ import annotations

from enum import IntEnum, StrEnum
from functools import lru_cache
from typing import Annotated, NewType

from msgspec import Meta

from p2p.base.codec import Message, encode
from p2p.base.keys import Domain, NetworkId, digest, verify
from p2p.base.limits import MAX_NAME, MAX_REASON, MAX_RECORD_BODY, MAX_RECORDS_PER_TX
from p2p.base.serving_limits import MAX_SPRINT_ANSWERS, REVEAL_POSITIONS, REVEAL_RANKS

Height = NewType("Height", int)
Micro = NewType("Micro", int)  # money, in micro-credits
InferenceId = NewType("InferenceId", bytes)  # 32 bytes

U64 = Annotated[int, Meta(ge=0, le=2**63 - 1)]  # 63 bits: every language has a signed type for it
U32 = Annotated[int, Meta(ge=0, lt=2**32)]
Bytes32 = Annotated[bytes, Meta(min_length=32, max_length=32)]
Bytes64 = Annotated[bytes, Meta(min_length=64, max_length=64)]
Short = Annotated[str, Meta(max_length=MAX_NAME)]
NetworkField = Annotated[NetworkId, Meta(max_length=MAX_NAME)]
Reason = Annotated[str, Meta(max_length=MAX_REASON)]
Milli = Annotated[int, Meta(ge=-1_000_000, le=1_000_000)]  # signed thousandths; of a nat, for a log-likelihood ratio
LogprobMilli = Annotated[int, Meta(ge=-1_000_000, le=0)]  # a natural log-probability in thousandths of a nat

VERSION = 3  # of the protocol: requests, batches, frames, greetings, consensus messages and the genesis file name it
SPRINT_ACCOUNT = bytes(32)  # asks the sprint's questions; nobody can sign for it, and no client's request may name it
ANY_AGENT = bytes(32)  # in a request: any agent may start it
NO_SESSION = bytes(32)  # in a request: it belongs to no session


class Params(Message, frozen=True):
    """Sampling parameters. Integers, so that executor and validator compute with the same bits. verification/TAPE.md
    defines each."""

    temperature_milli: Annotated[int, Meta(ge=0, le=2000)] = 700  # temperature x 1000; 0 = greedy
    top_k: Annotated[int, Meta(ge=0, le=1 << 20)] = 0  # 0 = whole vocabulary
    min_p_milli: Annotated[int, Meta(ge=0, le=1000)] = 0  # min-p x 1000
    # top-p x 1000; 1000 = off. Below 1000 only together with a top_k (base/sampling_params.py says why).
    top_p_milli: Annotated[int, Meta(ge=0, le=1000)] = 1000
    # Penalties x 1000 over the OUTPUT tokens so far.
    presence_milli: Annotated[int, Meta(ge=-2000, le=2000)] = 0
    frequency_milli: Annotated[int, Meta(ge=-2000, le=2000)] = 0
    # Factor x 1000 on the log-probabilities of the OUTPUT tokens so far; 1000 = off.
    repetition_milli: Annotated[int, Meta(ge=100, le=10_000)] = 1000
    min_tokens: U32 = 0  # of output, before which no end token is allowed
    seed: Bytes32 | None = None  # of the sampling tape; None: the draw gives one that nobody knew before


class Request(Message, frozen=True):
    """What a client asks for, and what it agrees to pay."""

    version: U32
    network: NetworkField
    account: Bytes32  # pays
    client_nonce: U64
    model: Short
    body_hash: Bytes32  # of the encoded Body (base/body.py)
    params: Params
    # The client's bound on the prompt's length in tokens, chat template included. Escrow covers it; the finish record
    # charges what was used (decision 004).
    prompt_tokens_max: U32
    max_tokens: U32  # of output
    max_price_micro: U64  # of a token
    deadline_height: U64  # the escrow returns when nobody has finished by then
    signer: Bytes32  # the key that signs: the account's, or a hot key it delegated to (ledger/money/accounts.py)
    # The height whose beacon draws the executors. The client signs it, so the agent cannot choose among the beacons of
    # several heights (decision 036).
    draw_height: U64
    agent: Bytes32 = ANY_AGENT  # the only one that may start the request; ANY_AGENT: whichever is first
    # Requests of one account that name the same session are answered by the same executors, whose prefix cache holds
    # the earlier turns: the session is drawn for, by the beacon of session_height (decision 057).
    session: Bytes32 = NO_SESSION
    session_height: U64 = 0

    def may_be_started_by(self, agent: bytes) -> bool:
        """Whether the client lets `agent` start this. Requests travel through gossip, where every peer can read
        them."""
        return self.agent in (ANY_AGENT, agent)


class SignedRequest(Message, frozen=True):
    """A request with the signature of `request.signer` over it."""

    request: Request
    signature: Bytes64

    @property
    def inference_id(self) -> InferenceId:
        """H(signed request): changes with any byte of request or signature."""
        return _inference_id(self)

    def is_signed(self) -> bool:
        """Whether the signature is of the key that the request names. The ledger says whether a hot key may sign for
        the account."""
        request = self.request
        return verify(request.signer, Domain.REQUEST, request.network, encode(request), self.signature)


@lru_cache(maxsize=4096)  # the ledger asks many times for one record, and the encoding is most of the cost
def _inference_id(signed: SignedRequest) -> InferenceId:
    return InferenceId(digest(b"inference", encode(signed)))


class FinishReason(IntEnum):
    """Why an answer ended."""

    STOP = 0  # an end-of-sequence token
    LENGTH = 1  # max_tokens were reached
    STOPPED = 2  # the agent asked for the end, because the client left
    STOP_STRING = 3  # the text contains one of the body's stop strings


class StartRecord(Message, frozen=True):
    """An agent took this request and drew its executors."""

    signed_request: SignedRequest
    agent: Bytes32


class StackClass(StrEnum):
    """A family of software and hardware: engine, device, precision. Answers of one family are judged by its own
    calibration."""

    CPU_BF16 = "vllm-cpu-bf16"
    GPU_BF16 = "vllm-gpu-bf16"
    TORCH_CPU_BF16 = "torch-cpu-bf16"
    TORCH_GPU_BF16 = "torch-gpu-bf16"


class FinishRecord(Message, frozen=True):
    """The executor's claim about its answer."""

    inference_id: Bytes32
    executor: Bytes32
    artifact_root: Bytes32  # binds model, parameters, prompt, tokens and candidates (verification/artifact.py)
    output_hash: Bytes32  # of the token ids
    prompt_tokens: U32
    output_tokens: U32
    finish_reason: FinishReason
    # On which family it was made, as in the artifact's header. An executor's reputation is per model and stack.
    stack: Short = StackClass.CPU_BF16.value
    text_hash: Bytes32 = bytes(32)  # of the text of these tokens (text/vocabulary.py); zeros: none was made
    taken_over: U32 = 0  # tokens at the beginning that other executors streamed; nobody is paid for those

    @property
    def generated(self) -> int:
        """Output tokens that this executor made itself: it is paid and checked for these, and gains reputation by
        them."""
        return self.output_tokens - self.taken_over


class Streamed(Message, frozen=True):
    """An executor's statement of what it has streamed so far. Each frame of tokens carries one, so that an executor
    that continues the answer can prove whose tokens it took over."""

    inference_id: Bytes32
    executor: Bytes32
    first: U32  # its first token
    tokens: U32  # one past its last token so far
    # Hash chain over all tokens up to there, including those of executors before it (verification/streamed.py).
    chain: Bytes32


class SignedStreamed(Message, frozen=True):
    """A Streamed with its executor's signature."""

    record: Streamed
    signature: Bytes64


class OutputRecord(Message, frozen=True):
    """The agent's statement of what it really streamed to the client."""

    inference_id: Bytes32
    agent: Bytes32
    output_hash: Bytes32  # of the token ids
    output_tokens: U32


class VerdictCommit(Message, frozen=True):
    """A drawn validator binds itself to the verdict that it will reveal."""

    inference_id: Bytes32
    validator: Bytes32
    commitment: Bytes32  # `verdict_commitment` of that Verdict


class RevealedRow(Message, frozen=True):
    """The validator's own log-probabilities at one output position, which prove that it ran the model."""

    position: U32
    # (token id, log-probability), best first, of ranks that no artifact and no earlier committee of this inference has
    # shown: ranks 9 to 12 for the first committee, 13 to 16 for the second, ...
    candidates: Annotated[tuple[tuple[U32, LogprobMilli], ...], Meta(max_length=REVEAL_RANKS)]


class VerdictKind(IntEnum):
    """What a validator says of an answer."""

    INVALID = 0
    VALID = 1
    WITHHELD = 2  # the payload could not be had in time; this alone convicts nobody (decision 033)


class Verdict(Message, frozen=True):
    """A drawn validator's verdict on one inference, revealed after all have committed.

    Stage 0 is the exact checks, stage 1 the statistical test (verification/check.py).
    """

    inference_id: Bytes32
    validator: Bytes32
    kind: VerdictKind
    reason: Reason
    llr_milli: Milli  # log-likelihood ratio of stage 1, positive: not what was claimed; 0 where stage 0 refused
    tokens: U32  # output tokens checked; 0 where stage 0 refused or there was nothing to check, and then no numbers
    numbers: Annotated[tuple[RevealedRow, ...], Meta(max_length=REVEAL_POSITIONS)]
    salt: Bytes32  # random, so that nobody can guess the verdict from its commitment

    @property
    def valid(self) -> bool:
        return self.kind is VerdictKind.VALID


class PlantCommit(Message, frozen=True):
    """An executor binds itself to a planted fault: one that it makes on purpose in an answer to its own owner, to test
    the validators. It names no inference, since a validator that knew which one would not be tested."""

    executor: Bytes32
    commitment: Bytes32  # `plant_commitment`


class PlantReveal(Message, frozen=True):
    """After the decision: which answer was faulty on purpose, and how."""

    inference_id: Bytes32
    executor: Bytes32
    fault: Annotated[str, Meta(min_length=1, max_length=32)]  # a name such as an attack's
    salt: Bytes32


# How BusyRecord.reason begins where the agent is the cause; then no other candidate is blamed for being silent alone.
AGENT_CAUSED = "agent: "


class BusyRecord(Message, frozen=True):
    """An executor's statement that it could not take the request. It is then not counted as a miss."""

    inference_id: Bytes32
    executor: Bytes32
    reason: Reason


class SignedFinish(Message, frozen=True):
    """A FinishRecord with its executor's signature."""

    record: FinishRecord
    signature: Bytes64


class SprintCommit(Message, frozen=True):
    """A node's answers in an epoch's sprint."""

    node: Bytes32
    epoch: U64
    model: Short
    root: Bytes32  # RFC 6962 root over the encoded SignedFinish of answers 0 to count - 1
    count: Annotated[int, Meta(ge=1, le=MAX_SPRINT_ANSWERS)]


class SprintOpen(Message, frozen=True):
    """A drawn answer of the sender's SprintCommit."""

    epoch: U64
    model: Short
    index: U32
    finish: SignedFinish
    proof: Annotated[tuple[Bytes32, ...], Meta(max_length=MAX_SPRINT_ANSWERS.bit_length())]  # audit path, leaf upwards


class SignedBusy(Message, frozen=True):
    """A BusyRecord with its executor's signature."""

    record: BusyRecord
    signature: Bytes64


class Status(StrEnum):
    """Where an inference is in its life on chain (PROTOCOL: life cycle)."""

    STARTED = "STARTED"
    FINISHED = "FINISHED"
    VALIDATING = "VALIDATING"
    REVEALING = "REVEALING"
    DISPUTED = "DISPUTED"
    APPEALABLE = "APPEALABLE"  # a dispute went against it; its executor's owner may appeal until appeal_until
    APPEALED = "APPEALED"  # a third, larger committee is asked
    VALIDATED = "VALIDATED"
    INVALIDATED = "INVALIDATED"
    EXPIRED = "EXPIRED"
    SETTLED = "SETTLED"  # nobody was drawn to check it; paid
    UPHELD = "UPHELD"  # a dispute did not change that it stands; paid
    WITHHELD = "WITHHELD"  # no committee got its payload, so it cannot be judged; nobody is paid, nobody convicted
    UNCONFIRMED = "UNCONFIRMED"  # agent and executor recorded different outputs; nobody is paid


STANDS = (Status.SETTLED.value, Status.VALIDATED.value, Status.UPHELD.value)  # its fee is booked for the executor
ENDED = (
    *STANDS, Status.INVALIDATED.value, Status.EXPIRED.value, Status.WITHHELD.value, Status.UNCONFIRMED.value,
)


class RecordKind(IntEnum):
    """What a Record's body is: the struct of the same name, or the one given behind the number."""

    START = 1
    FINISH = 2  # SignedFinish
    OUTPUT = 3
    VERDICT = 4
    BUSY = 5  # SignedBusy
    VERDICT_COMMIT = 6
    PLANT_COMMIT = 7
    PLANT_REVEAL = 8
    OP = 9  # SignedOp (ledger/rules/ops.py)
    SPRINT_COMMIT = 10
    SPRINT_OPEN = 11


class Record(Message, frozen=True):
    """One record in a batch."""

    kind: RecordKind
    body: Annotated[bytes, Meta(max_length=MAX_RECORD_BODY)]  # canonical encoding of the struct


class Batch(Message, frozen=True):
    """Records of one peer under one signature."""

    version: U32
    network: NetworkField
    sender: Bytes32
    nonce: U64  # one more than in the sender's last batch; a block may hold several of a sender, in this order
    records: Annotated[tuple[Record, ...], Meta(max_length=MAX_RECORDS_PER_TX)]


class SignedBatch(Message, frozen=True):
    """A transaction: the mempool and the blocks hold it as its encoded bytes."""

    batch: Batch
    signature: Bytes64


def verdict_commitment(verdict: Verdict) -> bytes:
    """What a validator puts on chain before it reveals, 32 bytes. It covers the validator's key, so another cannot copy
    it."""
    return digest(b"verdict", encode(verdict))


def plant_commitment(inference_id: bytes, fault: str, salt: bytes) -> bytes:
    """What an executor puts on chain before its planted fault, 32 bytes."""
    return digest(b"plant", inference_id, fault.encode(), salt)


def request_bytes(request: Request) -> bytes:
    """The bytes that a client signs."""
    return encode(request)

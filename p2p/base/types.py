"""The words every layer shares: ids, amounts, signed records. Law: data only; no behaviour beyond identity and shape."""

from __future__ import annotations

from enum import IntEnum, StrEnum
from functools import lru_cache
from typing import Annotated, NewType

from msgspec import Meta

from p2p.base.codec import Message, encode
from p2p.base.keys import Domain, NetworkId, digest, verify
from p2p.base.limits import MAX_SPRINT_ANSWERS, REVEAL_POSITIONS, REVEAL_RANKS

Height = NewType("Height", int)
Micro = NewType("Micro", int)  # money, in micro-credits
InferenceId = NewType("InferenceId", bytes)  # 32 bytes

U64 = Annotated[int, Meta(ge=0, le=2**63 - 1)]
U32 = Annotated[int, Meta(ge=0, lt=2**32)]
Bytes32 = Annotated[bytes, Meta(min_length=32, max_length=32)]
Bytes64 = Annotated[bytes, Meta(min_length=64, max_length=64)]
Short = Annotated[str, Meta(max_length=96)]
NetworkField = Annotated[NetworkId, Meta(max_length=96)]
Reason = Annotated[str, Meta(max_length=300)]
Milli = Annotated[int, Meta(ge=-1_000_000, le=1_000_000)]  # signed thousandths: of a nat, where it is a log-likelihood ratio
LogprobMilli = Annotated[int, Meta(ge=-1_000_000, le=0)]  # a natural log-probability in thousandths of a nat

VERSION = 2
SPRINT_ACCOUNT = bytes(32)  # asks the sprint's questions; nobody can sign for it and no request of a client may name it


class Params(Message, frozen=True):
    """Sampling parameters, all integers so that both sides resolve them to the same bits.

    temperature_milli: temperature x 1000 (0 = greedy). top_k: 0 = whole vocabulary. min_p_milli: min-p x 1000.
    top_p_milli: top-p x 1000 (1000 = off), only together with a top_k (p2p/base/sampling_params.py says why).
    presence_milli, frequency_milli: penalties x 1000 over the OUTPUT tokens so far. The meaning of all: verification/TAPE.md.
    """

    temperature_milli: Annotated[int, Meta(ge=0, le=2000)] = 700
    top_k: Annotated[int, Meta(ge=0, le=1 << 20)] = 0
    min_p_milli: Annotated[int, Meta(ge=0, le=1000)] = 0
    top_p_milli: Annotated[int, Meta(ge=0, le=1000)] = 1000
    presence_milli: Annotated[int, Meta(ge=-2000, le=2000)] = 0
    frequency_milli: Annotated[int, Meta(ge=-2000, le=2000)] = 0


ANY_AGENT = bytes(32)


class Request(Message, frozen=True):
    """What a client asks and agrees to pay for. prompt_tokens_max: the client's bound on the prompt's length in tokens,
    template included; escrow covers it, the finish record charges what was really used (decision 004). signer: whose key signs: the
    account itself, or a hot key the account delegated to (ledger/accounts.py). draw_height: whose beacon draws the executors. The client
    signs it, so the agent has one draw and no choice among the beacons of several heights (decision 036). agent: who alone may start it; ANY_AGENT
    where the client leaves that open, to whoever is first."""

    version: U32
    network: NetworkField
    account: Bytes32
    client_nonce: U64
    model: Short
    prompt_hash: Bytes32
    params: Params
    prompt_tokens_max: U32
    max_tokens: U32
    max_price_micro: U64
    deadline_height: U64
    signer: Bytes32
    draw_height: U64
    agent: Bytes32 = ANY_AGENT

    def may_be_started_by(self, agent: bytes) -> bool:
        """Whether the client lets `agent` start this. Requests travel through gossip, where every peer can read them."""
        return self.agent in (ANY_AGENT, agent)


class SignedRequest(Message, frozen=True):
    request: Request
    signature: Bytes64

    @property
    def inference_id(self) -> InferenceId:
        """H(signed request): changes with any byte of request or signature."""
        return _inference_id(self)

    def is_signed(self) -> bool:
        """By the key it names as its signer: the account's own, or a hot key of it (whose right to sign is in the ledger)."""
        request = self.request
        return verify(request.signer, Domain.REQUEST, request.network, encode(request), self.signature)


@lru_cache(maxsize=4096)  # a record's way through the ledger asks many times, and the encoding is most of the cost
def _inference_id(signed: SignedRequest) -> InferenceId:
    return InferenceId(digest(b"inference", encode(signed)))


class FinishReason(IntEnum):
    """STOP: an end-of-sequence token. LENGTH: max_tokens are there. STOPPED: neither; the agent asked to end, for the client left."""

    STOP = 0
    LENGTH = 1
    STOPPED = 2


class StartRecord(Message, frozen=True):
    """The agent took this request and drew the executors."""

    signed_request: SignedRequest
    agent: Bytes32


class StackClass(StrEnum):
    CPU_BF16 = "vllm-cpu-bf16"
    GPU_BF16 = "vllm-gpu-bf16"
    TORCH_CPU_BF16 = "torch-cpu-bf16"
    TORCH_GPU_BF16 = "torch-gpu-bf16"


class FinishRecord(Message, frozen=True):
    """The executor claims everything: artifact_root binds model, parameters, prompt, tokens and candidates. stack: on which it was made, as
    in the artifact's header; its reputation is for this model on this stack. text_hash: of the text that these tokens are
    (verification/text.py); zeros are no text's. taken_over: tokens at the beginning that others streamed; nobody is paid for those."""

    inference_id: Bytes32
    executor: Bytes32
    artifact_root: Bytes32
    output_hash: Bytes32
    prompt_tokens: U32
    output_tokens: U32
    finish_reason: FinishReason
    stack: Short = StackClass.CPU_BF16.value
    text_hash: Bytes32 = bytes(32)
    taken_over: U32 = 0

    @property
    def generated(self) -> int:
        """Output tokens that this executor made itself: what it is paid for, checked for and trusted for."""
        return self.output_tokens - self.taken_over


class Streamed(Message, frozen=True):
    """An executor says what it has streamed so far of an answer: tokens `first` to `tokens` - 1. chain: over all tokens up to there, those of
    others before it included (verification/streamed.py). It comes with every frame, so that whoever goes on can show whose the tokens are."""

    inference_id: Bytes32
    executor: Bytes32
    first: U32
    tokens: U32
    chain: Bytes32


class SignedStreamed(Message, frozen=True):
    record: Streamed
    signature: Bytes64


class OutputRecord(Message, frozen=True):
    """The agent says what it really streamed to the client: hash of the token ids."""

    inference_id: Bytes32
    agent: Bytes32
    output_hash: Bytes32
    output_tokens: U32


class VerdictCommit(Message, frozen=True):
    """A drawn validator has made up its mind and binds itself. commitment: `verdict_commitment` of the Verdict it will reveal."""

    inference_id: Bytes32
    validator: Bytes32
    commitment: Bytes32


class RevealedRow(Message, frozen=True):
    """The validator's own numbers at one output position: (token id, log-probability), best first, of ranks that no artifact and no
    earlier committee of this inference has shown (9 to 12 for the first, 13 to 16 for the second, ...)."""

    position: U32
    candidates: Annotated[tuple[tuple[U32, LogprobMilli], ...], Meta(max_length=REVEAL_RANKS)]


class VerdictKind(IntEnum):
    """What a validator says of an answer. WITHHELD: it could not get the payload in time, so it says nothing of the answer itself; nobody is
    judged by that alone (decision 033)."""

    INVALID = 0
    VALID = 1
    WITHHELD = 2


class Verdict(Message, frozen=True):
    """A drawn validator's word on one inference, revealed after all have committed.

    llr_milli: log-likelihood ratio of stage 1 (positive: not what was claimed), 0 where stage 0 refused. tokens: output tokens
    checked, 0 where stage 0 refused or nothing was there to check; then there are no numbers. salt: keeps the commitment from being guessed.
    """

    inference_id: Bytes32
    validator: Bytes32
    kind: VerdictKind
    reason: Reason
    llr_milli: Milli
    tokens: U32
    numbers: Annotated[tuple[RevealedRow, ...], Meta(max_length=REVEAL_POSITIONS)]
    salt: Bytes32

    @property
    def valid(self) -> bool:
        return self.kind is VerdictKind.VALID


class PlantCommit(Message, frozen=True):
    """An executor binds itself to a fault it will make on purpose in an answer to its own owner. It names no inference, else no
    validator would be tested. commitment: `plant_commitment`."""

    executor: Bytes32
    commitment: Bytes32


class PlantReveal(Message, frozen=True):
    """After the decision: which answer was faulty on purpose, and how. fault: a name such as an attack's."""

    inference_id: Bytes32
    executor: Bytes32
    fault: Annotated[str, Meta(min_length=1, max_length=32)]
    salt: Bytes32


AGENTS_DOING = "agent: "  # a reason of Busy that begins so says that the agent is why: then nobody else is the only one silent


class BusyRecord(Message, frozen=True):
    """The executor could not take the request and says so: no miss is counted for it."""

    inference_id: Bytes32
    executor: Bytes32
    reason: Reason


class SignedFinish(Message, frozen=True):
    record: FinishRecord
    signature: Bytes64


class SprintCommit(Message, frozen=True):
    """A node's answers in an epoch's race. root: RFC 6962 over the encoded SignedFinish of answers 0 to count - 1."""

    node: Bytes32
    epoch: U64
    model: Short
    root: Bytes32
    count: Annotated[int, Meta(ge=1, le=MAX_SPRINT_ANSWERS)]


class SprintOpen(Message, frozen=True):
    """A drawn answer of the sender's commitment. proof: audit path of leaf `index`, from the leaf up."""

    epoch: U64
    model: Short
    index: U32
    finish: SignedFinish
    proof: Annotated[tuple[Bytes32, ...], Meta(max_length=MAX_SPRINT_ANSWERS.bit_length())]


class SignedBusy(Message, frozen=True):
    record: BusyRecord
    signature: Bytes64


class Status(StrEnum):
    """Life of an inference on chain (PROTOCOL: life cycle)."""

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
    WITHHELD = "WITHHELD"  # no committee got its payload, so nobody can say what it is; nobody is paid and nobody judged
    UNCONFIRMED = "UNCONFIRMED"  # agent and executor do not say the same was streamed; nobody is paid


STANDS = (Status.SETTLED.value, Status.VALIDATED.value, Status.UPHELD.value)  # its fee is booked for the executor
ENDED = (*STANDS, Status.INVALIDATED.value, Status.EXPIRED.value, Status.WITHHELD.value, Status.UNCONFIRMED.value)


class RecordKind(IntEnum):
    START = 1
    FINISH = 2
    OUTPUT = 3
    VERDICT = 4
    BUSY = 5
    VERDICT_COMMIT = 6
    PLANT_COMMIT = 7
    PLANT_REVEAL = 8
    OP = 9
    SPRINT_COMMIT = 10
    SPRINT_OPEN = 11


class Record(Message, frozen=True):
    """One record in a batch: its kind and its canonical body. FINISH carries a SignedFinish, BUSY a SignedBusy, the others the
    record that has their name; VERDICT a Verdict."""

    kind: RecordKind
    body: Annotated[bytes, Meta(max_length=4096)]


class Batch(Message, frozen=True):
    """Records of one peer under one signature. nonce: one more than in the sender's batch before; a block may hold several, in order."""

    version: U32
    network: NetworkField
    sender: Bytes32
    nonce: U64
    records: Annotated[tuple[Record, ...], Meta(max_length=256)]


class SignedBatch(Message, frozen=True):
    """A transaction: what the mempool holds and a block carries (as its bytes)."""

    batch: Batch
    signature: Bytes64


def verdict_commitment(verdict: Verdict) -> bytes:
    """What a validator puts on chain before it reveals; names the validator, so it cannot be copied."""
    return digest(b"verdict", encode(verdict))


def plant_commitment(inference_id: bytes, fault: str, salt: bytes) -> bytes:
    return digest(b"plant", inference_id, fault.encode(), salt)


def request_bytes(request: Request) -> bytes:
    """The bytes a client signs."""
    return encode(request)

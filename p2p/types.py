"""The words every layer shares: ids, amounts, signed records. Law: data only; no behaviour beyond identity and shape."""

from __future__ import annotations

from enum import IntEnum, StrEnum
from typing import Annotated, NewType

from msgspec import Meta

from p2p.codec import Message, encode
from p2p.keys import digest

Height = NewType("Height", int)
Micro = NewType("Micro", int)  # money, in micro-credits
InferenceId = NewType("InferenceId", bytes)  # 32 bytes

U64 = Annotated[int, Meta(ge=0, le=2**63 - 1)]
U32 = Annotated[int, Meta(ge=0, lt=2**32)]
Bytes32 = Annotated[bytes, Meta(min_length=32, max_length=32)]
Bytes64 = Annotated[bytes, Meta(min_length=64, max_length=64)]
Short = Annotated[str, Meta(max_length=96)]
Reason = Annotated[str, Meta(max_length=300)]

VERSION = 1


class Params(Message, frozen=True):
    """Sampling parameters, all integers so that both sides resolve them to the same bits.

    temperature_milli: temperature x 1000 (0 = greedy). top_k: 0 = whole vocabulary. min_p_milli: min-p x 1000.
    """

    temperature_milli: Annotated[int, Meta(ge=0, le=2000)] = 700
    top_k: Annotated[int, Meta(ge=0, le=1 << 20)] = 0
    min_p_milli: Annotated[int, Meta(ge=0, le=1000)] = 0


class Request(Message, frozen=True):
    """What a client asks and agrees to pay for. prompt_tokens_max: the client's bound on the prompt's length in tokens,
    template included; escrow covers it, the finish record charges what was really used (decision 004)."""

    version: U32
    network: Short
    account: Bytes32
    client_nonce: U64
    model: Short
    prompt_hash: Bytes32
    params: Params
    prompt_tokens_max: U32
    max_tokens: U32
    max_price_micro: U64
    deadline_height: U64


class SignedRequest(Message, frozen=True):
    request: Request
    signature: Bytes64

    @property
    def inference_id(self) -> InferenceId:
        """H(signed request): changes with any byte of request or signature."""
        return InferenceId(digest(b"inference", encode(self)))


class FinishReason(IntEnum):
    STOP = 0
    LENGTH = 1


class StartRecord(Message, frozen=True):
    """The agent took this request at draw height `draw_height` and drew the executors from that height's beacon."""

    signed_request: SignedRequest
    draw_height: U64
    agent: Bytes32


class FinishRecord(Message, frozen=True):
    """The executor claims everything: artifact_root binds model, parameters, prompt, tokens and candidates."""

    inference_id: Bytes32
    executor: Bytes32
    artifact_root: Bytes32
    output_hash: Bytes32
    prompt_tokens: U32
    output_tokens: U32
    finish_reason: FinishReason


class OutputRecord(Message, frozen=True):
    """The agent says what it really streamed to the client: hash of the token ids."""

    inference_id: Bytes32
    agent: Bytes32
    output_hash: Bytes32
    output_tokens: U32


class Verdict(Message, frozen=True):
    """A drawn validator's word on one inference. margin_micro, distance_micro: its statistics x 1e6."""

    inference_id: Bytes32
    validator: Bytes32
    valid: bool
    reason: Reason
    margin_micro: U64
    distance_micro: U64


class BusyRecord(Message, frozen=True):
    """The executor could not take the request and says so: no miss is counted for it."""

    inference_id: Bytes32
    executor: Bytes32
    reason: Reason


class SignedFinish(Message, frozen=True):
    record: FinishRecord
    signature: Bytes64


class SignedBusy(Message, frozen=True):
    record: BusyRecord
    signature: Bytes64


class Status(StrEnum):
    """Life of an inference on chain (PROTOCOL: life cycle)."""

    STARTED = "STARTED"
    FINISHED = "FINISHED"
    VALIDATING = "VALIDATING"
    VALIDATED = "VALIDATED"
    INVALIDATED = "INVALIDATED"
    EXPIRED = "EXPIRED"


class RecordKind(IntEnum):
    START = 1
    FINISH = 2
    OUTPUT = 3
    VERDICT = 4
    BUSY = 5


class Record(Message, frozen=True):
    """One record in a batch: its kind and its canonical body. FINISH carries a SignedFinish, BUSY a SignedBusy."""

    kind: RecordKind
    body: Annotated[bytes, Meta(max_length=4096)]


class Batch(Message, frozen=True):
    """All records of one peer for one block: one signature. nonce grows by at least one with each batch of the sender."""

    version: U32
    network: Short
    sender: Bytes32
    nonce: U64
    records: Annotated[tuple[Record, ...], Meta(max_length=256)]


class SignedBatch(Message, frozen=True):
    """A transaction: what the mempool holds and a block carries (as its bytes)."""

    batch: Batch
    signature: Bytes64


class ModelSpec(Message, frozen=True):
    """What a model id means on this network. Hashes are SHA-256."""

    model: Short
    weights_hash: Bytes32
    template_hash: Bytes32
    precision: Short
    price_micro: U64
    price_floor_micro: U64
    context_tokens: U32


class GenesisPeer(Message, frozen=True):
    """A peer known from the start: node key, owner's account, consensus weight, models it serves."""

    node: Bytes32
    owner: Bytes32
    weight: U64
    models: tuple[Short, ...]


class GenesisAccount(Message, frozen=True):
    account: Bytes32
    balance_micro: U64


class GenesisChange(Message, frozen=True):
    """A planned change of consensus weight, from the first height of `epoch` on (0 is the first epoch)."""

    epoch: U32
    node: Bytes32
    weight: U64


class Genesis(Message, frozen=True):
    """The beginning of a network; its hash is part of the first header."""

    version: U32
    network: Short
    time_ms: U64
    peers: tuple[GenesisPeer, ...]
    accounts: tuple[GenesisAccount, ...]
    models: tuple[ModelSpec, ...]
    committee: U32 = 3  # validators drawn for one inference
    validation_delay: U32 = 1  # heights between the root on chain and the beacon that draws its validators
    validation_window: U32 = 60  # heights a drawn validator has to answer
    epoch_blocks: Annotated[int, Meta(ge=1, lt=2**32)] = 100  # heights of one epoch: the validator set changes only between them
    changes: tuple[GenesisChange, ...] = ()


class StackClass(StrEnum):
    CPU_BF16 = "vllm-cpu-bf16"
    GPU_BF16 = "vllm-gpu-bf16"


def request_bytes(request: Request) -> bytes:
    """The bytes a client signs."""
    return encode(request)

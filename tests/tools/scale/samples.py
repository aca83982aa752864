"""Records as a busy network has them, for their sizes and for a ledger to work on.

Law: the real types with numbers of a real length: a chain of a million heights, one request a second and host, answers
of 500 tokens. Signatures are zeros, since nothing here verifies one.
"""

from __future__ import annotations

from msgspec.structs import replace

from p2p.base.genesis import Genesis, GenesisAccount, GenesisPeer, ModelSpec
from p2p.base.keys import NetworkId, digest
from p2p.base.types import (
    VERSION,
    FinishReason,
    FinishRecord,
    OutputRecord,
    Params,
    Request,
    RevealedRow,
    SignedFinish,
    SignedRequest,
    SprintCommit,
    SprintOpen,
    StackClass,
    StartRecord,
    Status,
    Verdict,
    VerdictCommit,
    VerdictKind,
)
from p2p.ledger.state.committee import CommitSeen, Committee, VerdictSeen
from p2p.ledger.state.records import BoundStack, Conduct, Earning, Inference, Served

MODEL, STACK = "smollm2-135m-instruct", StackClass.CPU_BF16.value
HEIGHT, NONCE = 1_000_000, 100_000
PROMPT, ANSWER = 100, 500  # tokens
REQUESTS = 200  # of one host in an epoch of 200 blocks, one a second
CHECKED = 14  # of these; paper.checked_share says why
PRICE_MICRO = 10
COST_MICRO = (PROMPT + ANSWER) * PRICE_MICRO
SIGNATURE = bytes(64)
CANDIDATES, COMMITTEE = 8, 3


def name(kind: str, number: int) -> bytes:
    """A key or hash."""
    return digest(kind.encode(), number.to_bytes(4, "big"))


def nodes(count: int) -> list[bytes]:
    return sorted(name("node", number) for number in range(count))


def genesis(count: int) -> Genesis:
    """So many participants, each of an owner of its own and of equal weight, with one model."""
    peers = tuple(GenesisPeer(node, name("owner", at), 10, (MODEL,)) for at, node in enumerate(nodes(count)))
    return Genesis(
        VERSION, "scale", 0, peers, tuple(GenesisAccount(peer.owner, 10**9) for peer in peers),
        (ModelSpec(MODEL, bytes(32), bytes(32), "bfloat16", PRICE_MICRO, 1, 2048),),
    )


def request(number: int, network: NetworkId) -> SignedRequest:
    body = Request(
        VERSION, network, name("client", number), NONCE + number, MODEL, name("prompt", number), Params(), PROMPT,
        ANSWER, 2 * PRICE_MICRO, HEIGHT + 300, name("client", number), HEIGHT, name("agent", number),
    )
    return SignedRequest(body, SIGNATURE)


def start(number: int, network: NetworkId) -> StartRecord:
    return StartRecord(request(number, network), name("agent", number))


def finish(signed: SignedRequest, executor: bytes) -> SignedFinish:
    return SignedFinish(FinishRecord(
        signed.inference_id, executor, name("root", 0), name("output", 0), PROMPT, ANSWER, FinishReason.LENGTH, STACK,
        name("text", 0),
    ), SIGNATURE)


def output(signed: SignedRequest) -> OutputRecord:
    return OutputRecord(signed.inference_id, name("agent", 0), name("output", 0), ANSWER)


def numbers() -> tuple[RevealedRow, ...]:
    """What a validator shows: four candidates at sixteen positions."""
    return tuple(
        RevealedRow(30 * at + 17, tuple((20_000 + rank, -4000 - 300 * rank) for rank in range(4))) for at in range(16)
    )


def commit(inference_id: bytes) -> VerdictCommit:
    return VerdictCommit(inference_id, name("validator", 0), name("commitment", 0))


def verdict(inference_id: bytes) -> Verdict:
    return Verdict(
        inference_id, name("validator", 0), VerdictKind.VALID, "", -2000, ANSWER, numbers(), name("salt", 0),
    )


def sprint_commit() -> SprintCommit:
    return SprintCommit(name("node", 0), HEIGHT // 200, MODEL, name("root", 0), REQUESTS)


def sprint_open(answers: int) -> SprintOpen:
    """One drawn answer of so many under one root."""
    proof = tuple(name("hash", at) for at in range((answers - 1).bit_length()))
    return SprintOpen(
        HEIGHT // 200, MODEL, answers // 2, finish(request(0, NetworkId("scale@" + 32 * "0")), name("node", 0)), proof,
    )


def started(number: int, network: NetworkId, some: list[bytes], height: int) -> tuple[bytes, Inference]:
    """(id, inference) that was finished and confirmed at `height`, by one of `some` nodes."""
    signed = request(number, network)
    drawn = tuple(some[(number * 7 + at) % len(some)] for at in range(CANDIDATES))
    return signed.inference_id, Inference(
        signed, Status.FINISHED.value, some[number % len(some)], name("beacon", 0), drawn, PRICE_MICRO,
        2 * COST_MICRO, height, finish(signed, drawn[0]), height, name("output", 0), height,
        due_micro=COST_MICRO, charged_micro=COST_MICRO, streamed_tokens=ANSWER,
    )


def settled(number: int, network: NetworkId, some: list[bytes]) -> Inference:
    """One that nobody was drawn to check, as it stays in the state until it leaves."""
    return replace(
        started(number, network, some, HEIGHT)[1], status=Status.SETTLED.value, due_micro=0, paid_micro=COST_MICRO,
        end_height=HEIGHT, reason="not sampled",
    )


def judged(
    inference: Inference, members: tuple[bytes, ...], height: int, *, revealed: bool, ended: bool = False
) -> Inference:
    """It was drawn to be checked, and all members say that it is right. ended: their numbers were compared."""
    verdicts = tuple(
        VerdictSeen(node, VerdictKind.VALID, "", -2000, ANSWER, () if ended else numbers(), height) for node in members
    )
    committee = Committee(
        height, name("beacon", 1), members, height, revealing=True,
        commits=tuple(CommitSeen(node, name("commitment", 0), height) for node in members),
        verdicts=verdicts if revealed else (),
    )
    status = Status.VALIDATED if ended else Status.REVEALING
    return replace(inference, status=status.value, committees=(committee,), sampled_milli=50)


def conduct() -> Conduct:
    """A host's counters at the end of a busy epoch."""
    served = Served(MODEL, STACK, REQUESTS, REQUESTS, CHECKED * ANSWER)
    return Conduct(
        finished=REQUESTS, checked=CHECKED, checked_tokens=CHECKED * ANSWER, compared=COMMITTEE * CHECKED,
        duties=COMMITTEE * CHECKED, paired=2 * REQUESTS, booked=REQUESTS, served=(served,),
        bound=(BoundStack(MODEL, STACK),),
    )


def earning(owner: bytes) -> Earning:
    return Earning(owner, REQUESTS * COST_MICRO, REQUESTS * (PROMPT + ANSWER) * 1000, REQUESTS, REQUESTS)

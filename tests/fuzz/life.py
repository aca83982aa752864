"""Brings an inference to the point where a given record about it is valid.

Law: it sends only records that the ledger applies. It holds the keys of all parties, so each can sign its part.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

from p2p.base.codec import encode
from p2p.base.keys import Key, digest
from p2p.base.serving_limits import REVEAL_RANKS
from p2p.base.types import (
    VERSION,
    FinishReason,
    FinishRecord,
    OutputRecord,
    Params,
    RecordKind,
    Request,
    RevealedRow,
    SignedRequest,
    StartRecord,
    Status,
    Verdict,
    VerdictCommit,
    VerdictKind,
    verdict_commitment,
)
from p2p.ledger.state.records import Inference
from p2p.verification.duty import reveal_positions
from tests.fuzz.signing import sign_finish, sign_request
from tests.fuzz.world import CLIENT, JUDGES, ME, MODEL, NETWORK, PARTICIPANT, VALIDATOR, WHO, Spent, World

TOKENS, PROMPT = 10, 20
SAID = b"\x05" * 32  # hash of the streamed text
SALT = b"\x55" * 32
MOST = 40  # heights, or attempts, within which a condition has to become true
KEYS = {key.public: key for key in (ME, *WHO.values(), *JUDGES)}


def inference(world: World, inference_id: bytes) -> Inference:
    found = world.view().inference(inference_id)
    assert found is not None
    return found


def until(world: World, good: Callable[[], bool]) -> None:
    for _ in range(MOST):
        if good():
            return
        world.grow()
    raise Spent(f"the condition did not become true within {MOST} heights")


def request_of(world: World, key: Key) -> Request:
    """A request of the client, whichever peer sends it."""
    del key
    nonce, height = world.chain.answers.account(CLIENT.public).next_nonce, world.chain.height()
    return Request(
        VERSION, NETWORK, CLIENT.public, nonce, MODEL, bytes(32), Params(), 50, 50, 1000, height + MOST, CLIENT.public,
        height - 1,
    )


def started(world: World, agent: Key) -> bytes:
    signed = sign_request(CLIENT, request_of(world, agent))
    start(world, agent, signed)
    return signed.inference_id


def start(world: World, agent: Key, signed: SignedRequest) -> None:
    world.say(agent, RecordKind.START, StartRecord(signed, agent.public))


def finish_of(inference_id: bytes, executor: Key) -> FinishRecord:
    return FinishRecord(inference_id, executor.public, bytes(32), SAID, PROMPT, TOKENS, FinishReason.STOP)


def finish(world: World, inference_id: bytes, agent: Key, executor: Key) -> None:
    """Put the executor's finish and the agent's confirmation on chain."""
    world.say(agent, RecordKind.FINISH, sign_finish(executor, NETWORK, finish_of(inference_id, executor)))
    world.say(agent, RecordKind.OUTPUT, OutputRecord(inference_id, agent.public, SAID, TOKENS))


def drawn(world: World, executor: Key, member: Key) -> bytes:
    """A finished inference whose first committee has `member`. Raises Spent."""
    for _ in range(MOST):
        one = started(world, PARTICIPANT)
        finish(world, one, PARTICIPANT, executor)
        until(world, lambda one=one: bool(inference(world, one).committees))  # type: ignore[misc]
        if member.public in inference(world, one).committees[-1].members:
            return one
    raise Spent("never drawn")


def verdict_of(world: World, inference_id: bytes, key: Key, *, valid: bool = True) -> Verdict:
    committee = inference(world, inference_id).committees[-1]
    rows = tuple(
        RevealedRow(at, tuple((at * REVEAL_RANKS + rank, -1000 * rank) for rank in range(REVEAL_RANKS)))
        for at in reveal_positions(committee.beacon, inference_id, key.public, TOKENS)
    )
    kind, reason = (VerdictKind.VALID, "") if valid else (VerdictKind.INVALID, "because")
    return Verdict(inference_id, key.public, kind, reason, -2000 if valid else 20_000, TOKENS, rows, SALT)


def commit(world: World, key: Key, verdict: Verdict, inference_id: bytes) -> None:
    """Commit to `verdict`. The last commitment of a committee opens its reveal window."""
    world.say(key, RecordKind.VERDICT_COMMIT, VerdictCommit(inference_id, key.public, verdict_commitment(verdict)))


def judged(world: World, inference_id: bytes, *, valid: bool) -> None:
    """Let the present committee decide: all members give the same verdict."""
    committee = inference(world, inference_id).committees[-1]
    verdicts = [(KEYS[node], verdict_of(world, inference_id, KEYS[node], valid=valid)) for node in committee.members]
    for key, verdict in verdicts:
        commit(world, key, verdict, inference_id)
    until(world, lambda: inference(world, inference_id).committees[-1].revealing)
    for key, verdict in verdicts:
        world.say(key, RecordKind.VERDICT, verdict)


def is_in(world: World, inference_id: bytes, statuses: Iterable[Status]) -> bool:
    found = world.view().inference(inference_id)
    return found is not None and found.status in {status.value for status in statuses}


def appealable(world: World) -> bytes:
    """An answer of the validator that two committees refused, with a judge left for the appeal."""
    one = drawn(world, VALIDATOR, ME)
    for status in (Status.VALIDATING, Status.DISPUTED):
        until(world, lambda status=status: is_in(world, one, [status]))  # type: ignore[misc]
        judged(world, one, valid=False)
    until(world, lambda: is_in(world, one, [Status.APPEALABLE]))
    return one


def open_one(world: World, of: str, make: Callable[[], bytes], *statuses: Status) -> bytes:
    """The inference on which variants of kind `of` are tried, while it has one of these statuses; else a new one."""
    known = world.kept.get(of)
    if known is None or not is_in(world, known, statuses):
        known = world.kept[of] = make()
    return known


def root_of(*leaves: object) -> bytes:
    """A digest of the leaves, for answers whose content nobody checks."""
    return digest(b"answer", *(encode(leaf) for leaf in leaves))

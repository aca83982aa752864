"""Kinds of requests, batches and records.

Law: `make` brings the chain to where it applies the original. Where a commitment comes first (to a verdict, a planted
fault, the answers of a sprint), it commits to the variant; else every variant would fail that one check.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from p2p.base import merkle
from p2p.base.codec import Message, encode, unpack
from p2p.base.keys import Key
from p2p.base.limits import MAX_RECORDS_PER_TX
from p2p.base.outcome import Outcome
from p2p.base.types import (
    BusyRecord,
    FinishRecord,
    OutputRecord,
    PlantCommit,
    PlantReveal,
    Record,
    RecordKind,
    Request,
    SignedFinish,
    SignedRequest,
    SprintCommit,
    SprintOpen,
    StartRecord,
    Status,
    Verdict,
    VerdictCommit,
    plant_commitment,
)
from p2p.ledger.participants import sprint
from tests.fuzz import life
from tests.fuzz.kind import Kind, Make, Send, is_on_chain
from tests.fuzz.life import SALT, TOKENS, finish_of, inference, open_one, request_of, until
from tests.fuzz.signing import batch, sign_batch, sign_busy, sign_finish, sign_request
from tests.fuzz.world import CLIENT, GENESIS, ME, MODEL, NETWORK, PARTICIPANT, VALIDATOR, Spent, World

Sent = tuple[bytes, Callable[[], Outcome]]
AGENTS = ("validator", "participant")
FAULT = "int4"
ANSWERS = 5  # answers of a sprint


def _agent(key: Key) -> Key:
    """The sender where it may be an agent, else the participant."""
    return key if key in (VALIDATOR, PARTICIPANT) else PARTICIPANT


def _me(key: Key) -> bytes:
    return key.public


def _recorded(kind: RecordKind, wrap: Callable[[Key, Any], Message] = lambda key, message: message) -> Send:
    def send(world: World, key: Key, body: Any) -> Sent:
        record = Record(kind, encode(wrap(key, body)))
        return record.body, lambda: world.record(key, record)

    return send


def _by_its_agent(wrap: Callable[[Key, Any], Message]) -> Send:
    """Send a finish in the batch of its inference's agent; in its own batch only the first drawn executor's counts."""
    def send(world: World, key: Key, body: Any) -> Sent:
        record = Record(RecordKind.FINISH, encode(wrap(key, body)))
        return record.body, lambda: world.record(PARTICIPANT, record)

    return send


# -- requests and batches ------------------------------------------------------------------------------------


def _request(world: World, key: Key, body: Request) -> Sent:
    """Give the request, signed by the client's account, to the check of the agent."""
    del key
    raw = encode(sign_request(CLIENT, body))
    return raw, lambda: world.attempt(lambda: world.chain.reservations.check_new(unpack(SignedRequest, raw)))


def _batch(world: World, key: Key) -> Message:
    record = Record(RecordKind.PLANT_COMMIT, encode(PlantCommit(key.public, world.unused())))
    return batch(key, NETWORK, world.chain.reader.batch_nonce(key.public) + 1, (record,)).batch


def _batched(world: World, key: Key, body: Any) -> Sent:
    raw = encode(sign_batch(key, body))
    return raw, lambda: world.transaction(raw)


# -- an inference --------------------------------------------------------------------------------------------


def _start(world: World, key: Key) -> StartRecord:
    return StartRecord(sign_request(CLIENT, request_of(world, key)), key.public)


def _running(of: str) -> Callable[[World, Key], bytes]:
    """A started inference; for an output its agent is the sender, where the sender may be one."""
    def find(world: World, key: Key) -> bytes:
        if world.chain.reader.stack_problem(VALIDATOR.public, MODEL, finish_of(bytes(32), VALIDATOR).stack):
            raise Spent("the validator is bound to another stack in this epoch")
        agent = _agent(key) if of == "output" else PARTICIPANT
        return open_one(world, of, lambda: life.started(world, agent), Status.STARTED)

    return find


def _as_finish(key: Key, body: FinishRecord) -> SignedFinish:
    return sign_finish(key, NETWORK, body)


def _finish(world: World, key: Key) -> FinishRecord:
    return finish_of(_running("finish")(world, key), key)


def _early_finish(world: World, key: Key) -> FinishRecord:
    """A finish that arrives before its Start."""
    signed = sign_request(CLIENT, request_of(world, key))
    world.kept["early"] = encode(signed)
    return finish_of(signed.inference_id, key)


def _then_start(world: World, key: Key) -> None:
    del key
    start = StartRecord(unpack(SignedRequest, world.kept["early"]), PARTICIPANT.public)
    world.record(PARTICIPANT, Record(RecordKind.START, encode(start)))


def _is_finished(world: World, key: Key) -> bool:
    found = inference(world, unpack(SignedRequest, world.kept["early"]).inference_id)
    return found.finish is not None and found.finish.record.executor == key.public


def _output(world: World, key: Key) -> OutputRecord:
    one = _running("output")(world, key)
    if inference(world, one).output_hash is not None:
        one = world.kept["output"] = life.started(world, _agent(key))
    return OutputRecord(one, key.public, life.SAID, TOKENS)


def _busy(world: World, key: Key) -> BusyRecord:
    one = _running("busy")(world, key)
    if key.public in inference(world, one).busy:
        one = world.kept["busy"] = life.started(world, PARTICIPANT)
    return BusyRecord(one, key.public, "no free place")


# -- verdicts ------------------------------------------------------------------------------------------------


def _to_commit(world: World, key: Key) -> VerdictCommit:
    one = open_one(world, "commit", lambda: life.drawn(world, ME, VALIDATOR), Status.VALIDATING)
    return VerdictCommit(one, key.public, SALT)


def _to_reveal(world: World, key: Key) -> Verdict:
    one = open_one(world, "verdict", lambda: life.drawn(world, ME, VALIDATOR), Status.VALIDATING)
    return life.verdict_of(world, one, key)


def _reveal(world: World, key: Key, verdict: Verdict) -> Sent:
    """Commit to the verdict first, where its sender is a member of the committee."""
    one, record = world.kept["verdict"], Record(RecordKind.VERDICT, encode(verdict))
    if key is VALIDATOR:
        life.commit(world, key, verdict, one)
        until(world, lambda: life.is_in(world, one, [Status.REVEALING]))
    return record.body, lambda: world.record(key, record)


def _to_plant(world: World, key: Key) -> PlantCommit:
    return PlantCommit(key.public, world.unused())


def _plant(world: World, key: Key) -> PlantReveal:
    """A planted fault in an answer that is still to be made, for the client that owns the validator."""
    signed = sign_request(CLIENT, request_of(world, key))
    world.kept["plant"] = encode(signed)
    return PlantReveal(signed.inference_id, key.public, FAULT, SALT)


def _planted(world: World, key: Key, reveal: PlantReveal) -> Sent:
    """Commit to the fault, have the answer made, judged and decided, and only then reveal."""
    signed, record = unpack(SignedRequest, world.kept["plant"]), Record(RecordKind.PLANT_REVEAL, encode(reveal))
    one = signed.inference_id
    if key is VALIDATOR:
        commitment = plant_commitment(reveal.inference_id, reveal.fault, reveal.salt)
        world.say(key, RecordKind.PLANT_COMMIT, PlantCommit(key.public, commitment))
        life.start(world, PARTICIPANT, signed)
        life.finish(world, one, PARTICIPANT, key)
        until(world, lambda: life.is_in(world, one, [Status.VALIDATING]))
        life.judged(world, one, valid=True)
        until(world, lambda: life.is_in(world, one, [Status.VALIDATED]))
    return record.body, lambda: world.record(key, record)


# -- the sprint ----------------------------------------------------------------------------------------------


def _in_sprint(world: World, key: Key) -> None:
    """Raises Spent unless the first epoch's sprint is open and the sender has not committed in it."""
    over = world.chain.height() >= sprint.heights(GENESIS, 0).close
    if over or sprint.run_of(world.view(), key.public, MODEL) is not None:
        raise Spent("the sprint is over, or the sender has committed")


def _sprint_commit(world: World, key: Key) -> SprintCommit:
    _in_sprint(world, key)
    return SprintCommit(key.public, 0, MODEL, bytes(32), ANSWERS)


def _answers(world: World, key: Key) -> list[SignedFinish]:
    current = sprint.sprint_of(world.view())
    assert current is not None
    ids = [sprint.question(GENESIS, current, key.public, MODEL, index)[1].inference_id for index in range(ANSWERS)]
    return [sign_finish(key, NETWORK, finish_of(one, key)) for one in ids]


def _sprint_open(world: World, key: Key) -> SprintOpen:
    """Open a drawn answer; a sender that cannot take part in the sprint opens the first answer."""
    leaves = [encode(answer) for answer in _answers(world, key)]
    drawn: tuple[int, ...] = (0,)
    if key in (VALIDATOR, PARTICIPANT):
        run = sprint.run_of(world.view(), key.public, MODEL)
        if run is None:
            _in_sprint(world, key)
            world.say(key, RecordKind.SPRINT_COMMIT, SprintCommit(key.public, 0, MODEL, merkle.root(leaves), ANSWERS))
        until(world, lambda: world.chain.height() >= sprint.heights(GENESIS, 0).draw)
        current, run = sprint.sprint_of(world.view()), sprint.run_of(world.view(), key.public, MODEL)
        assert current is not None
        assert run is not None
        drawn = tuple(set(sprint.drawn(GENESIS, current, run)) - {opened.index for opened in run.opened})
        if world.chain.height() >= sprint.heights(GENESIS, 0).end or not drawn:
            raise Spent("nothing is left to open")
    index = min(drawn)
    return SprintOpen(0, MODEL, index, unpack(SignedFinish, leaves[index]), tuple(merkle.prove(leaves, index)))


def _sprint_finish(world: World, key: Key) -> FinishRecord:
    """Answer 0 of a sprint, before the commitment."""
    if key in (VALIDATOR, PARTICIPANT):
        _in_sprint(world, key)
    return _answers(world, key)[0].record


def _sprint_answer(world: World, key: Key, record: FinishRecord) -> Sent:
    """Commit to a sprint of one answer, the variant, so that it is drawn, and open it."""
    signed = sign_finish(key, NETWORK, record)
    leaf = encode(signed)
    if key in (VALIDATOR, PARTICIPANT):
        world.say(key, RecordKind.SPRINT_COMMIT, SprintCommit(key.public, 0, MODEL, merkle.root([leaf]), 1))
        until(world, lambda: world.chain.height() >= sprint.heights(GENESIS, 0).draw)
    opening = Record(RecordKind.SPRINT_OPEN, encode(SprintOpen(0, MODEL, 0, signed, ())))
    return opening.body, lambda: world.record(key, opening)


def _kind(name: str, make: Make, send: Send, *by: str) -> Kind:
    return Kind(name, make, send, by=by or ("validator",), effect=is_on_chain)


LEDGER = (
    Kind("request", request_of, _request, by=("validator", "participant", "stranger")),
    Kind("batch", _batch, _batched, signatures=8 + MAX_RECORDS_PER_TX, by=AGENTS, effect=is_on_chain),
    _kind("record StartRecord", _start, _recorded(RecordKind.START), *AGENTS),
    _kind("request in a StartRecord", request_of, _recorded(
        RecordKind.START, lambda key, body: StartRecord(sign_request(CLIENT, body), key.public),
    ), *AGENTS),
    _kind("record FinishRecord", _finish, _by_its_agent(_as_finish)),
    Kind("record FinishRecord, before its Start", _early_finish, _by_its_agent(_as_finish),
         after=_then_start, effect=_is_finished),
    _kind("record BusyRecord", _busy, _recorded(RecordKind.BUSY, lambda key, body: sign_busy(key, NETWORK, body))),
    _kind("record OutputRecord", _output, _recorded(RecordKind.OUTPUT), *AGENTS),
    _kind("record VerdictCommit", _to_commit, _recorded(RecordKind.VERDICT_COMMIT)),
    _kind("record Verdict", _to_reveal, _reveal),
    _kind("record PlantCommit", _to_plant, _recorded(RecordKind.PLANT_COMMIT), *AGENTS),
    _kind("record PlantReveal", _plant, _planted),
    _kind("record SprintCommit", _sprint_commit, _recorded(RecordKind.SPRINT_COMMIT), *AGENTS),
    _kind("record SprintOpen", _sprint_open, _recorded(RecordKind.SPRINT_OPEN), *AGENTS),
    _kind("finish in a SprintOpen", _sprint_finish, _sprint_answer, *AGENTS),
)

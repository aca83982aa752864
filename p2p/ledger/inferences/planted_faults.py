"""Planted faults: how well the network checks, measured on the network itself. Law: who plants harms nobody but its own owner, and
said so before the answer was finished; what was not revealed in time is cheating.

The commitment names no inference, so no validator knows which answer is a test; that is why a fault in ANY answer to the executor's own
owner is blamed only after the time to reveal is over (panels.py), and why such answers are no evidence in its favour either.
A plant that nobody caught marks no validator: it may be too small to see, or not there at all, and would be a way to frame them.
"""

from __future__ import annotations

from msgspec.structs import replace

from p2p.base.codec import encode, load, unpack
from p2p.base.errors import InvalidRequest, RemoteProtocolError
from p2p.base.types import STANDS, PlantCommit, PlantReveal, Record, Status, plant_commitment
from p2p.ledger.rules.context import Context
from p2p.ledger.state import keys
from p2p.ledger.state.records import FaultCount, Inference, PlantSeen
from p2p.ledger.state.view import View

MAX_OPEN = 64  # commitments of one executor
LIFETIME = 1000  # heights a commitment holds
MAX_FAULT_NAMES = 64  # counted apart; more are counted together
OTHER = "other"
_DECIDED = (*STANDS, Status.INVALIDATED.value)


def apply_plant_commit(ctx: Context, sender: bytes, record: Record) -> None:
    commit = unpack(PlantCommit, record.body)
    if commit.executor != sender:
        raise RemoteProtocolError("an executor commits in its own batch only", field="executor")
    if ctx.view.get(_key(commit.commitment)) is not None:
        raise RemoteProtocolError("this was committed to before", field="commitment")
    if len(ctx.view.ids(keys.plants_of(sender))) >= MAX_OPEN:
        raise RemoteProtocolError(f"at most {MAX_OPEN} plants may be open", field="executor")
    ctx.view.put(_key(commit.commitment), encode(PlantSeen(sender, ctx.height)))
    ctx.view.add_id(keys.plants_of(sender), commit.commitment)
    ctx.view.add_due(ctx.height + LIFETIME, keys.DUE_PLANT + commit.commitment)


def forget(view: View, commitment: bytes) -> None:
    """A commitment's time is over, or it was revealed."""
    raw = view.get(_key(commitment))
    if raw is not None:
        view.remove_id(keys.plants_of(load(PlantSeen, raw).executor), commitment)
        view.put(_key(commitment), None)


def apply_plant_reveal(ctx: Context, sender: bytes, record: Record) -> None:
    reveal = unpack(PlantReveal, record.body)
    inference = ctx.view.inference(reveal.inference_id)
    if inference is None or inference.finish is None or inference.status not in _DECIDED:
        raise InvalidRequest("this inference is not decided", field="inference_id")
    if reveal.executor != sender or inference.finish.record.executor != sender:
        raise RemoteProtocolError("only its executor can have planted a fault", field="executor")
    participant = ctx.view.participant(sender)
    if participant is None or inference.signed_request.request.account != participant.owner:
        raise RemoteProtocolError("a fault may be planted in an answer to the executor's own owner only", field="account")
    if ctx.height > inference.end_height + ctx.checks.plant_window or inference.fault:
        raise RemoteProtocolError("revealed before, or too late", field="inference_id")
    commitment = plant_commitment(reveal.inference_id, reveal.fault, reveal.salt)
    raw = ctx.view.get(_key(commitment))
    if raw is None or load(PlantSeen, raw).executor != sender or load(PlantSeen, raw).height > inference.finish_height:
        raise RemoteProtocolError("this executor made no such commitment before it finished", field="salt")
    standing = ctx.view.standing(sender)
    if standing.plants * ctx.checks.plant_every > standing.booked:
        raise RemoteProtocolError(f"one plant per {ctx.checks.plant_every} inferences that were booked", field="executor")
    forget(ctx.view, commitment)
    ctx.view.put_standing(sender, replace(standing, plants=standing.plants + 1))
    ctx.view.put_inference(reveal.inference_id, replace(inference, fault=reveal.fault, blame_height=0))
    _count(ctx.view, reveal.fault, inference)


def _count(view: View, fault: str, inference: Inference) -> None:
    counters = view.counters()
    known = {count.fault: count for count in counters.faults}
    name = fault if fault in known or len(known) < MAX_FAULT_NAMES else OTHER
    before = known.get(name, FaultCount(name))
    known[name] = replace(
        before, planted=before.planted + 1, checked=before.checked + bool(inference.verdicts),
        caught=before.caught + (inference.status == Status.INVALIDATED.value),
    )
    view.put_counters(replace(counters, faults=tuple(known[name] for name in sorted(known))))


def _key(commitment: bytes) -> bytes:
    return keys.plant(commitment)

"""Planted faults measure, on the network itself, how well it checks. Law: a planted fault harms nobody but the
executor's own owner, and the executor committed to it before the answer was finished. A fault that is not revealed
in time is cheating.

The commitment names no inference, so no validator knows which answer is a test. Therefore a fault in ANY answer to the
executor's own owner is blamed only once the time to reveal is over (decision.py), and such answers are no evidence in
its favour either. A planted fault that nobody caught marks no validator: it may be too small to see, or not exist, and
would be a way to frame them.
"""

from __future__ import annotations

from msgspec.structs import replace

from p2p.base.codec import encode, load, unpack
from p2p.base.errors import InvalidRequest, RemoteProtocolError
from p2p.base.types import STANDS, PlantCommit, PlantReveal, Record, Status, plant_commitment
from p2p.ledger.rules.context import Context
from p2p.ledger.state import keys
from p2p.ledger.state.inference_entry import InferenceEntry
from p2p.ledger.state.records import FaultCount, PlantSeen
from p2p.ledger.state.view import View

MAX_OPEN = 64  # open commitments of one executor
LIFETIME = 1000  # heights for which a commitment holds
MAX_FAULT_NAMES = 64  # counted separately; further names are counted together, as OTHER
OTHER = "other"
_DECIDED = (*STANDS, Status.INVALIDATED.value)


def apply_plant_commit(ctx: Context, sender: bytes, record: Record) -> None:
    """Apply a PLANT_COMMIT. Raises RemoteProtocolError."""
    commit = unpack(PlantCommit, record.body)
    if commit.executor != sender:
        raise RemoteProtocolError("an executor commits in its own batch only", field="executor")
    if _seen(ctx.view, commit.commitment) is not None:
        raise RemoteProtocolError("this commitment is open already; use another salt", field="commitment")
    if len(ctx.view.ids(keys.plants_of(sender))) >= MAX_OPEN:
        raise RemoteProtocolError(f"at most {MAX_OPEN} commitments may be open", field="executor")
    ctx.view.put(keys.plant(commit.commitment), encode(PlantSeen(sender, ctx.height)))
    ctx.view.add_id(keys.plants_of(sender), commit.commitment)
    ctx.view.add_due(ctx.height + LIFETIME, keys.DUE_PLANT + commit.commitment)


def forget(view: View, commitment: bytes) -> None:
    """Remove a commitment that was revealed or whose time is over."""
    seen = _seen(view, commitment)
    if seen is not None:
        view.remove_id(keys.plants_of(seen.executor), commitment)
        view.put(keys.plant(commitment), None)


def apply_plant_reveal(ctx: Context, sender: bytes, record: Record) -> None:
    """Apply a PLANT_REVEAL: the fault of a decided answer was planted, so it is no blame. Raises InvalidRequest or
    RemoteProtocolError.
    """
    reveal = unpack(PlantReveal, record.body)
    entry = ctx.entry(reveal.inference_id)
    if entry is None or entry.inference.finish is None or entry.inference.status not in _DECIDED:
        raise InvalidRequest("this inference is not decided", field="inference_id")
    if reveal.executor != sender or entry.executor != sender:
        raise RemoteProtocolError("only its executor can have planted a fault", field="executor")
    _check_reveal(ctx, entry, sender)
    commitment = plant_commitment(reveal.inference_id, reveal.fault, reveal.salt)
    seen = _seen(ctx.view, commitment)
    if seen is None or seen.executor != sender or seen.height > entry.inference.finish_height:
        raise RemoteProtocolError("this executor made no such commitment before it finished", field="salt")
    conduct = ctx.view.conduct(sender)
    if conduct.plants * ctx.checks.plant_every > conduct.booked:
        raise RemoteProtocolError(f"one planted fault per {ctx.checks.plant_every} booked inferences", field="executor")
    forget(ctx.view, commitment)
    ctx.view.put_conduct(sender, replace(conduct, plants=conduct.plants + 1))
    ctx.save(entry.changed(fault=reveal.fault, blame_height=0))
    _count(ctx.view, reveal.fault, entry)


def _check_reveal(ctx: Context, entry: InferenceEntry, sender: bytes) -> None:
    participant = ctx.view.participant(sender)
    if participant is None or entry.client != participant.owner:
        where = "in an answer to the executor's own owner only"
        raise RemoteProtocolError(f"a fault may be planted {where}", field="account")
    if ctx.height > entry.inference.end_height + ctx.checks.plant_window or entry.inference.fault:
        raise RemoteProtocolError("revealed before, or too late", field="inference_id")


def _count(view: View, fault: str, entry: InferenceEntry) -> None:
    counters = view.counters()
    known = {count.fault: count for count in counters.faults}
    name = fault if fault in known or len(known) < MAX_FAULT_NAMES else OTHER
    before = known.get(name, FaultCount(name))
    known[name] = replace(
        before, planted=before.planted + 1, checked=before.checked + bool(entry.inference.verdicts),
        caught=before.caught + (entry.inference.status == Status.INVALIDATED.value),
    )
    view.put_counters(replace(counters, faults=tuple(known[name] for name in sorted(known))))


def _seen(view: View, commitment: bytes) -> PlantSeen | None:
    raw = view.get(keys.plant(commitment))
    return load(PlantSeen, raw) if raw is not None else None

"""What participants did in this epoch, and what follows. Law: a conviction needs an exact test; counters begin anew with each epoch.

Executors: the sequential test (verification/sequential.py); by Ville's inequality an honest one is convicted in an epoch with
probability at most exp(-conviction_milli / 1000), one in a million by default, wherever in the epoch one looks. Validators:
odd marks and missed duties, each against an honest rate (verification/duty.convicts). Both last until the end of the NEXT epoch.
"""

from __future__ import annotations

from collections.abc import Iterable

from msgspec.structs import replace

from p2p.ledger import parameters
from p2p.ledger.records import Inference, Panel, Standing
from p2p.ledger.rules import epoch_of
from p2p.ledger.view import View
from p2p.types import Genesis
from p2p.verification.duty import convicts

MAX_REPUTATION = 100


def count_finish(view: View, node: bytes) -> None:
    standing = view.standing(node)
    view.put_standing(node, replace(standing, finished=standing.finished + 1))


def count_checked(view: View, genesis: Genesis, height: int, inference: Inference, llr_milli: int | None, stands: bool) -> None:
    """A decided, checked inference of its executor for another's account. llr_milli: its weight in the sequential test."""
    assert inference.finish is not None
    finish = inference.finish.record
    standing = view.standing(finish.executor)
    # A dispute was opened by high ratios: one that began in an earlier epoch was selected by its own evidence and would bias this
    # epoch's test. Its verdict stands all the same.
    selected = inference.dispute_height and epoch_of(genesis, inference.dispute_height) != epoch_of(genesis, height)
    process = standing.process
    if llr_milli is not None and not selected:
        process = process.updated(llr_milli, parameters.checks(view, genesis).llr_cap_milli)
    view.put_standing(finish.executor, replace(
        standing, checked=standing.checked + 1, checked_tokens=standing.checked_tokens + finish.output_tokens, process=process,
    ))
    counters = view.counters()
    view.put_counters(replace(
        counters, honest=counters.honest + stands, false_alarms=counters.false_alarms + (stands and inference.dispute_height > 0),
        cheats=counters.cheats + (not stands),
    ))
    _judge_executor(view, genesis, height, finish.executor)


def strike(view: View, node: bytes) -> None:
    """An answer of `node` did not stand."""
    participant, standing = view.participant(node), view.standing(node)
    view.put_standing(node, replace(standing, struck=standing.struck + 1))
    if participant is not None:
        view.put_participant(replace(participant, reputation=0, strikes=participant.strikes + 1))


def _judge_executor(view: View, genesis: Genesis, height: int, node: bytes) -> None:
    standing, participant = view.standing(node), view.participant(node)
    log, limit = standing.process.log_milli(), parameters.checks(view, genesis).conviction_milli
    if participant is None or participant.convicted_until or log < limit:
        return
    epoch = epoch_of(genesis, height)
    reason = f"epoch {epoch}: log e-value {log} of {limit} thousandths of a nat after {standing.checked} checked inferences"
    view.put_participant(replace(participant, reputation=0, convicted_until=_next_end(genesis, height), convicted_reason=reason))


def count_duties(view: View, genesis: Genesis, height: int, panel: Panel) -> None:
    """When a committee's work is over: who neither committed nor revealed missed a duty."""
    said = {verdict.validator for verdict in panel.verdicts}
    for node in panel.members:
        standing = view.standing(node)
        view.put_standing(node, replace(standing, duties=standing.duties + 1, missed=standing.missed + (node not in said)))
        _judge_validator(view, genesis, height, node)


def mark(view: View, genesis: Genesis, height: int, compared: Iterable[bytes], odd: frozenset[bytes]) -> None:
    """One inference's comparison of validators."""
    for node in sorted(compared):
        standing = view.standing(node)
        view.put_standing(node, replace(standing, compared=standing.compared + 1, odd=standing.odd + (node in odd)))
        _judge_validator(view, genesis, height, node)


def _judge_validator(view: View, genesis: Genesis, height: int, node: bytes) -> None:
    standing, participant, checks = view.standing(node), view.participant(node), parameters.checks(view, genesis)
    if participant is None or participant.barred_until:
        return
    if convicts(standing.odd, standing.compared, checks.honest_odd_ppm, checks.conviction_ppb):
        what = f"stood alone in {standing.odd} of {standing.compared} comparisons"
    elif convicts(standing.missed, standing.duties, checks.honest_miss_ppm, checks.conviction_ppb):
        what = f"missed {standing.missed} of {standing.duties} duties"
    else:
        return
    reason = f"epoch {epoch_of(genesis, height)}: {what}"
    view.put_participant(replace(participant, barred_until=_next_end(genesis, height), barred_reason=reason))


def _next_end(genesis: Genesis, height: int) -> int:
    """The last height of the epoch after that of `height`."""
    return (epoch_of(genesis, height) + 2) * genesis.epoch_blocks


def end_epoch(view: View, genesis: Genesis, height: int) -> None:
    """At an epoch's last height: reputations, the ends of bars and convictions, new counters."""
    checks = parameters.checks(view, genesis)
    for participant in view.participants():
        standing = view.standing(participant.node)
        clean = standing.checked_tokens >= checks.min_checked_tokens and not standing.struck and not participant.convicted_until
        after = replace(
            participant,
            reputation=min(MAX_REPUTATION, participant.reputation + checks.reputation_gain * clean),
            convicted_until=participant.convicted_until if participant.convicted_until > height else 0,
            barred_until=participant.barred_until if participant.barred_until > height else 0,
        )
        if after != participant:
            view.put_participant(after)
        anew = Standing(finished_before=standing.finished)
        if anew != standing:
            view.put_standing(participant.node, anew)

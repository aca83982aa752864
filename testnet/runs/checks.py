"""What must hold of a network, judged from outside.

Law: pure; every check takes what was seen (evidence.py) and says in a sentence what it found. Nothing that a peer
believes of itself is taken where the chain, the kernel or a client can say it.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from itertools import pairwise

from p2p.base.types import ENDED
from testnet.manifest.model import Checks
from testnet.runs.events import Event
from testnet.runs.evidence import Evidence
from testnet.runs.result import CheckResult
from testnet.runs.watching import Look, highest

ENOUGH = 12  # checked answers, or compared verdicts, after which a cheat must have been convicted
ALARMS = 0.01  # share of honest answers that may be refused, and one more; a check is wrong once in a thousand
# Neighbours in the mesh of one topic: D_high of gossipsub, and those that have come since the last heartbeat.
MOST_MESH = 12 + 4
MIB = 1 << 20


def all_checks(seen: Evidence, wanted: Checks) -> list[CheckResult]:
    """Every check that the manifest wants, in the order in which people look at them."""
    table: tuple[tuple[bool, Callable[[Evidence, Checks], CheckResult]], ...] = (
        (True, alive), (True, done), (wanted.no_fork, no_fork), (True, grew), (wanted.acknowledged, acknowledged),
        (bool(wanted.answered_percent) and seen.asks, answered), (wanted.sums, sums), (wanted.verdicts, verdicts),
        (True, connected), (True, bounded),
    )
    return [check(seen, wanted) for is_wanted, check in table if is_wanted]


def alive(seen: Evidence, wanted: Checks) -> CheckResult:
    failures = [f"{name} ended by itself: {tail}" for name, tail in seen.died.items()]
    return _result("no process ended by itself", failures, f"{len(seen.members)} processes")


def done(seen: Evidence, wanted: Checks) -> CheckResult:
    failures = [f"{event.kind} of {event.who}: {event.error}" for event in seen.events if event.error]
    return _result("everything planned was done", failures, f"{len(seen.events)} perturbations")


def no_fork(seen: Evidence, wanted: Checks) -> CheckResult:
    """A block names the one before it, so two peers that agree on one height agree on all below it."""
    failures = []
    for height, by_peer in sorted(seen.blocks.items()):
        if len(set(by_peer.values())) > 1:
            says = "; ".join(f"{name} has {block} and {app}" for name, (block, app) in sorted(by_peer.items()))
            failures.append(f"height {height}: {says}")
    top = max(seen.blocks, default=0)
    peers = max((len(by_peer) for by_peer in seen.blocks.values()), default=0)
    says = f"{len(seen.blocks)} heights up to {top} compared on {peers} peers: block and app hash"
    return _result("no fork", failures or ([] if seen.blocks else ["no block could be compared"]), says)


def grew(seen: Evidence, wanted: Checks) -> CheckResult:
    """After each perturbation's end every peer that runs gets above the highest height of that moment."""
    failures, times = [], []
    for event in seen.events:
        if event.ended is None or event.error:
            continue
        event.grown = seen.grown(event.ended, event.names)
        if event.grown is None or event.grown - event.ended > wanted.heal_s:
            failures.append(f"{wanted.heal_s:g} s after {event.kind} of {event.who}: {_stuck(seen, event)}")
        else:
            times.append(event.grown - event.ended)
    if not seen.events and _rise(seen.looks) < 1:
        failures.append("no height grew")
    healed = f"healed within {max(times):.0f} s at most" if times else "nothing to heal from"
    return _result("heights grow", failures, f"{_rise(seen.looks)} heights in all, {healed}")


def _stuck(seen: Evidence, event: Event) -> str:
    """Which peers are not above the height of an event's end."""
    assert event.ended is not None
    goal, last = highest(seen.looks, event.ended), seen.last()
    stuck = [
        f"{name} {f'at {last[name].height}' if name in last else 'does not answer'}"
        for name in sorted(seen.expected(event.ended, event.names)) if name not in last or last[name].height <= goal
    ]
    return f"not all above {goal}: {', '.join(stuck)}" if stuck else f"all above {goal} only later"


def _rise(looks: Sequence[Look]) -> int:
    seen = [height for look in looks if (height := highest([look], look.at))]
    return seen[-1] - seen[0] if seen else 0


def acknowledged(seen: Evidence, wanted: Checks) -> CheckResult:
    """What a client has a receipt for is on the chain: ended, or on its way to an end."""
    failures = [f"inference {one[:16]} has a receipt, and no peer knows it" for one in seen.lost()]
    kinds = Counter(b.status if b.status in ENDED else "pending" for b in seen.inferences.values() if b is not None)
    counted = ", ".join(f"{count} {status}" for status, count in sorted(kinds.items())) or "none"
    return _result("no acknowledged inference is lost", failures, f"{len(seen.inferences)} with a receipt: {counted}")


def answered(seen: Evidence, wanted: Checks) -> CheckResult:
    asked, good = len(seen.answers), sum(1 for answer in seen.answers if answer.id and not answer.error)
    share = 100 * good / asked if asked else 0.0
    errors = Counter(answer.error[:120] for answer in seen.answers if answer.error)
    failures = []
    if share < wanted.answered_percent:
        most = "; ".join(f"{count} x {error}" for error, count in errors.most_common(3))
        failures.append(f"{share:.0f} % of {asked}, at least {wanted.answered_percent:g} % wanted: {most}")
    return _result("questions are answered", failures, f"{good} of {asked} ({share:.0f} %)")


def sums(seen: Evidence, wanted: Checks) -> CheckResult:
    """Rule M12: what came in is what went out, in each settled epoch."""
    failures = [f"epoch {epoch}: {said}" for epoch, said in seen.sums.items() if said]
    return _result("each epoch's money balances", failures, f"{len(seen.sums)} settled epochs")


def verdicts(seen: Evidence, wanted: Checks) -> CheckResult:
    """A cheat with enough checked answers is convicted or barred; an honest peer is neither."""
    failures, caught, few = [], 0, 0
    for row in seen.conduct:
        if row.convicted and not row.villain:
            failures.append(f"{row.name} is honest and was convicted: {row.convicted}")
        elif row.villain and row.convicted:
            caught += 1
        elif row.villain and row.checked >= ENOUGH:
            failures.append(f"{row.name} ({row.villain}) was looked at {row.checked} times and not convicted")
        elif row.villain:
            few += 1
    refused = seen.refused()
    if len(refused) > 1 + ALARMS * len(seen.inferences):
        failures += [f"an honest answer was refused: {sentence}" for sentence in refused]
    says = f"{caught} cheats convicted, {few} with fewer than {ENOUGH} checked answers, nobody honest"
    if refused:
        says += f"; {len(refused)} of {len(seen.inferences)} answers refused that were honest: {'; '.join(refused[:3])}"
    return _result("verdicts are right", failures, says)


def connected(seen: Evidence, wanted: Checks) -> CheckResult:
    running = {name: one for name, one in seen.last().items() if name not in seen.gone}
    least = wanted.connections if wanted.connections is not None else min(4, len(running) - 1)
    failures = [
        f"{name} has {one.connections} connections, at least {least} wanted"
        for name, one in sorted(running.items()) if one.connections < least
    ]
    failures += [
        f"{name} has a mesh of {max(one.mesh)} neighbours, at most {MOST_MESH} wanted"
        for name, one in sorted(running.items()) if max(one.mesh, default=0) > MOST_MESH
    ]
    counts = [one.connections for one in running.values()]
    meshes = [max(one.mesh, default=0) for one in running.values()]
    says = (
        f"{min(counts, default=0)} to {max(counts, default=0)} each, meshes of at most {max(meshes, default=0)}; "
        f"ended under load: {_ended(seen)}"
    )
    return _result("peers are connected", failures, says)


def _ended(seen: Evidence) -> str:
    """How many connections ended, by reason, at peers that were the same process from the first look to the last."""
    found = Counter[str]()
    for name in seen.last():
        mine = [look.peers[name] for look in seen.looks if name in look.peers]
        if all(before.cpu_s <= after.cpu_s for before, after in pairwise(mine)):
            found.update(Counter(dict(mine[-1].ended)) - Counter(dict(mine[0].ended)))
    return ", ".join(f"{count} {why}" for why, count in sorted(found.items())) or "none"


def bounded(seen: Evidence, wanted: Checks) -> CheckResult:
    failures = list(_over(seen, wanted))
    memory = max((one.rss for look in seen.looks for one in look.peers.values()), default=0) / MIB
    files = max((one.files for look in seen.looks for one in look.peers.values()), default=0)
    return _result("memory and files are bounded", failures, f"at most {memory:.0f} MiB and {files} files")


def _over(seen: Evidence, wanted: Checks) -> Iterator[str]:
    """One sentence for each peer above a bound, with its worst value."""
    for name in seen.members:
        mine = [look.peers[name] for look in seen.looks if name in look.peers]
        memory = max((one.rss for one in mine), default=0) / MIB
        files = max((one.files for one in mine), default=0)
        if memory > wanted.memory_mib:
            yield f"{name} had {memory:.0f} MiB, at most {wanted.memory_mib} allowed"
        if files > wanted.files:
            yield f"{name} had {files} open files, at most {wanted.files} allowed"


def heal_times(events: Sequence[Event]) -> list[tuple[str, float]]:
    """(what and whom, seconds until every height had grown), for each perturbation that ended and healed."""
    return [
        (f"{event.kind} of {event.who}", event.grown - event.ended)
        for event in events if event.grown is not None and event.ended is not None
    ]


def _result(name: str, failures: Sequence[str], says: str) -> CheckResult:
    return CheckResult(name, not failures, says, tuple(failures))

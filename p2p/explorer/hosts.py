"""Public statistics of hosts, and who works with whom. Law: pure, from what blocks and inferences say.

Tokens a second from the chain are a lower bound: a block's time is later than what it records. What a gateway beside
the explorer measured of its own answers stands next to it.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Mapping
from dataclasses import dataclass, field
from statistics import median

from p2p.base.types import ENDED, STANDS, Status
from p2p.explorer.history import History
from p2p.explorer.rows import HostPage, HostRow, StreamRow
from p2p.gateway.host_times import Timed
from p2p.wire.answers.inferences import InferenceAnswer

MAX_STREAMS = 200  # on the map
_LAST = 200  # inferences that are drawn as streams


@dataclass(slots=True)
class _Sums:
    finished: int = 0
    stood: int = 0
    refused: int = 0
    unjudged: int = 0
    tokens: int = 0
    verdicts: int = 0
    against: int = 0
    rates: list[float] = field(default_factory=list)


def hosts(history: History, timed: Mapping[str, Timed], looks: Mapping[str, tuple[int, int]]) -> HostPage:
    """Everybody who answered, checked or could sign in the blocks that are here. looks: node -> (looks at it, answers
    to them)."""
    sums: defaultdict[str, _Sums] = defaultdict(_Sums)
    for _, seen in history.all_seen():
        if seen.answer is not None:
            _count(sums, seen.answer, history)
    nodes = sorted({*sums, *history.voters()})
    rows = tuple(_row(node, sums[node], history, timed.get(node), looks.get(node, (0, 0))) for node in nodes)
    return HostPage(history.first, history.top, rows)


def _count(sums: defaultdict[str, _Sums], found: InferenceAnswer, history: History) -> None:
    for verdict in found.verdicts:
        sums[verdict.validator].verdicts += 1
        sums[verdict.validator].against += not verdict.valid
    if not found.executor:
        return
    mine = sums[found.executor]
    mine.finished += found.finish_height > 0
    mine.tokens += found.output_tokens
    if found.status in ENDED:
        mine.stood += found.status in STANDS
        mine.refused += found.status == Status.INVALIDATED.value
        mine.unjudged += found.status not in (*STANDS, Status.INVALIDATED.value)
    began, ended = history.time_of(found.start_height), history.time_of(found.finish_height)
    if began and ended > began and found.output_tokens > found.taken_over:
        mine.rates.append(1000 * (found.output_tokens - found.taken_over) / (ended - began))


def _row(
    node: str, found: _Sums, history: History, timed: Timed | None, looks: tuple[int, int],
) -> HostRow:
    signed, could = history.signed(node)
    return HostRow(
        node, found.finished, found.stood, found.refused, found.unjudged, found.tokens,
        round(median(found.rates), 1) if found.rates else None, timed, signed, could, *looks, found.verdicts,
        found.against,
    )


def streams(history: History) -> tuple[StreamRow, ...]:
    """Who answered for whom, and who checked whom, in the last inferences."""
    counts: Counter[tuple[str, str, str]] = Counter()
    running: Counter[tuple[str, str, str]] = Counter()
    for at, (_, seen) in enumerate(history.all_seen()):
        if at >= _LAST:
            break
        found = seen.answer
        if found is None:
            continue
        executor = found.executor or (found.candidates[0] if found.candidates else "")
        if not executor:
            continue
        ways = [(found.agent, executor, "answer")]
        ways += [(executor, node, "check") for committee in found.committees for node in committee.members]
        for way in ways:
            counts[way] += 1
            running[way] += found.status not in ENDED
    return tuple(
        StreamRow(source, target, kind, count, running[source, target, kind])
        for (source, target, kind), count in counts.most_common(MAX_STREAMS)
    )

"""What the last blocks were, in memory. Law: pure; every list has a bound, and the oldest goes first.

It holds what peers do not keep in a list: rows of blocks, the inferences that they name with the heights of their
records, who signed, and how prices moved.
"""

from __future__ import annotations

from collections import Counter, OrderedDict, deque
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from itertools import pairwise
from statistics import median

from p2p.base import serving_limits as limits
from p2p.base.types import ENDED
from p2p.explorer.rows import BlockPage, BlockRow, InferencePage, InferenceRow, PriceHistory, PricePoint, Step
from p2p.wire.answers.blocks import BlockAnswer
from p2p.wire.answers.inferences import InferenceAnswer
from p2p.wire.answers.network import PricesAnswer

Nodes = frozenset[str]


@dataclass(slots=True)
class Seen:
    """An inference that a block named."""

    number: int
    steps: list[Step] = field(default_factory=list)
    answer: InferenceAnswer | None = None  # as it was read last

    @property
    def is_open(self) -> bool:
        return self.answer is None or self.answer.status not in ENDED


class History:
    """Of one network, from the first block that was read on."""

    def __init__(self, blocks: int = limits.EXPLORER_BLOCKS, inferences: int = limits.EXPLORER_INFERENCES) -> None:
        self._most_blocks, self._most = blocks, inferences
        self._blocks: OrderedDict[int, BlockRow] = OrderedDict()
        self._signers: dict[int, tuple[Nodes, Nodes]] = {}  # height -> (who signed, who could)
        self._signed: Counter[str] = Counter()
        self._could: Counter[str] = Counter()
        self._seen: OrderedDict[str, Seen] = OrderedDict()
        self._prices: dict[str, deque[PricePoint]] = {}
        self._numbers = 0

    # -- what comes in ----------------------------------------------------------------------------------------------

    def add_block(self, block: BlockAnswer, signers: Iterable[str], validators: Iterable[str]) -> tuple[str, ...]:
        """The inferences that it names. Blocks come in ascending order; a gap forgets nothing."""
        signed, could = frozenset(signers), frozenset(validators)
        self._blocks[block.height] = BlockRow(
            block.height, block.block_id, block.time_ms, block.round, block.commit_round, block.proposer, block.txs,
            len(block.records), len(block.refused), len(signed), len(could),
        )
        self._signers[block.height] = (signed, could)
        self._signed.update(signed)
        self._could.update(could)
        while len(self._blocks) > self._most_blocks:
            self._forget_block()
        return self._note(block)

    def _forget_block(self) -> None:
        height, _ = self._blocks.popitem(last=False)
        signed, could = self._signers.pop(height)
        self._signed.subtract(signed)
        self._could.subtract(could)
        self._signed, self._could = +self._signed, +self._could

    def _note(self, block: BlockAnswer) -> tuple[str, ...]:
        kinds = Counter((record.inference_id, record.kind) for record in block.records if record.inference_id)
        for (inference_id, kind), count in kinds.items():
            seen = self._seen.get(inference_id)
            if seen is None:
                self._numbers += 1
                seen = self._seen[inference_id] = Seen(self._numbers)
            if len(seen.steps) < limits.EXPLORER_STEPS:
                seen.steps.append(Step(kind, block.height, block.time_ms, count))
        while len(self._seen) > self._most:
            self._seen.popitem(last=False)
        return tuple(dict.fromkeys(inference_id for inference_id, _ in kinds if inference_id in self._seen))

    def add_inference(self, answer: InferenceAnswer) -> bool:
        """Whether it is one that a block named here, and its status is news."""
        seen = self._seen.get(answer.id)
        if seen is None:
            return False
        before, seen.answer = seen.answer, answer
        return before is None or before.status != answer.status

    def add_prices(self, prices: PricesAnswer, time_ms: int) -> bool:
        """Whether one of them moved."""
        moved = False
        for row in prices.prices[: limits.EXPLORER_MODELS]:
            if row.model not in self._prices and len(self._prices) >= limits.EXPLORER_MODELS:
                continue
            points = self._prices.setdefault(row.model, deque(maxlen=limits.EXPLORER_PRICES))
            last = points[-1] if points else None
            if last is None or (last.price_micro, last.utilisation_milli) != (row.price_micro, row.utilisation_milli):
                points.append(PricePoint(prices.height, time_ms, row.price_micro, row.utilisation_milli))
                moved = True
        return moved

    # -- what is asked ----------------------------------------------------------------------------------------------

    @property
    def top(self) -> int:
        """The newest height that was read; 0: none."""
        return next(reversed(self._blocks), 0)

    @property
    def first(self) -> int:
        return next(iter(self._blocks), 0)

    def block(self, height: int) -> BlockRow | None:
        return self._blocks.get(height)

    def time_of(self, height: int) -> int:
        """In milliseconds; 0 for a block that is not here."""
        found = self._blocks.get(height)
        return found.time_ms if found else 0

    def blocks(self, before: int | None, limit: int) -> BlockPage:
        """Blocks below `before`, newest first."""
        rows: list[BlockRow] = []
        for height in reversed(self._blocks):
            if before is None or height < before:
                rows.append(self._blocks[height])
            if len(rows) > limit:
                break
        more = len(rows) > limit
        return BlockPage(self.top, tuple(rows[:limit]), rows[limit - 1].height if more else None)

    def block_ms(self) -> int | None:
        """The median time between two of the last blocks."""
        rows = self.blocks(None, 50).blocks
        steps = [a.time_ms - b.time_ms for a, b in pairwise(rows) if a.height == b.height + 1]
        return round(median(steps)) if steps else None

    def seen(self, inference_id: str) -> Seen | None:
        return self._seen.get(inference_id)

    def unread(self, limit: int) -> tuple[str, ...]:
        """Inferences that no answer is here for, newest first."""
        found = []
        for inference_id in reversed(self._seen):
            if self._seen[inference_id].answer is None:
                found.append(inference_id)
            if len(found) == limit:
                break
        return tuple(found)

    def all_seen(self) -> Iterator[tuple[str, Seen]]:
        """Newest first."""
        return reversed(self._seen.items())

    def inferences(
        self, before: int | None, limit: int, status: str = "", node: str = "", account: str = "",
    ) -> InferencePage:
        """Those that are read, newest first. node: with a part in it as agent, executor or validator. status: as on
        chain, or 'open' for those that have not ended."""
        rows: list[InferenceRow] = []
        for seen in reversed(self._seen.values()):
            if before is not None and seen.number >= before:
                continue
            if seen.answer is not None and _fits(seen.answer, status, node, account):
                rows.append(self._row(seen, seen.answer))
            if len(rows) > limit:
                break
        more = len(rows) > limit
        return InferencePage(tuple(rows[:limit]), rows[limit - 1].number if more else None, len(self._seen))

    def _row(self, seen: Seen, found: InferenceAnswer) -> InferenceRow:
        against = sum(not verdict.valid for verdict in found.verdicts)
        return InferenceRow(
            found.id, seen.number, found.status, found.model, found.account, found.agent, found.executor,
            found.start_height, self.time_of(found.start_height), self.time_of(found.finish_height),
            found.prompt_tokens, found.output_tokens, found.charged_micro, len(found.verdicts) - against, against,
        )

    def signed(self, node: str) -> tuple[int, int]:
        """(blocks that it signed, blocks that it could sign)."""
        return self._signed[node], self._could[node]

    def voters(self) -> tuple[str, ...]:
        """Who could sign one of the blocks that are here."""
        return tuple(sorted(self._could))

    def rounds(self) -> dict[str, int]:
        """Round of the decision -> blocks."""
        return {str(number): count for number, count in sorted(Counter(b.commit_round for b in self._blocks.values())
                                                               .items())}

    def prices(self) -> tuple[PriceHistory, ...]:
        return tuple(PriceHistory(model, tuple(points)) for model, points in sorted(self._prices.items()))


def _fits(found: InferenceAnswer, status: str, node: str, account: str) -> bool:
    if status and (found.status in ENDED if status == "open" else found.status != status):
        return False
    if account and found.account != account:
        return False
    if not node:
        return True
    return node in (found.agent, found.executor) or any(node in committee.members for committee in found.committees)

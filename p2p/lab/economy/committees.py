"""Committees at work: which validator says what about which answer, and when. Law: a validator knows what its own stack
would measure; validators of one stack measure the same and show the same numbers, as equal kernels give equal bits.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import lru_cache

import numpy as np

from p2p.base.genesis import CheckRules
from p2p.base.keys import digest
from p2p.base.serving_limits import REVEAL_RANKS
from p2p.base.types import ENDED, RevealedRow, StackClass, Status, Verdict, VerdictKind
from p2p.lab.economy.assumptions import Assumptions
from p2p.lab.economy.detection import ACROSS, FAKE, HONEST, SAME, false_alarm_rate, rows
from p2p.lab.economy.network import Network
from p2p.lab.economy.operators import Operator
from p2p.lab.economy.strategies import Checking
from p2p.ledger.state.committee import Committee

SALT = digest(b"economy", b"salt")
# Where numbers come from: the right model, or what a ring of lazy validators agreed on. A lazy validator alone uses its
# node key.
TRUE, RING = b"true", b"ring"
MOST, OTHER = b"", b"other"  # kernels of executors and most validators, and those of the minority
# Mean distance of numbers from those of equal kernels, of other kernels and of int8 weights
# (p2p.lab.measure.kernel_distance).
OTHER_MILLI, CHEAP_MILLI = 73, 120
NO_PAYLOAD = VerdictKind.WITHHELD  # the verdict on a payload that nobody gave
FRAMED_MILLI = 50_000  # ratio of a false accusation: as convincing as a real cheat's
QUIET = (HONEST, "int8", "laundered_int8")  # kinds of answers that int8 weights cannot tell from honest ones
VALID_MILLI = -1000  # ratio that a validator claims which did not look


@lru_cache(maxsize=1 << 16)
def numbers(source: bytes, position: int, kernels: bytes = MOST, distance_milli: int = OTHER_MILLI) -> RevealedRow:
    """What a validator shows at a position. Different sources share no candidates; other kernels than MOST are off
    by `distance_milli` in the mean. All answers have the same numbers: nothing in the ledger compares answers."""
    raw, noise = (digest(b"economy row", what, position.to_bytes(4, "big")) for what in (source, source + kernels))
    ranks = range(REVEAL_RANKS)
    off = [int.from_bytes(noise[2 * i : 2 * i + 2], "big") * 2 * distance_milli >> 16 if kernels else 0 for i in ranks]
    tokens = [int.from_bytes(raw[4 * i : 4 * i + 3], "big") * REVEAL_RANKS + i for i in ranks]
    return RevealedRow(position, tuple((tokens[i], -3000 - 100 * i - off[i]) for i in ranks))


@dataclass(slots=True)
class AnswerToCheck:
    """One answer that may be checked."""

    inference_id: bytes
    node: bytes  # of the executor
    executor: Operator
    kind: str  # a key of detection.CASES, or FAKE
    tokens: int
    measured: dict[str, int] = field(default_factory=dict)  # SAME or ACROSS -> ratio, thousandths of a nat


class Committees:
    """All validators of a world, and the answers they may have to check."""

    def __init__(
        self, network: Network, of: Mapping[bytes, Operator], foreign: dict[bytes, bool], assume: Assumptions,
        checks: CheckRules, rng: np.random.Generator,
    ) -> None:
        """of: node -> its operator. foreign: node -> whether it is on the minority's stack."""
        self.network, self.of, self.foreign, self.assume = network, of, foreign, assume
        self.checks, self.rng = checks, rng
        # Whether a validator cannot get the payload; attacks.py replaces it.
        self.missing: Callable[[AnswerToCheck, bytes], bool] = lambda answer, node: False
        self._watched: dict[bytes, AnswerToCheck] = {}
        self._to_commit: list[AnswerToCheck] = []
        self._to_reveal: list[bytes] = []
        self._said: dict[bytes, list[Verdict]] = {}  # inference id -> verdicts that are committed and to be revealed
        self._asked: set[tuple[bytes, int]] = set()  # (inference id, draw's height) of committees that were asked

    def watch(self, inference_id: bytes, node: bytes, kind: str, tokens: int) -> None:
        self._watched[inference_id] = AnswerToCheck(inference_id, node, self.of[node], kind, tokens)

    def stack(self, node: bytes) -> str:
        """The stack that a node names in its finish records."""
        if self.of[node].strategy.stranger:
            return self.of[node].strategy.kernels or f"kernels of {node.hex()[:8]}"
        return (StackClass.TORCH_CPU_BF16 if self.foreign[node] else StackClass.CPU_BF16).value

    def commit(self) -> None:
        for answer in self._to_commit:
            committee = self.network.inference(answer.inference_id).committees[-1]
            found = [verdict for node in committee.members if (verdict := self._verdict(answer, node)) is not None]
            for verdict in found:
                self.network.commit(verdict)
            self._said[answer.inference_id] = found
        self._to_commit = []

    def reveal(self) -> None:
        for inference_id in self._to_reveal:
            for verdict in self._said.pop(inference_id):
                self.network.reveal(verdict)
        self._to_reveal = []

    def after_block(self) -> None:
        """Count the answers that are decided, and see which committees must commit or reveal in the next block."""
        for inference_id, answer in list(self._watched.items()):
            found = self.network.inference(inference_id)
            if found.status in ENDED or found.outcome:
                answer.executor.count(found.status)
                answer.executor.count("checked", bool(found.committees))
                del self._watched[inference_id]
                for committee in found.committees:
                    self._asked.discard((inference_id, committee.height))
                self._said.pop(inference_id, None)
            elif found.status == Status.REVEALING.value:
                if inference_id in self._said:
                    self._to_reveal.append(inference_id)
            elif found.committees:
                self._ask(answer, found.committees[-1])

    def _ask(self, answer: AnswerToCheck, committee: Committee) -> None:
        if (answer.inference_id, committee.height) not in self._asked:
            self._asked.add((answer.inference_id, committee.height))
            self._to_commit.append(answer)

    # -- what one validator says ---------------------------------------------------------------------------------------

    def _verdict(self, answer: AnswerToCheck, node: bytes) -> Verdict | None:
        """What validator `node` says about the answer; None where it is silent."""
        if self.missing(answer, node):
            return Verdict(answer.inference_id, node, NO_PAYLOAD, "nobody gave the payload", 0, 0, (), SALT)
        operator = self.of[node]
        checking = operator.strategy.checking
        if checking in (Checking.SILENT, Checking.LAZY, Checking.RING):
            checking = checking if self.rng.random() < operator.strategy.lazy_share else Checking.HONEST
        if checking is Checking.SILENT:
            return None
        if checking in (Checking.LAZY, Checking.RING):
            return self._verdict_of(answer, node, True, VALID_MILLI, RING if checking is Checking.RING else node)
        cheap = checking in (Checking.CHEAP, Checking.LOUD)
        operator.spent_micro += self.assume.check_micro("int8" if cheap else HONEST, answer.tokens)
        operator.count("checks")
        if cheap:
            heard = checking is Checking.LOUD and answer.kind not in QUIET
            ratio = FRAMED_MILLI if heard else VALID_MILLI
            return self._verdict_of(answer, node, not heard, ratio, TRUE, node, CHEAP_MILLI)
        kernels = OTHER if self.foreign[node] else MOST
        friend = operator.strategy.name == answer.executor.strategy.name
        if checking is Checking.FRIENDS and friend:
            return self._verdict_of(answer, node, True, VALID_MILLI, TRUE, node)
        if checking is Checking.FRAME and not friend:
            return self._verdict_of(answer, node, False, FRAMED_MILLI, TRUE, kernels)
        if answer.kind == FAKE:
            return Verdict(answer.inference_id, node, VerdictKind.INVALID, "refused without a prefill", 0, 0, (), SALT)
        equal = not answer.executor.strategy.stranger and self.foreign[node] is self.foreign[answer.node]
        pair = SAME if equal else ACROSS
        ratio, limit = self._measure(answer, pair), rows()[answer.kind, pair].limit_milli(answer.tokens)
        return self._verdict_of(answer, node, ratio <= limit, ratio, TRUE, kernels)

    def _measure(self, answer: AnswerToCheck, pair: str) -> int:
        """The ratio that an honest check measures, drawn at the first one of each pair. pair: SAME or ACROSS."""
        if pair not in answer.measured:
            row = rows()[answer.kind, pair]
            honest = answer.kind == HONEST
            rate = false_alarm_rate(row, answer.tokens, self.checks) if honest else row.rate(answer.tokens)
            answer.measured[pair] = row.llr_milli(answer.tokens, rate, self.rng)
        return answer.measured[pair]

    def _verdict_of(
        self, answer: AnswerToCheck, node: bytes, valid: bool, ratio: int, source: bytes, kernels: bytes = MOST,
        distance_milli: int = OTHER_MILLI,
    ) -> Verdict:
        at = self.network.positions(answer.inference_id, node, answer.tokens)
        kind, reason = (VerdictKind.VALID, "") if valid else (VerdictKind.INVALID, "not what this model samples")
        shown = tuple(numbers(source, position, kernels, distance_milli) for position in at)
        return Verdict(answer.inference_id, node, kind, reason, ratio, answer.tokens, shown, SALT)

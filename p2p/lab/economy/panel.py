"""Committees at work: who says what of which answer, and when. Law: a validator knows what its own stack would measure; one measurement of an answer
is the same for all validators of a stack, and so are the numbers they show, as equal kernels give equal bits.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import lru_cache

import numpy as np

from p2p.base.genesis import CheckRules
from p2p.base.keys import digest
from p2p.base.types import ENDED, RevealedRow, StackClass, Status, Verdict, VerdictKind
from p2p.lab.economy.assumptions import Assumptions
from p2p.lab.economy.detection import ACROSS, FAKE, HONEST, SAME, false_alarm_rate, rows
from p2p.lab.economy.network import Network
from p2p.lab.economy.operators import Operator
from p2p.lab.economy.strategies import Judge
from p2p.ledger.state.committee import Panel

SALT = digest(b"economy", b"salt")
TRUE, RING = b"true", b"ring"  # whose numbers: of the right model, agreed on by a ring of lazy validators; else a lazy one's own
MOST, OTHER = b"", b"other"  # kernels: those of executors and of most validators, those of the minority
APART_MILLI, CHEAP_MILLI = 73, 120  # that numbers of other kernels, and of int8 weights, are apart in the mean (p2p.lab.measure.kernel_distance)
UNSEEN = VerdictKind.WITHHELD  # what is said of a payload that nobody gave
FRAMED_MILLI = 50_000  # as convincing as a real cheat
QUIET = (HONEST, "int8", "laundered_int8")  # what int8 weights cannot tell from honest
VALID_MILLI = -1000  # what a validator that did not look says it measured


@lru_cache(maxsize=1 << 16)
def numbers(source: bytes, position: int, kernels: bytes = MOST, apart_milli: int = APART_MILLI) -> RevealedRow:
    """Candidates that different sources do not share; other kernels are `apart_milli` off in the mean. All answers have the same ones: nothing in
    the ledger compares answers."""
    raw, apart = (digest(b"economy row", what, position.to_bytes(4, "big")) for what in (source, source + kernels))
    off = [int.from_bytes(apart[2 * i : 2 * i + 2], "big") * 2 * apart_milli >> 16 if kernels else 0 for i in range(4)]
    return RevealedRow(position, tuple((int.from_bytes(raw[4 * i : 4 * i + 3], "big") * 4 + i, -3000 - 100 * i - off[i]) for i in range(4)))


@dataclass(slots=True)
class Case:
    """One answer that may be checked. measured: milli-nats by pair of stacks, drawn when somebody looks."""

    inference_id: bytes
    node: bytes
    executor: Operator
    kind: str
    tokens: int
    measured: dict[str, int] = field(default_factory=dict)


class Bench:
    def __init__(
        self, network: Network, of: Mapping[bytes, Operator], foreign: dict[bytes, bool], assume: Assumptions, checks: CheckRules,
        rng: np.random.Generator,
    ) -> None:
        self.network, self.of, self.foreign, self.assume, self.checks, self.rng = network, of, foreign, assume, checks, rng
        self.missing: Callable[[Case, bytes], bool] = lambda case, node: False  # whether a validator cannot get the payload
        self._watched: dict[bytes, Case] = {}
        self._to_commit: list[Case] = []
        self._to_reveal: list[bytes] = []
        self._said: dict[bytes, list[Verdict]] = {}  # committed and to be revealed
        self._asked: set[tuple[bytes, int]] = set()  # committees that have spoken

    def watch(self, inference_id: bytes, node: bytes, kind: str, tokens: int) -> None:
        self._watched[inference_id] = Case(inference_id, node, self.of[node], kind, tokens)

    def stack(self, node: bytes) -> str:
        """What it names in its finish records."""
        if self.of[node].strategy.stranger:
            return f"kernels of {node.hex()[:8]}"
        return (StackClass.TORCH_CPU_BF16 if self.foreign[node] else StackClass.CPU_BF16).value

    def commit(self) -> None:
        for case in self._to_commit:
            panel = self.network.inference(case.inference_id).panels[-1]
            found = [verdict for node in panel.members if (verdict := self._verdict(case, node)) is not None]
            for verdict in found:
                self.network.commit(verdict)
            self._said[case.inference_id] = found
        self._to_commit = []

    def reveal(self) -> None:
        for inference_id in self._to_reveal:
            for verdict in self._said.pop(inference_id):
                self.network.reveal(verdict)
        self._to_reveal = []

    def after_block(self) -> None:
        """What became of the answers that are on their way."""
        for inference_id, case in list(self._watched.items()):
            found = self.network.inference(inference_id)
            if found.status in ENDED or found.outcome:
                case.executor.count(found.status)
                case.executor.count("checked", bool(found.panels))
                del self._watched[inference_id]
                for panel in found.panels:
                    self._asked.discard((inference_id, panel.height))
                self._said.pop(inference_id, None)
            elif found.status == Status.REVEALING.value:
                if inference_id in self._said:
                    self._to_reveal.append(inference_id)
            elif found.panels:
                self._ask(case, found.panels[-1])

    def _ask(self, case: Case, panel: Panel) -> None:
        if (case.inference_id, panel.height) not in self._asked:
            self._asked.add((case.inference_id, panel.height))
            self._to_commit.append(case)

    # -- what one of them says --------------------------------------------------------------------------------------

    def _verdict(self, case: Case, node: bytes) -> Verdict | None:
        """None: it is silent."""
        if self.missing(case, node):
            return Verdict(case.inference_id, node, UNSEEN, "nobody gave the payload", 0, 0, (), SALT)
        operator = self.of[node]
        judge = operator.strategy.judge
        if judge in (Judge.SILENT, Judge.LAZY, Judge.RING) and self.rng.random() >= operator.strategy.lazy_share:
            judge = Judge.HONEST
        if judge is Judge.SILENT:
            return None
        if judge in (Judge.LAZY, Judge.RING):
            return self._say(case, node, True, VALID_MILLI, RING if judge is Judge.RING else node)
        cheap = judge in (Judge.CHEAP, Judge.LOUD)
        operator.spent_micro += self.assume.check_micro("int8" if cheap else HONEST, case.tokens)
        operator.count("checks")
        if cheap:
            heard = judge is Judge.LOUD and case.kind not in QUIET
            return self._say(case, node, not heard, FRAMED_MILLI if heard else VALID_MILLI, TRUE, node, CHEAP_MILLI)
        kernels = OTHER if self.foreign[node] else MOST
        friend = operator.strategy.name == case.executor.strategy.name
        if judge is Judge.FRIENDS and friend:
            return self._say(case, node, True, VALID_MILLI, TRUE, node)
        if judge is Judge.FRAME and not friend:
            return self._say(case, node, False, FRAMED_MILLI, TRUE, kernels)
        if case.kind == FAKE:
            return Verdict(case.inference_id, node, VerdictKind.INVALID, "refused without a prefill", 0, 0, (), SALT)
        pair = ACROSS if case.executor.strategy.stranger or self.foreign[node] is not self.foreign[case.node] else SAME
        ratio = self._measure(case, pair)
        return self._say(case, node, ratio <= rows()[case.kind, pair].limit_milli(case.tokens), ratio, TRUE, kernels)

    def _measure(self, case: Case, pair: str) -> int:
        if pair not in case.measured:
            row = rows()[case.kind, pair]
            rate = false_alarm_rate(row, case.tokens, self.checks) if case.kind == HONEST else row.rate(case.tokens)
            case.measured[pair] = row.llr_milli(case.tokens, rate, self.rng)
        return case.measured[pair]

    def _say(
        self, case: Case, node: bytes, valid: bool, ratio: int, source: bytes, kernels: bytes = MOST, apart_milli: int = APART_MILLI
    ) -> Verdict:
        at = self.network.positions(case.inference_id, node, case.tokens)
        kind, reason = (VerdictKind.VALID, "") if valid else (VerdictKind.INVALID, "not what this model samples")
        return Verdict(case.inference_id, node, kind, reason, ratio, case.tokens, tuple(numbers(source, p, kernels, apart_milli) for p in at), SALT)

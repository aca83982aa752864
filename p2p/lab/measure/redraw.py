"""Choices drawn again: what hosts take at the positions of real answers, under other parameters, seeds and weights.

Law: the numbers are of real prefills (contexts.py); only the choice is made here, by the rule that engines follow.

Whether a token is lost depends on the text before it, on both stacks' numbers there, on parameters and on the tape. The
first two are costly and are kept; the others are drawn as often as wanted. Penalties count the real text's tokens on
both sides. A host chooses among the candidates that are in all rows of a position: a token far down that one row lacks
would look like one that was passed over.

Two stacks differ alike from either side. So one stack's real answers to the clients' space, scored by both, also show
what the other stack would have chosen there, and what the first would say of it (`MIRRORED`): real texts of hot
answers too, each once.

An executor's cheap weights were run on one stack only. Checked by the same kernels they stand for any equal kernels,
checked by the other stack for any pair of strangers (`SOURCES`).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from msgspec.structs import replace

from p2p.base.keys import digest
from p2p.base.serving_limits import TOP_RANKS
from p2p.lab.attacks import temperature_tuned_int4, wrong_temperature, wrong_top_p
from p2p.lab.attacks.base import best
from p2p.lab.measure.contexts import CHEAP, RUN
from p2p.lab.measure.facts import AGAIN, HEADER, Evidence, sampling_as
from p2p.lab.measure.plan import FREE, MIRRORED, RELABELLED, SPACE, TORCH, VLLM, Run, by_name, find
from p2p.lab.measure.space import Asked
from p2p.lab.measure.store import Answer, Measured
from p2p.verification import tape
from p2p.verification.artifact import build
from p2p.verification.calibration import Facts
from p2p.verification.engine import Job, Row, TokenStep
from p2p.verification.statistics import DECIDED, GAP, LEAD, ROW_TOP, Floats, answer_facts

DRAWS, SPACE_DRAWS = 1, 6  # of each answer; the latter where each draw has parameters of its own
UNLIKE = {"temperature_tuned_int4": "int4"}  # cheats that run another cheat's weights
# hosts that drop the mask: what they take is what the real answers, made without one, took
UNMASKED = frozenset(case for case, (run, _) in RELABELLED.items() if by_name(run).params == FREE)
Change = Callable[[Job], Job]
CHANGES: dict[str, Change] = {
    "wrong_temperature": wrong_temperature.change, "wrong_top_p": wrong_top_p.change,
    "temperature_tuned_int4": temperature_tuned_int4.change,
}


@dataclass(frozen=True, slots=True)
class Source:
    """Whose rows stand for an executor's choices, for what it publishes when it launders, and for the validator."""

    chooses: str
    right: str
    validator: str


class Redrawn(Evidence):
    """Evidence in which a case that was not generated is drawn again from contexts."""

    def __init__(self, measured: Measured, contexts: Measured) -> None:
        super().__init__(measured)
        self.contexts = contexts
        self._alike = dict[tuple[str, str, str, float], tuple[tuple[str, ...], Facts]]()
        self._rows = lru_cache(maxsize=None)(lambda name: [[_best(row) for row in a] for a in contexts.rows(RUN, name)])
        self._texts = lru_cache(maxsize=None)(lambda: contexts.answers(RUN))
        self._real_rows = lru_cache(maxsize=None)(
            lambda run, name: [[_best(row) for row in a] for a in measured.rows(run, name)]
        )

    def has(self, case: str, validator: str) -> bool:
        if self.is_generated(case):
            return super().has(case, validator)
        run = find(self.run_of(case))
        if run is None:
            return False
        if case in UNMASKED:
            return all(self.contexts.has_rows(RUN, stack) for stack in (TORCH, VLLM))
        if case in MIRRORED:
            return validator != run.stack and bool(self._mirrored(run))
        again = run.joined or (not run.attack and run.batch == 4)  # nothing that another run does not draw
        if again or run.drawn is not run.redrawn or not self.contexts.has_answers(RUN):
            return False
        source = _source(run, validator, relabelled=case in RELABELLED or case == "wrong_seed")
        return source is not None and all(
            self.contexts.has_rows(RUN, name) for name in (source.chooses, source.right, source.validator)
        )

    def asked(self, case: str) -> dict[str, Asked]:
        if self.is_generated(case):
            return super().asked(case)
        run = by_name(self.run_of(case))
        space = int(self.measured.noted("space").get("seed", 0))
        if case in RELABELLED:
            return {id_: Asked(RELABELLED[case][1]) for id_, _, _ in self._drawn(run)}
        if case in MIRRORED:  # as the real answer was
            return {
                id_: by_name(id_.rpartition(AGAIN)[2]).asked(space, a.prompt, a.prompt_tokens)
                for id_, a, _ in self._drawn(run)
            }
        return {id_: run.asked(space, id_, answer.prompt_tokens) for id_, answer, _ in self._drawn(run)}

    def run_of(self, case: str) -> str:
        drawn = case == "wrong_seed" and self.contexts.has_answers(RUN)
        return "honest_b16" if drawn else super().run_of(case)

    def _drawn(self, run: Run) -> list[tuple[str, Answer, int]]:
        """(id, answer, its place) of each draw."""
        if run.name in MIRRORED:
            real = [(name, answer) for name in self._mirrored(run) for answer in self._answers(name)]
            return [(f"{a.prompt}{AGAIN}{name}", a, at) for at, (name, a) in enumerate(real) if a.steps]
        return [
            (f"{answer.prompt}{AGAIN}{draw}", answer, at)
            for at, answer in enumerate(self._texts()) if answer.steps
            for draw in range(SPACE_DRAWS if run.drawn else DRAWS)
        ]

    def _mirrored(self, run: Run) -> list[str]:
        """The other stack's real answers to the clients' space that both stacks scored."""
        return [
            one.name for one in SPACE
            if one.stack != run.stack and self.is_generated(one.name)
            and all(self.measured.has_rows(one.name, stack) for stack in (VLLM, TORCH))
        ]

    def _rows_of(self, run: Run, name: str) -> list[list[Row]]:
        """Rows of `name`, an engine, at the positions of `_drawn`."""
        if run.name in MIRRORED:
            return [rows for real in self._mirrored(run) for rows in self._real_rows(real, name)]
        return self._rows(name)

    def _contexts(self, case: str) -> dict[str, int]:
        if self.is_generated(case):
            return super()._contexts(case)
        run = by_name(self.run_of(case))
        return {id_: len(a.prompt_tokens) + len(a.steps) for id_, a, _ in self._drawn(run)}

    def _make(self, case: str, validator: str) -> tuple[tuple[str, ...], Facts]:
        if self.is_generated(case):
            return super()._make(case, validator)
        if case in UNMASKED:
            return self._as_they_are(case, validator)
        run = by_name(self.run_of(case))
        source = _source(run, validator, relabelled=case in RELABELLED or case == "wrong_seed")
        assert source is not None
        alike = (
            case.replace("_torch", "") if source.chooses in {s.name for s in CHEAP} else case, source.chooses,
            source.validator, self.edge(run.stack, validator)
        )
        if alike not in self._alike:  # one stack's cheap weights stand for both directions
            self._alike[alike] = self._draw(case, run, source, validator)
        return self._alike[alike]

    def _draw(self, case: str, run: Run, source: Source, validator: str) -> tuple[tuple[str, ...], Facts]:
        chooses, right, own = (self._rows_of(run, name) for name in (source.chooses, source.right, source.validator))
        edge = round(self.edge(run.stack, validator), 3)
        kept = self.measured if run.name in MIRRORED else self.contexts
        reads, ends = self.asked(case), frozenset(kept.noted("space").get("ends", ()))
        ids, values = [], []
        for id_, answer, at in self._drawn(run):
            seed = digest(b"redrawn", run.name.removesuffix("_torch").encode(), id_.encode())
            wanted = reads[id_]
            does = self._does(run, Asked(run.params) if case in RELABELLED else wanted, answer, seed)
            published = right[at] if case.startswith("laundered_") else chooses[at]
            shown = digest(b"a seed of my own", seed) if case == "wrong_seed" else seed
            values.append(_facts(answer, does, wanted, (chooses[at], published, own[at]), seed, shown, ends, edge))
            ids.append(id_)
        return tuple(ids), Facts(np.concatenate(values), tuple(map(len, values)))

    def _as_they_are(self, case: str, validator: str) -> tuple[tuple[str, ...], Facts]:
        """The real answers' own tokens, judged as if a mask had been asked for. What the tape likes best is left out
        here, for decoding and prefill of this stack differ a little."""
        own = self.contexts.rows(RUN, TORCH if validator == VLLM else VLLM)
        params, edge = RELABELLED[case][1], round(self.edge(VLLM, validator), 3)
        ids, values = [], []
        for id_, answer, at in self._drawn(by_name(self.run_of(case))):
            seed = bytes.fromhex(answer.seed)
            positions = build(replace(HEADER, params=params, seed=seed), answer.steps).positions()
            facts = answer_facts(positions, own[at], params, seed, edge=edge)
            facts[:, [LEAD, GAP, DECIDED]] = 0.0
            ids.append(id_)
            values.append(facts)
        return tuple(ids), Facts(np.concatenate(values), tuple(map(len, values)))

    def _does(self, run: Run, wanted: Asked, answer: Answer, seed: bytes) -> Asked:
        """How the executor samples where `wanted` was asked for."""
        name = run.name.removesuffix("_torch")
        if name not in CHANGES:
            return wanted
        job = Job(answer.prompt_tokens, 1, wanted.params, seed, bias=wanted.bias)
        return Asked(CHANGES[name](job).params, wanted.bias)


def _source(run: Run, validator: str, *, relabelled: bool) -> Source | None:
    """None where nothing that was scored stands for this run and validator. relabelled: another mask was asked for."""
    name = run.name.removesuffix("_torch")
    name = UNLIKE.get(name, name)
    if name in {scorer.name for scorer in CHEAP}:
        other = TORCH if run.stack == validator else VLLM
        return Source(name, TORCH, other)
    # an honest host checked by its own kernels would be a host that computes nothing again
    if name not in CHANGES and (run.attack or (run.stack == validator and not relabelled)):
        return None
    return Source(run.stack, run.stack, validator)


def _facts(
    answer: Answer, does: Asked, wanted: Asked, rows: tuple[Sequence[Row], Sequence[Row], Sequence[Row]], seed: bytes,
    shown: bytes, ends: frozenset[int], edge: float,
) -> Floats:
    """Facts of one draw. rows: of who chooses, of what is published, of the validator. seed: of the tape that the host
    follows, shown: of the tape that the validator knows."""
    chooses, published, own = (list[Row]() for _ in rows)
    shared = []  # whether the rows of a position have anything in common; another model's may not
    for each in zip(*rows, strict=True):
        common = set.intersection(*(set(row) for row in each))
        shared.append(len(common) > 1)
        for side, row in zip((chooses, published, own), each, strict=True):
            kept = {token: logprob for token, logprob in row.items() if token in common}
            side.append(kept if shared[-1] else each[2])
    tokens = _choices(answer, does, chooses, seed, ends)
    steps = [
        TokenStep(token, "", row[token], best(whole, TOP_RANKS))
        for token, row, whole in zip(tokens, published, rows[1], strict=True)
    ]
    made = build(replace(HEADER, params=wanted.params, seed=shown), steps)
    facts = answer_facts(
        made.positions(), own, wanted.params, shown, sampling=sampling_as(wanted, ends), edge=edge, texts=answer.tokens
    )
    return np.asarray(facts[np.array(shared)])


def _choices(
    answer: Answer, does: Asked, rows: Sequence[Row], seed: bytes, ends: frozenset[int]
) -> list[int]:
    """What the host takes at each position, the real text being before it."""
    state = sampling_as(does, ends).begin()
    noises = tape.noise_of_rows(seed, 0, [list(row) for row in rows], does.params)
    found = []
    for step, row, noise in zip(answer.steps, rows, noises, strict=True):
        ids, logprobs = np.array(list(row), dtype=np.int64), np.array(list(row.values()))
        found.append(int(ids[int(np.argmax(state.scores(logprobs, ids, noise)))]))
        state.accept(step.token)
    return found


def _best(row: Row) -> Row:
    """The ROW_TOP best candidates: without the text's own token, where that is there for its own sake."""
    return dict(best(row, ROW_TOP))



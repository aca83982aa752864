"""What moves the choice of a token besides the model's numbers and the tape: penalties, biases, end tokens, grammar.

Law: one mechanism for the engine that chooses and the validator that replays. It is a function of the request and of
the output tokens so far, so whoever has both computes the same (TAPE.md, section 5).

    state = Sampling(params, ends).begin(prefix)
    values = state.scores(logprobs, ids, noise)  # argmax is the chosen token
    state.accept(ids[argmax])
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from p2p.base.types import Params
from p2p.verification import tape
from p2p.verification.engine import Job

Ids = NDArray[np.int64]
Bools = NDArray[np.bool_]
FEW = 256  # ids for which one look-up each is the fastest


class Matcher(Protocol):
    """A grammar on the way through one answer (p2p/grammar)."""

    def allowed(self) -> Bools:
        """Which tokens may come next: shape (vocabulary,), at least one. End tokens are among them where the answer may
        end here, and alone where nothing else may follow."""
        ...

    def accept(self, token: int) -> bool:
        """The answer continues with this token. False where the grammar does not allow it; then nothing changes."""
        ...


@dataclass(frozen=True, slots=True)
class Sampling:
    """How one answer is sampled."""

    params: Params
    ends: frozenset[int] = frozenset()  # token ids that end an answer
    bias: Mapping[int, float] = field(default_factory=dict)  # token id -> nats that are added
    grammar: Callable[[], Matcher] | None = None  # begins at the first token of `begun`, or of the answer
    begun: tuple[int, ...] = ()  # output tokens of an earlier request, which this answer continues

    @property
    def counts_output(self) -> bool:
        """Whether output tokens so far move the choice."""
        params = self.params
        return bool(params.presence_milli or params.frequency_milli or params.repetition_milli != 1000)

    @property
    def lifts(self) -> bool:
        """Whether a token may gain, so that the best ones are not the likeliest ones."""
        return self.counts_output or bool(self.bias) or self.forbids

    @property
    def forbids(self) -> bool:
        """Whether some tokens may not be chosen."""
        return bool(self.grammar) or self.params.min_tokens > 0

    @property
    def reads_output(self) -> bool:
        """Whether the ids of the output so far matter, and not only their number."""
        return self.counts_output or self.grammar is not None

    @property
    def start(self) -> int:
        """Tape position of the answer's first token."""
        return len(self.begun)

    def begin(self, before: Sequence[int] = ()) -> SamplingState:
        """At the position after `begun` and the answer's first tokens `before`."""
        state = SamplingState(self)
        for token in (*self.begun, *before):
            state.accept(token)
        return state


def sampling_of(job: Job, ends: frozenset[int], grammar: Callable[[], Matcher] | None = None) -> Sampling:
    """How an engine samples `job`. ends: as the job names them, else the engine's own. grammar: begins the job's, where
    it has one."""
    return Sampling(job.params, ends, {token: milli / 1000.0 for token, milli in job.bias}, grammar, job.begun)


class SamplingState:
    """One answer, as far as it has come."""

    def __init__(self, sampling: Sampling) -> None:
        self.sampling = sampling
        self.output: list[int] = []  # tokens so far, those of `begun` included
        self.broken_at: int | None = None  # tape position of the first token that was not allowed
        self._matcher = sampling.grammar() if sampling.grammar is not None else None
        self._ids = np.array(sorted(sampling.bias), dtype=np.int64)
        self._bias = np.array([sampling.bias[int(token)] for token in self._ids], dtype=np.float64)
        self._ends = np.array(sorted(sampling.ends), dtype=np.int64)
        self._times: dict[int, int] = {}  # token id -> how often it is in the output
        self._spread: tuple[Ids, tape.Floats] | None = None  # the last ids that were asked about, and their biases

    def accept(self, token: int) -> None:
        """The answer continues with this token, allowed or not."""
        if self.broken_at is None and self._is_broken_by(token):
            self.broken_at = len(self.output)
        self.output.append(token)
        self._times[token] = self._times.get(token, 0) + 1

    def _is_broken_by(self, token: int) -> bool:
        if token in self.sampling.ends and self._is_early:
            return True
        return self._matcher is not None and not self._matcher.accept(token)

    @property
    def _is_early(self) -> bool:
        """Whether end tokens are not allowed yet. They are where a grammar allows nothing else."""
        if not self._ends.size or len(self.output) >= self.sampling.params.min_tokens:
            return False
        if self._matcher is None or self.broken_at is not None:
            return True
        every = self._matcher.allowed()
        return bool(np.count_nonzero(every) > np.count_nonzero(every[self._ends[self._ends < every.size]]))

    def allowed(self, ids: Ids) -> Bools | None:
        """Which of `ids` may come next; None: all of them."""
        early = self._is_early
        if self._matcher is None and not early:
            return None
        found = np.ones(ids.shape, dtype=np.bool_)
        if self._matcher is not None and self.broken_at is None:
            every = self._matcher.allowed()
            found = (ids < every.size) & every[np.minimum(ids, every.size - 1)]
        if early:
            found &= ~np.isin(ids, self._ends)
        return found

    def counts(self, ids: Ids) -> tape.Floats | None:
        """How often each of `ids` is in the output; None where that moves nothing."""
        if not (self.sampling.counts_output and self.output):
            return None
        if ids.size <= FEW:
            return np.array([self._times.get(token, 0) for token in ids.tolist()], dtype=np.float64)
        seen = np.array(sorted(self._times), dtype=np.int64)
        times = np.array([self._times[token] for token in seen.tolist()], dtype=np.float64)
        return _at(seen, times, ids)

    def bias(self, ids: Ids) -> tape.Floats | None:
        """Nats added to each of `ids`; None: nothing."""
        if not self._ids.size:
            return None
        if self._spread is None or self._spread[0] is not ids:  # an engine asks with the same ids each time
            self._spread = ids, _at(self._ids, self._bias, ids)
        return self._spread[1]

    def moved(self, logprobs: tape.Floats, ids: Ids) -> tape.Floats:
        """The values before temperature and masks: log-probabilities with penalties and biases, -inf where not
        allowed. Same shape as `ids`."""
        values = tape.penalised(logprobs, self.sampling.params, self.counts(ids), self.bias(ids))
        allowed = self.allowed(ids)
        return values if allowed is None else np.where(allowed, values, -np.inf)

    def levels(self, logits: tape.Floats) -> tape.Floats:
        """Raw logits of the whole vocabulary in a form that `scores` takes: a repetition factor needs
        log-probabilities, for the rest a shift of all changes nothing."""
        return tape.log_softmax(logits) if self.sampling.params.repetition_milli != 1000 else logits

    def scores(self, logprobs: tape.Floats, ids: Ids, noise: tape.Floats) -> tape.Floats:
        """The values of which the argmax is the chosen token (tape.py). Same shapes: the whole vocabulary, or some
        candidates."""
        return tape.finish(self.moved(logprobs, ids), self.sampling.params, noise)


def _at(names: Ids, values: tape.Floats, ids: Ids) -> tape.Floats:
    """The value of each of `ids`; 0 for one that is not in `names` (ascending)."""
    at = np.minimum(np.searchsorted(names, ids), names.size - 1)
    found: tape.Floats = np.where(names[at] == ids, values[at], 0.0)
    return found

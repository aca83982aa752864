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

Ids = NDArray[np.int64]
Bools = NDArray[np.bool_]


class Matcher(Protocol):
    """A grammar on the way through one answer (p2p/grammar)."""

    def allowed(self) -> Bools:
        """Which tokens may come next: shape (vocabulary,). End tokens are among them where the answer may end here."""
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
    def start(self) -> int:
        """Tape position of the answer's first token."""
        return len(self.begun)

    def begin(self, before: Sequence[int] = ()) -> SamplingState:
        """At the position after `begun` and the answer's first tokens `before`."""
        state = SamplingState(self)
        for token in (*self.begun, *before):
            state.accept(token)
        return state


class SamplingState:
    """One answer, as far as it has come."""

    def __init__(self, sampling: Sampling) -> None:
        self.sampling = sampling
        self.output: list[int] = []  # tokens so far, those of `begun` included
        self.broken_at: int | None = None  # tape position of the first token that was not allowed
        self._matcher = sampling.grammar() if sampling.grammar is not None else None
        self._ids = np.array(sorted(sampling.bias), dtype=np.int64)
        self._bias = np.array([sampling.bias[int(token)] for token in self._ids], dtype=np.float64)

    def accept(self, token: int) -> None:
        """The answer continues with this token, allowed or not."""
        if self.broken_at is None and self._is_broken_by(token):
            self.broken_at = len(self.output)
        self.output.append(token)

    def _is_broken_by(self, token: int) -> bool:
        if token in self.sampling.ends and len(self.output) < self.sampling.params.min_tokens:
            return True
        return self._matcher is not None and not self._matcher.accept(token)

    def allowed(self, ids: Ids) -> Bools | None:
        """Which of `ids` may come next; None: all of them."""
        early = bool(self.sampling.ends) and len(self.output) < self.sampling.params.min_tokens
        if self._matcher is None and not early:
            return None
        found = np.ones(ids.shape, dtype=np.bool_)
        if self._matcher is not None and self.broken_at is None:
            every = self._matcher.allowed()
            found = (ids < every.size) & every[np.minimum(ids, every.size - 1)]
        if early:
            found &= ~np.isin(ids, list(self.sampling.ends))
        return found

    def counts(self, ids: Ids) -> tape.Floats | None:
        """How often each of `ids` is in the output; None where that moves nothing."""
        return tape.output_counts(self.output, ids) if self.sampling.counts_output and self.output else None

    def bias(self, ids: Ids) -> tape.Floats | None:
        """Nats added to each of `ids`; None: nothing."""
        if not self._ids.size:
            return None
        at = np.minimum(np.searchsorted(self._ids, ids), self._ids.size - 1)
        found: tape.Floats = np.where(self._ids[at] == ids, self._bias[at], 0.0)
        return found

    def moved(self, logprobs: tape.Floats, ids: Ids) -> tape.Floats:
        """The values before temperature and masks: log-probabilities with penalties and biases, -inf where not
        allowed. Same shape as `ids`."""
        values = tape.penalised(logprobs, self.sampling.params, self.counts(ids), self.bias(ids))
        allowed = self.allowed(ids)
        return values if allowed is None else np.where(allowed, values, -np.inf)

    def scores(self, logprobs: tape.Floats, ids: Ids, noise: tape.Floats) -> tape.Floats:
        """The values of which the argmax is the chosen token (tape.py). Same shapes: the whole vocabulary, or some
        candidates."""
        return tape.finish(self.moved(logprobs, ids), self.sampling.params, noise)

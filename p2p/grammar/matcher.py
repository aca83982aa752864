"""Which tokens may come next under a grammar. Law: a function of the grammar, the model's tokens and the output so far;
always at least one token is allowed.

End tokens are allowed where the grammar may end. Where nothing may follow, only they are allowed; also where no token
fits, and where a step would take more work than LIMITS allow (trial.py). Then the answer ends early, for everybody at
the same place.
"""

from __future__ import annotations

import numpy as np
from llguidance import LLMatcher
from numpy.typing import NDArray

from p2p.grammar.tokenizer import GrammarTokenizer

Bools = NDArray[np.bool_]


class Matcher:
    """A grammar on the way through one answer. Not for two threads at once."""

    def __init__(self, matcher: LLMatcher, tokenizer: GrammarTokenizer) -> None:
        self._matcher, self._tokenizer = matcher, tokenizer
        self._allowed: Bools | None = None  # at this position
        self._ended = False

    def allowed(self) -> Bools:
        """Which tokens may come next: shape (vocabulary,), not to be written to. Computed once a position."""
        if self._allowed is None:
            self._allowed = self._compute()
            self._allowed.flags.writeable = False
        return self._allowed

    def accept(self, token: int) -> bool:
        """The answer continues with this token. False where it is not allowed; then nothing changes. After an end token
        nothing is allowed."""
        if self._ended or not 0 <= token < self._tokenizer.vocabulary or not self.allowed()[token]:
            return False
        if token in self._tokenizer.ends:
            self._ended = True
        else:
            self._matcher.consume_token(token)
            self._allowed = None
        return True

    def _compute(self) -> Bools:
        tokenizer = self._tokenizer
        packed = np.frombuffer(self._matcher.compute_bitmask(), dtype=np.uint8)
        found = np.unpackbits(packed, count=tokenizer.vocabulary, bitorder="little").astype(np.bool_)
        found &= tokenizer.texts  # Lark can name special tokens by number
        lost = self._matcher.is_error() or not found.any()
        if lost:
            found[:] = False
        if lost or self._matcher.is_accepting():
            found[tokenizer.end_ids] = True
        return found

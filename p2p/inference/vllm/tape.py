"""The sampling tape inside vLLM, as a logits-processor plugin. Law: row i of the batch always gets the noise of
request i.

A request carries the tape's arguments (tape_args.py) in vllm_xargs, and temperature 0. This class chooses the token in
float64, by verification/sampling.py, and masks all others in the row, so neither rounding to float32 nor vLLM's
tie-breaking decides anything. Load it with `--logits-processors p2p.inference.vllm.tape:TapeProcessor`. TAPE.md
("Inside vLLM") says what vLLM 0.32 does around it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import torch
from vllm.v1.sample.logits_processor import BatchUpdate, LogitsProcessor, MoveDirectionality

from p2p.base.body import Grammar
from p2p.base.errors import ConfigError, FolkmootError, InvalidRequest
from p2p.grammar.compiled import compile_grammar
from p2p.grammar.source import lark_source
from p2p.grammar.tokenizer import GrammarTokenizer
from p2p.grammar.trying import try_grammar
from p2p.inference.stack.model import read_tokenizer
from p2p.inference.vllm.rows import keep_bits
from p2p.inference.vllm.scores import limit_scores
from p2p.inference.vllm.tape_args import TapeArgs, score_from, unpack
from p2p.verification import tape, tape_torch
from p2p.verification.sampling import Ids, Matcher, Sampling, SamplingState

GPU_ROWS = 32  # rows scored at once on a GPU: bounds the scratch memory (about 10 x rows x vocabulary x 8 bytes)
# vLLM's own sampling parameters, each with the value at which it does nothing. top_p, top_k and min_p are not here:
# vLLM switches them off at temperature 0, before any check of ours.
NEUTRAL: dict[str, Any] = {
    "temperature": 0.0, "presence_penalty": 0.0, "frequency_penalty": 0.0, "repetition_penalty": 1.0, "min_tokens": 0,
    "n": 1,
    "logit_bias": None, "allowed_token_ids": None, "bad_words": None, "structured_outputs": None,
    "thinking_token_budget": None,
    "repetition_detection": None, "trace_decode_token_ids": None,
}


class _Row:
    """One request in the batch. grammar: begins the request's, where it has one; lost: it cannot be had."""

    def __init__(
        self, args: TapeArgs, prompt: Sequence[int], output: list[int],
        grammar: Callable[[], Matcher] | None = None, *, lost: bool = False,
    ) -> None:
        self.args, self.lost = args, lost
        self._output = output  # vLLM's own list: it grows, so its length tells the position
        bias = {token: milli / 1000.0 for token, milli in args.bias}
        # output tokens that exist already, of an earlier request or executor, are the last ones of the prompt
        before = prompt[len(prompt) - args.position :] if args.position else ()
        self._state = Sampling(args.params, frozenset(args.ends), bias, grammar).begin(before)
        self._seen = 0  # of `output`

    @property
    def position(self) -> int:
        return self.args.position + len(self._output)

    @property
    def state(self) -> SamplingState:
        """The answer as far as it has come."""
        state, fresh = self._state, self._output[self._seen :]
        if state.sampling.reads_output and min(fresh, default=0) < 0:
            # a placeholder of async scheduling: a dead engine is better than a wrong token
            raise RuntimeError("vLLM has not filled in its last output token: penalties cannot be computed")
        for token in fresh:
            state.accept(token)
        self._seen += len(fresh)
        return state


class TapeProcessor(LogitsProcessor):  # type: ignore[misc]  # vLLM publishes no types
    """vLLM makes one per engine and calls it before each sampling; see vLLM's LogitsProcessor for the calls."""

    def __init__(self, vllm_config: Any, device: torch.device, is_pin_memory: bool) -> None:
        del is_pin_memory
        check_config(vllm_config)
        if device.type == "cpu":
            keep_bits()
        limit_scores(self._sampling)
        model = getattr(vllm_config, "model_config", None)
        self._model = Path(str(getattr(model, "tokenizer", None) or ""))  # the folder with tokenizer.json
        self._rows: dict[int, _Row] = {}

    def is_argmax_invariant(self) -> bool:
        return False

    @classmethod
    def validate_params(cls, params: Any) -> None:
        """Raises ValueError, which vLLM turns into HTTP 400, for a malformed tape, one together with vLLM's own
        sampling, or a grammar that cannot be used. It runs where requests come in, not where the model runs."""
        try:
            args = unpack(params.extra_args)
            if args is None:
                return
            if args.grammar is not None:  # a score replays what another host served already
                try_grammar(lark_source(args.grammar), patient=bool(score_from(params.extra_args)))
        except FolkmootError as error:
            raise ValueError(str(error)) from error
        for name, neutral in NEUTRAL.items():
            value = getattr(params, name, neutral)
            if value != neutral and not (neutral is None and not value):
                raise ValueError(
                    f"{name}: a request with a tape must leave it at {neutral!r}; the tape's parameters are folkmoot_*"
                )

    def update_state(self, update: BatchUpdate | None) -> None:
        """Follow vLLM's changes of the batch in its order: removed, added, moved. A preempted request comes back as
        an added one with all its output."""
        if update is None:
            return
        for index in update.removed:
            self._rows.pop(index, None)
        for index, params, prompt, output in update.added:
            args = unpack(params.extra_args)
            if args is None:
                self._rows.pop(index, None)
            else:
                self._rows[index] = self._row(args, prompt or (), output)
        for one, two, direction in update.moved:
            first, second = self._rows.pop(one, None), self._rows.pop(two, None)
            if first is not None:
                self._rows[two] = first
            if direction is MoveDirectionality.SWAP and second is not None:
                self._rows[one] = second

    def _sampling(self, args: TapeArgs) -> Sampling | None:
        """How the answer of a score was sampled; None where its grammar cannot be had here."""
        begin, bias = None, {token: milli / 1000.0 for token, milli in args.bias}
        if args.grammar is not None:
            try:
                begin = self._begin(args, args.grammar)
            except (ConfigError, InvalidRequest):
                return None
        return Sampling(args.params, frozenset(args.ends), bias, begin)

    def _begin(self, args: TapeArgs, grammar: Grammar) -> Callable[[], Matcher]:
        tokens = GrammarTokenizer.from_json(_tokenizer_json(self._model), frozenset(args.ends), 0)
        return compile_grammar(grammar, tokens, tried=True).begin

    def _row(self, args: TapeArgs, prompt: Sequence[int], output: list[int]) -> _Row:
        if args.grammar is None:
            return _Row(args, prompt, output)
        try:
            return _Row(args, prompt, output, self._begin(args, args.grammar))
        except (ConfigError, InvalidRequest):  # one request must not end the engine: it ends at once instead
            return _Row(args, prompt, output, lost=True)

    def apply(self, logits: torch.Tensor) -> torch.Tensor:
        if not self._rows:
            return logits
        choose = _choose_numpy if logits.device.type == "cpu" else _choose_torch
        order = sorted(self._rows)
        for start in range(0, len(order), GPU_ROWS):
            indices = order[start : start + GPU_ROWS]
            at = torch.tensor(indices, dtype=torch.int64, device=logits.device)
            chosen = choose(logits, indices, [self._rows[index] for index in indices])
            logits[at] = float("-inf")  # raw logits were enough to choose by: a constant shift of all changes nothing
            logits[at, chosen] = 0.0
        return logits


def _choose_numpy(logits: torch.Tensor, indices: Sequence[int], rows: Sequence[_Row]) -> torch.Tensor:
    ids, found = _ids(logits.shape[1]), []
    for index, row in zip(indices, rows, strict=True):
        if row.lost:
            found.append(min(row.args.ends))
            continue
        values, state = logits[index].detach().to(torch.float64).numpy(), row.state
        hot = row.args.params.temperature_milli
        noise = tape.gumbel_row(row.args.seed, row.position, len(values)) if hot else np.zeros(0)
        found.append(int(np.argmax(state.scores(state.levels(values), ids, noise))))
    return torch.tensor(found, dtype=torch.int64)


def _choose_torch(logits: torch.Tensor, indices: Sequence[int], rows: Sequence[_Row]) -> torch.Tensor:
    noise = tape_torch.gumbel_rows(
        [r.args.seed for r in rows], [r.position for r in rows], logits.shape[1], logits.device
    )
    ids, found = _ids(logits.shape[1]), []
    for at, (index, row) in enumerate(zip(indices, rows, strict=True)):
        if row.lost:
            found.append(torch.tensor(min(row.args.ends), dtype=torch.int64, device=logits.device))
            continue
        state = row.state
        allowed, before = state.allowed(ids), state.output if state.sampling.counts_output else ()
        found.append(torch.argmax(tape_torch.scores(
            logits[index], row.args.params, noise[at], before, bias=state.sampling.bias,
            allowed=None if allowed is None else torch.from_numpy(allowed).to(logits.device),
        )))
    return torch.stack(found)


@lru_cache(maxsize=2)
def _ids(vocabulary: int) -> Ids:
    return np.arange(vocabulary, dtype=np.int64)


@lru_cache(maxsize=1)
def _tokenizer_json(folder: Path) -> bytes:
    return read_tokenizer(folder)


def check_config(config: Any) -> None:
    """Raises ValueError, which ends the engine's start, for a configuration with which the tape, or the
    log-probabilities that are published, would be wrong."""
    if getattr(config, "speculative_config", None) is not None:
        raise ValueError("speculative decoding breaks the sampling tape: start the engine without it")
    model = getattr(config, "model_config", None)
    if model is None:
        return
    mode = str(getattr(model, "logprobs_mode", "raw_logprobs"))
    if mode.rsplit(".", 1)[-1].lower() != "raw_logprobs":
        raise ValueError(
            f"logprobs mode {mode}: the tape's log-probabilities are the model's own; "
            "start with --logprobs-mode raw_logprobs"
        )
    if getattr(model, "enable_prompt_embeds", False):
        raise ValueError("prompt embeddings have no token ids to resume from: start the engine without them")
    # vLLM fills in async output tokens only for processors named there
    if not getattr(model, "logits_processors", None):
        raise ValueError(
            "name the tape with --logits-processors p2p.inference.vllm.tape:TapeProcessor, not as an entry point"
        )

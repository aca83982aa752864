"""A causal language model on plain torch and transformers. Law: no vLLM code; log-probabilities in float32 of bfloat16
logits.

    model = TorchModel(path)                                        # kv_cache="fp8" rounds keys and values
    rows = model.prefill_rows(prompt_tokens, output_tokens, top=32) # one {token: logprob} per output position
    many = model.prefill_rows_batch([(prompt_tokens, output_tokens), ...], top=32)

It is synchronous and belongs to one thread; decode.py generates with it, engine.TorchEngine is the asynchronous shell
around it.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import p2p.inference.torch.quiet  # noqa: F401  # isort: skip  # before torch
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

from p2p.base.errors import ConfigError, InvalidRequest
from p2p.base.limits import MIB
from p2p.base.serving_limits import PREFILL_TOKENS
from p2p.base.types import StackClass
from p2p.grammar.compiled import compile_grammar
from p2p.grammar.tokenizer import GrammarTokenizer
from p2p.inference.stack.model import read_tokenizer
from p2p.inference.torch.cache import ATTENTION, SlotCache
from p2p.text.vocabulary import parse_vocabulary
from p2p.verification.engine import Job, Row
from p2p.verification.marks import MarkedRow, marks
from p2p.verification.sampling import Sampling, sampling_of

LOGIT_BYTES = 64 * MIB  # of logits that are in memory at once: those of 341 positions of a vocabulary of 49,152
PROBE = tuple(range(100, 108))  # token ids that every vocabulary has
KV_CACHES = ("model", "fp8")
Pair = tuple[Sequence[int], Sequence[int]]  # prompt tokens, output tokens


class TorchModel:
    """A loaded model.

    path: folder with safetensors and tokenizer. dtype: a type of torch by name. device: None takes a GPU if there
    is one. kv_cache: 'model' keeps keys and values in the model's type, 'fp8' rounds them to float8_e4m3. threads:
    of torch, None for all cores. Raises ConfigError."""

    def __init__(
        self, path: Path, *, dtype: str = "bfloat16", device: str | None = None, kv_cache: str = "model",
        threads: int | None = None
    ) -> None:
        if kv_cache not in KV_CACHES:
            raise ConfigError(f"kv_cache {kv_cache!r} is none of {', '.join(KV_CACHES)}", field="kv_cache")
        self.threads = threads or os.cpu_count() or 1
        torch.set_num_threads(self.threads)
        self.device = torch.device(device or ("cuda" if torch.cuda.is_available() else "cpu"))
        self.kv_cache, self.dtype = kv_cache, dtype
        try:
            module = AutoModelForCausalLM.from_pretrained(
                str(path), dtype=getattr(torch, dtype), attn_implementation=ATTENTION, local_files_only=True
            )
            self.tokenizer_json = read_tokenizer(path)
            self.vocabulary = parse_vocabulary(self.tokenizer_json)
            self.tokenizer: Any = AutoTokenizer.from_pretrained(str(path), local_files_only=True)
        except (OSError, ValueError) as error:
            raise ConfigError(
                f"transformers cannot load a model from {path}: {error}"[:300], field="model_path"
            ) from error
        self._module: Any = module.eval().to(self.device)
        self._base, self._head = self._module.get_decoder(), self._module.get_output_embeddings()
        config = self._module.config
        self.layers, self.vocab = int(config.num_hidden_layers), int(self._head.weight.shape[0])
        self.context = int(config.max_position_embeddings)
        self.eos_ids = _eos_ids(self._module, self.tokenizer)
        self._check_parts()

    def _check_parts(self) -> None:
        """Raises ConfigError where the model is more than what runs here: its decoder with our attention, and its
        output layer. Some models scale or cap their logits."""
        ids = torch.tensor([PROBE], device=self.device)
        with torch.inference_mode():
            try:
                whole, ours = self._module(input_ids=ids).logits[0].float(), self.logits(self.forward([PROBE], None)[0])
            except NotImplementedError as error:
                raise ConfigError(f"{error}; serve this model with vLLM", field="model_path") from error
        if not torch.equal(whole, ours):
            raise ConfigError(
                "the torch engine does not compute this model's logits as transformers does; serve it with vLLM",
                field="model_path",
            )

    @property
    def device_name(self) -> str:
        """The device, for people."""
        return torch.cuda.get_device_name(self.device) if self.device.type == "cuda" else "CPU"

    @property
    def stack(self) -> str:
        """The stack's name as in an artifact's header."""
        if self.dtype != "bfloat16":
            return f"torch-{self.device.type}-{self.dtype}"
        return str(StackClass.TORCH_CPU_BF16 if self.device.type == "cpu" else StackClass.TORCH_GPU_BF16)

    @property
    def _logit_rows(self) -> int:
        """Positions whose logits may be in memory at once."""
        return max(LOGIT_BYTES // (4 * self.vocab), 1)

    def sampling(self, job: Job) -> Sampling:
        """How `job` is sampled here. Raises InvalidRequest(field='grammar') for a grammar that cannot be used."""
        ends = frozenset(job.ends) or self.eos_ids
        if job.grammar is None:
            return sampling_of(job, ends)
        tokens = GrammarTokenizer.from_json(self.tokenizer_json, ends, self.vocab)
        return sampling_of(job, ends, compile_grammar(job.grammar, tokens).begin)

    # -- prefill --------------------------------------------------------------------------------------------------

    def prefill_rows(self, prompt_tokens: Sequence[int], output_tokens: Sequence[int], top: int) -> tuple[Row, ...]:
        """For each output position the `top` best tokens and the actual one, each with its log-probability. See
        prefill_rows_batch for errors."""
        return self.prefill_rows_batch([(prompt_tokens, output_tokens)], top)[0]

    def replayed_rows(self, job: Job, top: int) -> tuple[Row, ...]:
        """As prefill_rows of `job.prefix`, each row with what the tape takes by the whole vocabulary."""
        prompt, output = (*job.prompt_tokens, *job.begun), job.prefix
        self.check([*prompt, *output])
        if not output:
            return ()
        state, rows = self.sampling(job).begin(), list[Row]()
        with torch.inference_mode():
            hidden = self.forward([[*prompt, *output][:-1]], None)[0, len(prompt) - 1 :]
            step = self._logit_rows
            for start in range(0, len(output), step):
                some = torch.tensor(output[start : start + step], dtype=torch.int64, device=self.device)
                logprobs = torch.log_softmax(self.logits(hidden[start : start + step]), dim=1)
                best = torch.topk(logprobs, min(top, self.vocab), dim=1).indices.tolist()
                for token, ids, row in zip(some.tolist(), best, logprobs.double().cpu().numpy(), strict=True):
                    winner, least = marks(row, state, job.seed)
                    seen = {one: float(row[one]) for one in (*ids, token, winner, least)}
                    rows.append(MarkedRow(seen, winner, least))
                    state.accept(token)
        return tuple(rows)

    def prefill_rows_batch(
        self, pairs: Sequence[Pair], top: int, max_tokens: int = PREFILL_TOKENS
    ) -> list[tuple[Row, ...]]:
        """As prefill_rows for many (prompt, output), at most about max_tokens tokens with padding in one pass. Raises
        InvalidRequest for token ids or lengths that the model does not have."""
        found: list[tuple[Row, ...]] = [()] * len(pairs)
        for index, (prompt, output) in enumerate(pairs):
            self.check([*prompt, *output], where=f"sequence {index}")
            if output and not prompt:
                raise InvalidRequest("a prompt needs at least one token", field="prompt_tokens")
        for group in groups([len(prompt) + len(output) - 1 if output else 0 for prompt, output in pairs], max_tokens):
            with torch.inference_mode():
                scored = self._prefill([pairs[index] for index in group], top)
            for index, rows in zip(group, scored, strict=True):
                found[index] = rows
        return found

    def _prefill(self, pairs: Sequence[Pair], top: int) -> list[tuple[Row, ...]]:
        # the last output token is predicted, never fed
        hidden = self.forward([[*prompt, *output][:-1] for prompt, output in pairs], None)
        wanted = torch.cat([hidden[at, len(p) - 1 : len(p) + len(o) - 1] for at, (p, o) in enumerate(pairs)])
        actual = torch.tensor([token for _, output in pairs for token in output], dtype=torch.int64, device=self.device)
        rows: list[Row] = []
        step = self._logit_rows
        for start in range(0, len(actual), step):
            rows += self._rows(wanted[start : start + step], actual[start : start + step], top)
        ends = iter(rows)
        return [tuple(next(ends) for _ in output) for _, output in pairs]

    def _rows(self, hidden: torch.Tensor, actual: torch.Tensor, top: int) -> list[Row]:
        logits = self.logits(hidden)
        total = torch.logsumexp(logits, dim=1, keepdim=True)
        best = torch.topk(logits, min(top, self.vocab), dim=1)
        values = (best.values - total).tolist()
        own = (logits.gather(1, actual.unsqueeze(1)) - total).squeeze(1).tolist()
        return [
            {**dict(zip(ids, row, strict=True)), token: logprob}
            for ids, row, token, logprob in zip(best.indices.tolist(), values, actual.tolist(), own, strict=True)
        ]

    # -- the network ----------------------------------------------------------------------------------------------

    def forward(self, rows: Sequence[Sequence[int]], cache: SlotCache | None) -> torch.Tensor:
        """The last hidden states of whole sequences: (rows, longest, hidden). They are padded on the right;
        causality hides the padding."""
        longest = max(len(row) for row in rows)
        ids = torch.tensor([[*row, *[0] * (longest - len(row))] for row in rows], dtype=torch.int64, device=self.device)
        return self._base(input_ids=ids, past_key_values=cache, use_cache=cache is not None).last_hidden_state

    def forward_next(
        self, ids: torch.Tensor, lengths: torch.Tensor, mask: torch.Tensor, cache: SlotCache
    ) -> torch.Tensor:
        """The last hidden states of one more token per row: (rows, hidden). ids, lengths: (rows,); mask: (rows, 1,
        1, width), added to the attention scores."""
        out = self._base(
            input_ids=ids.unsqueeze(1), position_ids=lengths.unsqueeze(1), attention_mask=mask, past_key_values=cache,
            use_cache=True
        )
        return out.last_hidden_state[:, 0]

    def logits(self, hidden: torch.Tensor) -> torch.Tensor:
        """Logits of hidden states (n, hidden): float32 (n, vocab). The product is in the model's type, as in vLLM."""
        return self._head(hidden).float()

    def new_cache(self, slots: int) -> SlotCache:
        return SlotCache(self.layers, slots, fp8=self.kv_cache == "fp8")

    def check(self, tokens: Sequence[int], more: int = 0, *, where: str = "request") -> None:
        """Raises InvalidRequest for token ids that are not in the vocabulary or more tokens than the context holds."""
        if tokens and not 0 <= min(tokens) <= max(tokens) < self.vocab:
            raise InvalidRequest(f"{where}: token ids must be from 0 to {self.vocab - 1}", field="tokens")
        if len(tokens) + more > self.context:
            raise InvalidRequest(
                f"{where}: {len(tokens) + more} tokens, the model's context is {self.context}", field="tokens"
            )


def groups(lengths: Sequence[int], max_tokens: int) -> list[list[int]]:
    """Indices of sequences that share a pass: of similar length, at most max_tokens tokens with padding, or one
    alone. Sequences of length 0 are in no group."""
    found: list[list[int]] = []
    for index in sorted((i for i, length in enumerate(lengths) if length), key=lambda i: lengths[i]):
        # sequences come sorted, so the newest is the longest and sets the padded length
        if found and (len(found[-1]) + 1) * lengths[index] <= max_tokens:
            found[-1].append(index)
        else:
            found.append([index])
    return found


def _eos_ids(module: Any, tokenizer: Any) -> frozenset[int]:
    """The end tokens that the model's own files name."""
    found: set[int] = set()
    for value in (
        getattr(module.generation_config, "eos_token_id", None), module.config.eos_token_id, tokenizer.eos_token_id
    ):
        found |= set(value) if isinstance(value, list | tuple) else set() if value is None else {int(value)}
    return frozenset(found)

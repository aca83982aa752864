"""Lossless speculative decoding: several tokens of an answer in one pass. Law: the tape decides every token, so an
answer is the same with and without.

    engine = TorchEngine(model, decoder=SpeculativeDecoder)
    python -m p2p.inference.torch.speculative [MODEL]      # the gain here, on three kinds of text

Drafts are looked up, not modelled: where the last tokens stood before in prompt or answer, what followed them then is
tried. A pass computes the next token and those after each draft token; drafts are kept as far as the tape chooses
them. Each place is a row of its own in the pass, as in `decode.py`, so the products are those of a larger batch.

It is off unless a caller asks for it. A row whose drafts are refused too often stops drafting, so that it costs no
more than plain decoding; text that repeats nothing has no gain.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Callable, Hashable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import p2p.inference.torch.quiet  # noqa: F401  # isort: skip  # before torch
import torch

from p2p.base.body import one_message
from p2p.base.serving_limits import MAX_ENGINE_ROWS
from p2p.base.types import Params
from p2p.inference.stack.model import prepare_model
from p2p.inference.torch.cache import Decode
from p2p.inference.torch.decode import Decoder, Drawn, Event, Row, draw, generate_all
from p2p.inference.torch.model import TorchModel
from p2p.text.model_files import read_model_text
from p2p.text.model_text import ModelText
from p2p.verification.engine import Job

DRAFT = 4  # tokens tried in one pass
Answers = list[list[int]]
NGRAM = 3  # tokens that must have stood there before
TRIES, LEAST = 24, 0.3  # drafted tokens after which a row with a smaller share of kept ones drafts no more


@dataclass(slots=True)
class Lookup:
    """What followed the last tokens, the last time that they stood in one text."""

    tokens: list[int] = field(default_factory=list)
    ends: dict[tuple[int, ...], int] = field(default_factory=dict)  # NGRAM tokens -> place after their last occurrence
    tried: int = 0
    kept: int = 0

    def extend(self, tokens: Sequence[int]) -> None:
        for token in tokens:
            if len(self.tokens) >= NGRAM:
                self.ends[tuple(self.tokens[-NGRAM:])] = len(self.tokens)
            self.tokens.append(token)

    def draft(self, most: int) -> list[int]:
        """Up to `most` tokens that may come next."""
        if self.tried >= TRIES and self.kept < LEAST * self.tried:
            return []
        at = self.ends.get(tuple(self.tokens[-NGRAM:]))
        return self.tokens[at : at + most] if at is not None else []


class SpeculativeDecoder(Decoder):
    """A batch whose rows may take several tokens in a step."""

    def __init__(self, model: TorchModel, max_rows: int = MAX_ENGINE_ROWS) -> None:
        super().__init__(model, max_rows)
        self._lookups: dict[Hashable, Lookup] = {}
        self.passes = 0  # steps so far, prefills not counted

    def drop(self, tag: Hashable) -> None:
        self._lookups.pop(tag, None)
        super().drop(tag)

    def clear(self) -> list[Hashable]:
        self._lookups.clear()
        return super().clear()

    def _step(self) -> list[Event]:
        rows, device = list(self._rows), self._model.device
        drafts = [self._draft(row) for row in rows]
        places = [
            (at, row.cached + i, token)
            for at, (row, draft) in enumerate(zip(rows, drafts, strict=True))
            for i, token in enumerate([row.output[-1], *draft])
        ]
        slots, lengths, ids = torch.tensor(places, dtype=torch.int64, device=device).unbind(1)
        width = max(length for _, length, _ in places) + 1
        hidden_from = torch.arange(width, device=device).unsqueeze(0) > lengths.unsqueeze(1)
        mask = torch.zeros((len(places), 1, 1, width), dtype=getattr(torch, self._model.dtype), device=device)
        mask.masked_fill_(hidden_from[:, None, None, :], float("-inf"))
        self._cache.place = Decode(lengths, slots, width, shared=len(places) > len(rows))
        drawn = draw(self._model, self._model.forward_next(ids, lengths, mask, self._cache))
        self.passes += 1
        events: list[Event] = []
        first = 0
        for row, draft in zip(rows, drafts, strict=True):
            events += self._keep(row, draft, drawn, first)
            first += len(draft) + 1
        return self._drop_ended(events)

    def _keep(self, row: Row, draft: Sequence[int], drawn: Drawn, first: int) -> list[Event]:
        """The tokens that the tape chooses: up to the first one that is not the draft's, and that one."""
        known, events = self._lookups[row.tag], []
        known.tried += len(draft)
        for i in range(len(draft) + 1):
            event = self._choose(row, drawn, first + i)
            events.append(event)
            row.cached += 1
            if event.step is None or event.last or i == len(draft) or event.step.token != draft[i]:
                break
            known.kept += 1
        return events

    def _draft(self, row: Row) -> list[int]:
        known = self._lookups.setdefault(row.tag, Lookup())
        before = [*row.job.prompt_tokens, *row.job.begun]
        if not known.tokens:
            known.extend(before)
        known.extend(row.output[len(known.tokens) - len(before) :])
        return known.draft(min(DRAFT, row.job.max_tokens - len(row.output) - 1))


# -- the gain, measured ------------------------------------------------------------------------------------------------

STORY = "The old mill stands by the river. Its wheel has not turned for forty years, and swallows live in its roof. "
TEXTS = {  # kind -> (question, parameters)
    "repeats a text, greedy": (f"Repeat this text word for word: {STORY * 3}", Params(0)),
    "repeats a text, T = 0.7": (f"Repeat this text word for word: {STORY * 3}", Params(700)),
    "a story, T = 1": ("Tell me a story about a mill.", Params(1000)),
}


def _run(model: TorchModel, jobs: Sequence[Job], made: Callable[[TorchModel, int], Decoder]) -> tuple[Answers, float]:
    """(tokens of each job, CPU seconds)."""
    started = time.process_time()
    found = generate_all(model, jobs, max_rows=1, decoder=made)
    return [[step.token for step in steps] for steps in found], time.process_time() - started


def gains(model: TorchModel, words: ModelText, tokens: int) -> Iterator[str]:
    """A line for each kind of text: tokens a pass, and CPU seconds with and without."""
    for kind, (text, params) in TEXTS.items():
        jobs = [Job(words.prompt(one_message(text)), tokens, params, bytes([n]) * 32) for n in range(2)]
        plain, before = _run(model, jobs, Decoder)
        made: list[SpeculativeDecoder] = []

        def kept(loaded: TorchModel, rows: int, made: list[SpeculativeDecoder] = made) -> Decoder:
            made.append(SpeculativeDecoder(loaded, rows))
            return made[-1]

        found, after = _run(model, jobs, kept)
        steps = sum(map(len, found)) - len(jobs)  # the prefill gives each answer's first token
        yield (
            f"{kind:<26}{steps / max(sum(one.passes for one in made), 1):5.2f} tokens a pass, CPU {before / after:5.2f}"
            f" times as fast, answers {'equal' if found == plain else 'NOT EQUAL'}"
        )


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m p2p.inference.torch.speculative", description=__doc__)
    parser.add_argument("model", type=Path, nargs="?", help="folder of a model (default: the small one)")
    parser.add_argument("--tokens", type=int, default=64, help="of an answer (default: %(default)s)")
    options = parser.parse_args()
    path = options.model or prepare_model()
    for line in gains(TorchModel(path), read_model_text(path), options.tokens):
        print(line, flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())

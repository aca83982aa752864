"""The tape's arguments in a request to an ML node (`vllm_xargs`). Law: what one side packs the other reads, or
refuses by the argument's name.

vLLM takes numbers, texts and lists of numbers there. Every field of Params goes by its own name, but for the seed: the
tape's own is sent.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

from p2p.base.body import BIAS_MILLI, Grammar, GrammarKind
from p2p.base.errors import InvalidRequest
from p2p.base.sampling_params import make_params
from p2p.base.serving_limits import MAX_BIASES, MAX_BODY, MAX_EOS_IDS, MAX_GRAMMAR, MAX_VOCABULARY
from p2p.base.token_ids import TOKEN_BYTES
from p2p.base.types import Params
from p2p.verification.engine import Job

PREFIX = "folkmoot_"
SEED, POSITION, ENDS, BIAS = PREFIX + "seed", PREFIX + "position", PREFIX + "ends", PREFIX + "bias"
KIND, GRAMMAR = PREFIX + "grammar_kind", PREFIX + "grammar"
# output tokens that may exist already: those of an earlier request, and of an earlier executor
MAX_POSITION = MAX_BODY // TOKEN_BYTES
SCORE_FROM = PREFIX + "score_from"  # of a score: place in the prompt of the first token that is scored
NUMBERS = tuple(name for name in Params.__struct_fields__ if name != "seed")
SEED_BYTES = 32
Value = str | int | list[int]


@dataclass(frozen=True, slots=True)
class TapeArgs:
    """What the plugin needs to know of one request."""

    seed: bytes
    params: Params  # without a seed
    position: int  # output tokens that exist already: they are the last ones of the prompt
    ends: tuple[int, ...] = ()  # token ids that end the answer
    bias: tuple[tuple[int, int], ...] = ()  # (token id, thousandths of a nat)
    grammar: Grammar | None = None


def pack(job: Job) -> dict[str, Value]:
    """The extra arguments of one job."""
    found: dict[str, Value] = {SEED: job.seed.hex(), POSITION: len(job.begun) + len(job.prefix)}
    found |= {PREFIX + name: int(getattr(job.params, name)) for name in NUMBERS}
    if job.ends:
        found[ENDS] = list(job.ends)
    if job.bias:
        found[BIAS] = [number for pair in job.bias for number in pair]
    if job.grammar is not None:
        found |= {KIND: str(job.grammar.kind), GRAMMAR: job.grammar.source}
    return found


def unpack(extra: Mapping[str, Any] | None) -> TapeArgs | None:
    """The tape's arguments in `extra`; None when there are none. Raises InvalidRequest(field = the argument's name)
    for one that is wrong or unknown."""
    found = {name: value for name, value in (extra or {}).items() if name.startswith(PREFIX)}
    if SCORE_FROM in found:
        _whole(found.pop(SCORE_FROM), SCORE_FROM, MAX_POSITION)
    if not found:
        return None
    if SEED not in found:
        raise InvalidRequest("a tape needs a seed", field=SEED)
    seed = _seed(found.pop(SEED))
    position = _whole(found.pop(POSITION, 0), POSITION, MAX_POSITION)
    ends = _ids(found.pop(ENDS, []), ENDS, MAX_EOS_IDS)
    bias = _bias(found.pop(BIAS, []))
    grammar = _grammar(found.pop(KIND, None), found.pop(GRAMMAR, None))
    if grammar is not None and not ends:
        raise InvalidRequest("an answer by a grammar needs token ids that end it", field=ENDS)
    for name, value in found.items():
        if name.removeprefix(PREFIX) not in NUMBERS:
            raise InvalidRequest("this ML node's tape has no such parameter", field=name)
        if type(value) is not int:
            raise InvalidRequest("must be a whole number", field=name)
    params = make_params(**{name.removeprefix(PREFIX): value for name, value in found.items()})
    return TapeArgs(seed, params, position, ends, bias, grammar)


def replayed(extra: Mapping[str, Any] | None) -> TapeArgs | None:
    """The tape's arguments of a score whose answer is to be replayed; None for every other request."""
    return unpack(extra) if score_from(extra) else None


def score_from(extra: Mapping[str, Any] | None) -> int:
    """From which place of its prompt on a request wants scores; 0: from the beginning."""
    value = (extra or {}).get(SCORE_FROM, 0)
    return value if type(value) is int and value > 0 else 0


def _seed(value: Any) -> bytes:
    try:
        seed = bytes.fromhex(value)
    except (TypeError, ValueError):
        seed = b""
    if len(seed) != SEED_BYTES or len(value) != 2 * SEED_BYTES:
        raise InvalidRequest(f"must be {2 * SEED_BYTES} hexadecimal digits", field=SEED)
    return seed


def _whole(value: Any, name: str, most: int) -> int:
    if type(value) is not int or not 0 <= value <= most:
        raise InvalidRequest(f"must be a whole number from 0 to {most}", field=name)
    return value


def _numbers(value: Any, name: str, most: int) -> list[int]:
    if not isinstance(value, list) or len(value) > most or not all(type(each) is int for each in value):
        raise InvalidRequest(f"must be a list of at most {most} whole numbers", field=name)
    return value


def _ids(value: Any, name: str, most: int) -> tuple[int, ...]:
    ids = _numbers(value, name, most)
    if not all(0 <= each < MAX_VOCABULARY for each in ids):
        raise InvalidRequest(f"token ids are from 0 to {MAX_VOCABULARY - 1}", field=name)
    return tuple(ids)


def _bias(value: Any) -> tuple[tuple[int, int], ...]:
    numbers = _numbers(value, BIAS, 2 * MAX_BIASES)
    if len(numbers) % 2:
        raise InvalidRequest("must be pairs of a token id and thousandths of a nat", field=BIAS)
    _ids(numbers[::2], BIAS, MAX_BIASES)
    if any(after <= before for before, after in pairwise(numbers[::2])):
        raise InvalidRequest("must name ascending token ids, each once", field=BIAS)
    if not all(-BIAS_MILLI <= each <= BIAS_MILLI for each in numbers[1::2]):
        raise InvalidRequest(f"a bias is from {-BIAS_MILLI} to {BIAS_MILLI} thousandths of a nat", field=BIAS)
    return tuple(zip(numbers[::2], numbers[1::2], strict=True))


def _grammar(kind: Any, source: Any) -> Grammar | None:
    if kind is None and source is None:
        return None
    if kind not in tuple(GrammarKind):
        raise InvalidRequest(f"must be one of {', '.join(GrammarKind)}", field=KIND)
    if not isinstance(source, str) or len(source) > MAX_GRAMMAR:
        raise InvalidRequest(f"must be a text of at most {MAX_GRAMMAR} characters", field=GRAMMAR)
    return Grammar(GrammarKind(kind), source)

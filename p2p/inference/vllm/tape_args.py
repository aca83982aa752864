"""The tape's arguments in a request to an ML node (`vllm_xargs`). Law: what one side packs the other reads, or
refuses by the argument's name."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from p2p.base.errors import InvalidRequest
from p2p.base.limits import MAX_OUTPUT_TOKENS
from p2p.base.sampling_params import make_params
from p2p.base.types import Params
from p2p.verification.engine import Job

PREFIX = "folkmoot_"
SEED, POSITION = PREFIX + "seed", PREFIX + "position"
SEED_BYTES = 32


@dataclass(frozen=True, slots=True)
class TapeArgs:
    """What the plugin needs to know of one request."""

    seed: bytes
    params: Params
    position: int  # output tokens that exist already: they are the last ones of the prompt


def pack(job: Job) -> dict[str, str | int]:
    """The extra arguments of one job: seed, position, and every field of its Params by name."""
    numbers = {PREFIX + name: int(getattr(job.params, name)) for name in Params.__struct_fields__}
    return {SEED: job.seed.hex(), POSITION: len(job.prefix), **numbers}


def unpack(extra: Mapping[str, Any] | None) -> TapeArgs | None:
    """The tape's arguments in `extra`; None when there are none. Raises InvalidRequest(field = the argument's name)
    for one that is wrong or unknown."""
    found = {name: value for name, value in (extra or {}).items() if name.startswith(PREFIX)}
    if not found:
        return None
    if SEED not in found:
        raise InvalidRequest("a tape needs a seed", field=SEED)
    seed = _seed(found.pop(SEED))
    position = found.pop(POSITION, 0)
    for name, value in (*found.items(), (POSITION, position)):
        if type(value) is not int:
            raise InvalidRequest("must be a whole number", field=name)
    if not 0 <= position <= MAX_OUTPUT_TOKENS:
        raise InvalidRequest(f"must be from 0 to {MAX_OUTPUT_TOKENS}", field=POSITION)
    unknown = sorted(name for name in found if name.removeprefix(PREFIX) not in Params.__struct_fields__)
    if unknown:
        raise InvalidRequest("this ML node's tape has no such parameter", field=unknown[0])
    return TapeArgs(seed, make_params(**{name.removeprefix(PREFIX): value for name, value in found.items()}), position)


def _seed(value: Any) -> bytes:
    try:
        seed = bytes.fromhex(value)
    except (TypeError, ValueError):
        seed = b""
    if len(seed) != SEED_BYTES or len(value) != 2 * SEED_BYTES:
        raise InvalidRequest(f"must be {2 * SEED_BYTES} hexadecimal digits", field=SEED)
    return seed

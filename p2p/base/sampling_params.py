"""Which sampling parameters a request may have.

Law: agent, executor, chain, engine and command line all call this one function. The type `Params` bounds each number;
this module checks what must hold between them.
"""

from __future__ import annotations

import msgspec

from p2p.base.errors import InvalidRequest
from p2p.base.serving_limits import MAX_TOP_K
from p2p.base.types import Params


def check_params(params: Params) -> None:
    """Raises InvalidRequest(field='params') for a combination that a validator could not recompute.

    top-p needs 1 <= top_k <= MAX_TOP_K: a validator sees only the best candidates of a position, and the nucleus of
    the whole vocabulary cannot be computed from those.
    """
    if params.top_p_milli < 1000 and not 1 <= params.top_k <= MAX_TOP_K:
        raise InvalidRequest(f"top_p below 1 needs a top_k from 1 to {MAX_TOP_K}", field="params")


def make_params(**numbers: int) -> Params:
    """`Params` from a user's numbers by field name. Raises InvalidRequest(field='params') for one that is out of range,
    and as check_params does."""
    try:
        made = Params(**numbers)  # type: ignore[arg-type]  # the conversion checks each
        params = msgspec.convert(list(msgspec.structs.astuple(made)), Params, strict=True)
    except (msgspec.ValidationError, TypeError) as error:
        raise InvalidRequest(f"sampling parameters {numbers}: {error}", field="params") from error
    check_params(params)
    return params

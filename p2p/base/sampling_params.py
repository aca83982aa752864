"""Which sampling parameters may be asked for. Law: agent, executor, chain, engine and command line ask this one function.

The type `Params` bounds each number; here is what must hold between them.
"""

from __future__ import annotations

import msgspec

from p2p.base.errors import InvalidRequest
from p2p.base.limits import MAX_TOP_K
from p2p.base.types import Params


def check_params(params: Params) -> None:
    """Raises InvalidRequest(field='params') for a combination that a validator could not recompute.

    top-p needs 1 <= top_k <= MAX_TOP_K: a validator sees only the best candidates of a row, not the whole vocabulary,
    and the nucleus of the whole vocabulary is no function of those.
    """
    if params.top_p_milli < 1000 and not 1 <= params.top_k <= MAX_TOP_K:
        raise InvalidRequest(f"top_p below 1 needs a top_k from 1 to {MAX_TOP_K}", field="params")


def make_params(**numbers: int) -> Params:
    """`Params` from numbers of the outside by name. Raises InvalidRequest(field='params') for one out of range."""
    try:
        params = msgspec.convert(list(msgspec.structs.astuple(Params(**numbers))), Params, strict=True)
    except (msgspec.ValidationError, TypeError) as error:
        raise InvalidRequest(f"sampling parameters {numbers}: {error}", field="params") from error
    check_params(params)
    return params

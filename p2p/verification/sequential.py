"""The sequential test of one executor in one epoch: an e-process. Law: integers in and out; the same bits on every machine.

Each checked inference gives a log-likelihood ratio. If the executor is honest, the mean of exp(ratio) is at most 1, so the
product of the factors below is a test martingale and Ville's inequality bounds its maximum: P(it ever reaches 1 / a) <= a,
whenever one looks. One product for each share q of faulty answers, for a host that cheats in one answer of fifty must be found
too; the mean of e-values is an e-value.

Chain state may not hold floats: exp and ln come from `decimal`, whose exp and ln are correctly rounded by specification
(unlike libm's), at a fixed precision; each result is rounded DOWN to a millionth of a nat, in the executor's favour.
"""

from __future__ import annotations

from decimal import ROUND_FLOOR, ROUND_HALF_EVEN, Context, Decimal, Inexact, Rounded, Subnormal, Underflow, localcontext
from functools import lru_cache
from typing import Annotated

from msgspec import Meta

from p2p.codec import Message

SHARES_MILLI = (1000, 250, 100, 50, 20)  # share of faulty answers that each product is made for, in thousandths
MICRO = 1_000_000
LogMicro = Annotated[int, Meta(ge=-(2**62), le=2**62)]
_CONTEXT = Context(prec=40, rounding=ROUND_HALF_EVEN, Emin=-999_999, Emax=999_999, traps=[])
for _signal in (Inexact, Rounded, Subnormal, Underflow):
    _CONTEXT.traps[_signal] = False


class EProcess(Message, frozen=True):
    """logs_micro: the log of each share's product, in millionths of a nat, in the order of SHARES_MILLI."""

    logs_micro: tuple[LogMicro, ...] = (0,) * len(SHARES_MILLI)

    def updated(self, llr_milli: int, cap_milli: int) -> EProcess:
        """After one more inference. llr_milli: thousandths of a nat, bounded to +-cap_milli."""
        bounded = min(max(llr_milli, -cap_milli), cap_milli)
        steps = (_step_micro(share, bounded, cap_milli) for share in SHARES_MILLI)
        return EProcess(tuple(log + step for log, step in zip(self.logs_micro, steps, strict=True)))

    def log_milli(self) -> int:
        """ln of the mean of the products, in thousandths of a nat, rounded down."""
        top = max(self.logs_micro)
        with localcontext(_CONTEXT):
            mean = sum(((Decimal(log - top) / MICRO).exp() for log in self.logs_micro), Decimal(0)) / len(self.logs_micro)
            return int(((Decimal(top) / MICRO + mean.ln()) * 1000).to_integral_value(ROUND_FLOOR))


@lru_cache(maxsize=4096)
def _step_micro(share_milli: int, llr_milli: int, cap_milli: int) -> int:
    """ln((1 - q) + q exp(llr)) - ln(1 + q exp(-cap)), in millionths of a nat.

    The second term pays for the lower bound: raising ratios below -cap to it adds at most exp(-cap) to the mean of exp(llr).
    """
    with localcontext(_CONTEXT):
        share = Decimal(share_milli) / 1000
        gain = ((1 - share) + share * (Decimal(llr_milli) / 1000).exp()).ln()
        price = (1 + share * (Decimal(-cap_milli) / 1000).exp()).ln()
        return int(((gain - price) * MICRO).to_integral_value(ROUND_FLOOR))

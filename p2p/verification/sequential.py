"""The sequential test of one executor or validator: e-processes, one begun in each epoch.

Law: integers in and out; the same bits on every machine.

Each checked inference gives a log-likelihood ratio. If the executor is honest, the mean of exp(ratio) is at most 1.
Then the product of the factors below is a test martingale, and Ville's inequality bounds its maximum: P(it ever reaches
1 / a) <= a, however often one looks. There is one product for each assumed share q of faulty answers, because a host
that cheats in one answer of fifty must be found too. The mean of e-values is an e-value.

One e-process begins in each epoch in which something was finished, and none ends. Their sum is tested (a
Shiryaev-Roberts e-detector: Shin, Ramdas and Rinaldo, arXiv 2203.03532). After K epochs its mean is at most K, so P(it
ever reached 1 / a) <= K a: as if each epoch were tested alone at a, yet a host that cheats a little in every epoch is
found as well. Inferences that were surely checked and those that the beacon selected are two such tests, of which the
mean counts. Else a host could wait until few are checked, cheat only then, and let its honest answers of before speak
for it (decision 027).

Chain state may not hold floats. exp and ln come from `decimal`, where they are correctly rounded by specification
(unlike libm's), at a fixed precision; each result is rounded DOWN to a millionth of a nat, in the executor's favour.
"""

from __future__ import annotations

from decimal import ROUND_FLOOR, ROUND_HALF_EVEN, Context, Decimal, Inexact, Rounded, Subnormal, Underflow, localcontext
from functools import lru_cache
from typing import Annotated

from msgspec import Meta

from p2p.base.codec import Message

SHARES_MILLI = (1000, 250, 100, 50, 20)  # thousandths: the share of faulty answers that each product is made for
MICRO = 1_000_000
LogMicro = Annotated[int, Meta(ge=-(2**62), le=2**62)]
# Emax: enough for exp of a thousand nats per inference, summed over an epoch
_CONTEXT = Context(prec=40, rounding=ROUND_HALF_EVEN, Emin=-999_999, Emax=425_000_000, traps=[])
for _signal in (Inexact, Rounded, Subnormal, Underflow):
    _CONTEXT.traps[_signal] = False


class EProcess(Message, frozen=True):
    """The products of one epoch."""

    logs_micro: tuple[LogMicro, ...] = (0,) * len(SHARES_MILLI)  # millionths of a nat, in the order of SHARES_MILLI

    def updated(self, llr_milli: int, cap_milli: int) -> EProcess:
        """After one more inference. llr_milli: thousandths of a nat; it is cut to +-cap_milli."""
        steps = _steps_micro(llr_milli, cap_milli)
        return EProcess(tuple(log + step for log, step in zip(self.logs_micro, steps, strict=True)))

    def log_milli(self) -> int:
        """ln of the mean of the products, in thousandths of a nat, rounded down."""
        return _log_mean_milli(self.logs_micro)


class Detector(Message, frozen=True):
    """The e-detector: the sum of the e-processes begun so far."""

    now: EProcess = EProcess()  # this epoch's products
    # by share, ln(1 + sum of the products begun in earlier epochs) at this epoch's beginning; the 1 is the one that
    # begins now
    earlier_micro: tuple[LogMicro, ...] = (0,) * len(SHARES_MILLI)

    @property
    def logs_micro(self) -> tuple[int, ...]:
        """ln of the sum of all products, by share, in millionths of a nat."""
        return tuple(now + earlier for now, earlier in zip(self.now.logs_micro, self.earlier_micro, strict=True))

    def updated(self, llr_milli: int, cap_milli: int) -> Detector:
        """After one more inference of this epoch."""
        return Detector(self.now.updated(llr_milli, cap_milli), self.earlier_micro)

    def updated_late(self, llr_milli: int, cap_milli: int) -> Detector:
        """After one more inference of the last epoch, which counts in the products that had begun then."""
        steps = _steps_micro(llr_milli, cap_milli)
        return Detector(self.now, tuple(_late(log, step) for log, step in zip(self.earlier_micro, steps, strict=True)))

    def log_milli(self) -> int:
        """ln of the e-value, in thousandths of a nat, rounded down."""
        return _log_mean_milli(self.logs_micro)

    def after_epoch(self, *, begun: bool) -> Detector:
        """At the end of an epoch. begun: whether its product counts. An idle epoch adds none: else mere waiting would
        bring everybody closer to a conviction."""
        if not begun and self.now == EProcess():
            return self
        return Detector(earlier_micro=tuple(_one_more(log) for log in self.logs_micro))

    def reached(self, limit_milli: int) -> int | None:
        """`log_milli` if it is at the limit or above, else None."""
        return _reached(self.logs_micro, limit_milli)


def detection_milli(honest_ppm: int) -> tuple[int, int]:
    """Log-likelihood ratios of (missing, detecting) a fault, in thousandths of a nat.

    They compare a validator that misses all but `honest_ppm` in a million faults with one that misses no more than
    these. The shares of the products are then of faults at which it did not look.
    """
    with localcontext(_CONTEXT):
        honest = Decimal(honest_ppm) / MICRO
        ratios = ((1 - honest) / honest, honest / (1 - honest))
        missed, seen = (int((ratio.ln() * 1000).to_integral_value(ROUND_FLOOR)) for ratio in ratios)
    return missed, seen


@lru_cache(maxsize=4096)
def share_of_milli(found: int, honest: int, cap_milli: int) -> int:
    """ln(found / honest) in thousandths of a nat, used like a log-likelihood ratio for a value whose honest mean is at
    most `honest`. The factors of the products are then 1 + q (found / honest - 1), bets on more, and their mean is at
    most 1."""
    if found == 0:
        return -cap_milli
    with localcontext(_CONTEXT):
        return int(((Decimal(found) / honest).ln() * 1000).to_integral_value(ROUND_FLOOR))


class Evidence(Message, frozen=True):
    """Both tests of one executor."""

    sure: Detector = Detector()  # of inferences that everybody knew would be checked
    by_lot: Detector = Detector()  # of inferences that the beacon selected

    def updated(self, llr_milli: int, cap_milli: int, *, by_lot: bool, late: bool) -> Evidence:
        """After one more inference. late: it is of the last epoch."""
        before = self.by_lot if by_lot else self.sure
        after = (before.updated_late if late else before.updated)(llr_milli, cap_milli)
        return Evidence(self.sure, after) if by_lot else Evidence(after, self.by_lot)

    def after_epoch(self, *, begun: bool) -> Evidence:
        """As Detector.after_epoch, for both."""
        return Evidence(self.sure.after_epoch(begun=begun), self.by_lot.after_epoch(begun=begun))

    def log_milli(self) -> int:
        """ln of the e-value, in thousandths of a nat, rounded down."""
        return _log_mean_milli(self.logs_micro)

    def reached(self, limit_milli: int) -> int | None:
        """`log_milli` if it is at the limit or above, else None."""
        return _reached(self.logs_micro, limit_milli)

    @property
    def logs_micro(self) -> tuple[int, ...]:
        return (*self.sure.logs_micro, *self.by_lot.logs_micro)


def _reached(logs_micro: tuple[int, ...], limit_milli: int) -> int | None:
    """`_log_mean_milli` if it is at the limit or above, else None."""
    if max(logs_micro) < limit_milli * 1000:
        return None  # so is the mean, which costs more to compute
    log = _log_mean_milli(logs_micro)
    return log if log >= limit_milli else None


def _log_mean_milli(logs_micro: tuple[int, ...]) -> int:
    """ln of the mean of exp(logs), in thousandths of a nat, rounded down."""
    top = max(logs_micro)
    with localcontext(_CONTEXT):
        mean = sum(((Decimal(log - top) / MICRO).exp() for log in logs_micro), Decimal(0)) / len(logs_micro)
        return int(((Decimal(top) / MICRO + mean.ln()) * 1000).to_integral_value(ROUND_FLOOR))


def _one_more(log_micro: int) -> int:
    """ln(1 + exp(log))."""
    with localcontext(_CONTEXT):
        return int(((1 + (Decimal(log_micro) / MICRO).exp()).ln() * MICRO).to_integral_value(ROUND_FLOOR))


def _late(earlier_micro: int, step_micro: int) -> int:
    """ln(1 + (exp(earlier) - 1) exp(step))."""
    with localcontext(_CONTEXT):
        sum_before = (Decimal(earlier_micro) / MICRO).exp() - 1
        return int(((1 + sum_before * (Decimal(step_micro) / MICRO).exp()).ln() * MICRO).to_integral_value(ROUND_FLOOR))


def _steps_micro(llr_milli: int, cap_milli: int) -> list[int]:
    """What one inference adds to the log of each product."""
    bounded = min(max(llr_milli, -cap_milli), cap_milli)
    return [_step_micro(share, bounded, cap_milli) for share in SHARES_MILLI]


@lru_cache(maxsize=4096)
def _step_micro(share_milli: int, llr_milli: int, cap_milli: int) -> int:
    """ln((1 - q) + q exp(llr)) - ln(1 + q exp(-cap)), in millionths of a nat.

    The second term pays for the lower bound: raising ratios below -cap to it adds at most exp(-cap) to the mean of
    exp(llr).
    """
    with localcontext(_CONTEXT):
        share = Decimal(share_milli) / 1000
        gain = ((1 - share) + share * _exp_of_milli(llr_milli)).ln()
        return int(((gain - _price(share_milli, cap_milli)) * MICRO).to_integral_value(ROUND_FLOOR))


@lru_cache(maxsize=4096)
def _exp_of_milli(milli: int) -> Decimal:
    """The same for all shares, and it costs as much as their logarithms."""
    with localcontext(_CONTEXT):
        return (Decimal(milli) / 1000).exp()


@lru_cache(maxsize=64)
def _price(share_milli: int, cap_milli: int) -> Decimal:
    with localcontext(_CONTEXT):
        return (1 + Decimal(share_milli) / 1000 * _exp_of_milli(-cap_milli)).ln()

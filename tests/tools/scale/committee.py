"""How safe a committee is that is drawn by lot: the chance that a third of its seats or more are faulty.

Law: exact, in whole numbers, of which only the result is rounded; beside it the bound that a reader can check by hand.

All hosts weigh the same here. Seats drawn by weight among unequal hosts are no safer: whoever holds the share f of the
weight holds f of each seat in the mean, as here.
"""

from __future__ import annotations

from fractions import Fraction
from math import comb, exp, log


def least_faulty(seats: int) -> int:
    """Of so many seats, how many faulty ones stop the chain: no quorum, more than two thirds, is left without them."""
    return -(-seats // 3)


def chance(hosts: int, faulty: int, seats: int) -> Fraction:
    """P(at least `least_faulty` of `seats` are faulty), drawn without replacement: the tail of the hypergeometric
    distribution."""
    first, last = max(least_faulty(seats), seats - (hosts - faulty)), min(seats, faulty)
    if first > last:
        return Fraction(0)
    term = comb(faulty, first) * comb(hosts - faulty, seats - first)
    ways = term
    for k in range(first, last):  # from the ways with k faulty seats to those with one more
        term = term * (faulty - k) * (seats - k) // ((k + 1) * (hosts - faulty - seats + k + 1))
        ways += term
    return Fraction(ways, comb(hosts, seats))


def bound(share: float, seats: int) -> float:
    """Chernoff's bound on `chance` for any number of hosts: exp(-c D(t || f)), where c are the seats, f is the share
    of faulty hosts, t = least_faulty / c, D(t || f) = t ln(t / f) + (1 - t) ln((1 - t) / (1 - f)). It holds without
    replacement as well (Hoeffding 1963)."""
    t = least_faulty(seats) / seats
    if t <= share:
        return 1.0
    rest = (1 - t) * log((1 - t) / (1 - share)) if t < 1 else 0.0
    return exp(-seats * (t * log(t / share) + rest))


def smallest(hosts: int, faulty: int, most: float) -> int:
    """The fewest seats, of the form 3 k + 1, for which `chance` is at most `most`: k may be faulty, and one or two
    seats more would allow no more. All hosts where fewer are not enough."""
    def enough(k: int) -> bool:
        return 3 * k + 1 >= hosts or chance(hosts, faulty, 3 * k + 1) <= most

    high = 1
    while not enough(high):  # first by doubling: the numbers grow with the seats
        high *= 2
    low = high // 2
    while low + 1 < high:
        middle = (low + high) // 2
        low, high = (low, middle) if enough(middle) else (middle, high)
    return min(3 * high + 1, hosts)

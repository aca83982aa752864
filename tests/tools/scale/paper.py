"""`python -m tests.tools.scale.paper`: the arithmetic of docs/scale.md, as the tables that stand there.

Law: deterministic. A test compares each table with the page, so neither can change alone.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from fractions import Fraction
from math import log10

from tests.tools.scale import changed, figures, samples, sizes, today
from tests.tools.scale.committee import bound, chance, smallest

SHARES = (Fraction(1, 10), Fraction(3, 20), Fraction(1, 5), Fraction(1, 4))
SEATS = (64, 128, 256, 512, 1024)
HOSTS = 10_000
RATES = (1.0, 1 / 60)
_PREFIXES = ((1e12, "T"), (1e9, "G"), (1e6, "M"), (1e3, "k"))


def amount(value: float, unit: str) -> str:
    """Two or three digits, with a prefix for bytes."""
    prefix = ""
    if unit == "B":
        size, prefix = next(((s, p) for s, p in _PREFIXES if value >= s), (1.0, ""))
        value /= size
    if value == 0 or value == int(value):
        return f"{value:,.0f} {prefix}{unit}".strip()
    digits = max(0, 1 - int(log10(abs(value)) // 1))
    text = f"{value:,.{digits}f}" if abs(value) < 100 else f"{value:,.0f}"
    return f"{text} {prefix}{unit}".strip()


def tiny(value: Fraction | float) -> str:
    """A chance; below what a float can hold, '0'."""
    return f"{float(value):.1e}" if value else "0"


def table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def sizes_table() -> str:
    letters = dict(zip(sizes.RECORDS, ["S", "F", "O", "C", "V", "R", "A"], strict=True))
    rows = [[name, letters[name], str(size)] for name, size in sizes.RECORDS.items()]
    rows += [
        ["batch around its records", "B", str(sizes.BATCH)],
        ["inference in the state, not checked, with its index", "", str(sizes.SETTLED)],
        ["inference in the state, checked", "", str(sizes.JUDGED)],
        ["certificate of 128 validators", "", str(sizes.certificate(128))],
        ["header with its certificate and both sets, 128 validators", "", str(sizes.light_block(128))],
    ]
    return table(("what", "", "bytes"), rows)


def figures_table() -> str:
    share = today.checked_share(samples.REQUESTS)
    rows = [
        ["k", "copies of a gossip message that a peer sends", f"{figures.COPIES}"],
        ["g", "CPU of a real peer for a delivered message", f"{figures.GOSSIP_MS} ms"],
        ["i", "CPU of the chain for an inference", f"{figures.INFERENCE_US:.0f} us"],
        ["a, b", "conduct at an epoch's end", f"{figures.CONDUCT_LINE_US:.0f} us, {figures.CONDUCT_SQUARE_NS:.0f} ns"],
        ["p", "share of answers that is checked, at 200 an epoch", f"{share:.1%}"],
        ["s", "an inference in the state and its tree", f"{today.Today(1000).inference_bytes:.0f} B"],
        ["s'", "the same without the tree", f"{today.Today(1000).record_of_inference:.0f} B"],
    ]
    return table(("", "what", "value"), rows)


def today_table() -> str:
    rows = [
        [what, formula, *(amount(value(today.Today(n)), unit) for n in today.SIZES)]
        for what, formula, unit, value in today.ROWS
    ]
    return table(("resource", "formula", *(f"{n:,}" for n in today.SIZES)), rows)


def limits_table() -> str:
    found = sorted((tuple(hosts(rate) for rate in RATES), what, limit) for what, limit, hosts in today.LIMITS)
    rows = [[what, limit, *(f"{hosts:,.0f}" for hosts in at)] for at, what, limit in found]
    return table(("what happens", "limit", "hosts, a request a second", "a request a minute"), rows)


def committee_table() -> str:
    rows = []
    for seats in SEATS:
        cells = [
            f"{tiny(chance(HOSTS, int(HOSTS * share), seats))} ({tiny(bound(float(share), seats))})" for share in SHARES
        ]
        rows.append([str(seats), *cells])
    return table(("seats", *(f"{share:.0%} faulty" for share in map(float, SHARES))), rows)


def seats_table() -> str:
    rows = []
    for hosts in changed.SIZES:
        most = float(changed.ALLOWED / changed.DRAWS)
        rows.append([f"{hosts:,}", *(str(smallest(hosts, int(hosts * share), most)) for share in SHARES)])
    return table(("hosts", *(f"{share:.0%} faulty" for share in map(float, SHARES))), rows)


def changed_table() -> str:
    rows = [
        [what, formula, *(amount(value(changed.Changed(n)), unit) for n in changed.SIZES)]
        for what, formula, unit, value in changed.ROWS
    ]
    return table(("resource", "formula", *(f"{n:,}" for n in changed.SIZES)), rows)


TABLES = {
    "sizes": sizes_table, "figures": figures_table, "today": today_table, "limits": limits_table,
    "committees": committee_table, "seats": seats_table, "changed": changed_table,
}


def tables() -> Iterator[tuple[str, str]]:
    """(name, markdown) of each."""
    for name, make in TABLES.items():
        yield name, make()


def main() -> None:
    for name, text in tables():
        print(f"{name}\n{text}\n")


if __name__ == "__main__":
    main()

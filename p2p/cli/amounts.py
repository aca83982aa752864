"""Amounts of money as people write and read them. Law: exact; what would be rounded is refused, and nothing that is
printed is.

One credit is a million micro-credits, and a number without a unit is micro-credits, as in --json.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from decimal import Decimal, InvalidOperation

from p2p.cli.arguments import MAX_AMOUNT, MAX_DIGITS

MICRO = 1_000_000  # micro-credits of a credit
_CREDITS = ("cr", "credit", "credits")
_MICROS = ("", "micro", "micro-credit", "micro-credits")
_IN_CREDITS = 10_000  # micro-credits from which people read credits


def amount(low: int = 0, high: int = MAX_AMOUNT) -> Callable[[str], int]:
    """A reader of amounts from `low` to `high` micro-credits: 250000, 250000micro, 0.25cr, "0.25 credits"."""

    def read(text: str) -> int:
        found = _micro(text)
        if found is None or not low <= found <= high:
            units = f"a whole number from {low} to {high} of micro-credits, or credits such as 0.25cr"
            raise argparse.ArgumentTypeError(f"give {units}, not {text[:60]!r}")
        return found

    return read


def _micro(text: str) -> int | None:
    """None: it is no amount, or none of whole micro-credits."""
    if len(text) > MAX_DIGITS or not text.isascii():
        return None
    number = text.rstrip("abcdefghijklmnopqrstuvwxyz-")
    unit, blank = text[len(number) :], number[-1:] == " "
    number = number[:-1] if blank and unit else number
    if unit in _MICROS and number.isdigit():
        return int(number)
    if unit not in _CREDITS or not number.replace(".", "", 1).isdigit():
        return None
    try:
        found = Decimal(number) * MICRO
    except InvalidOperation:
        return None
    return int(found) if found == int(found) else None


def money(micro: int) -> str:
    """For people: small amounts in micro-credits, others in credits, exact both ways."""
    if abs(micro) < _IN_CREDITS:
        return f"{micro:,} micro-credit{'' if abs(micro) == 1 else 's'}"
    whole, part = divmod(abs(micro), MICRO)
    digits = f".{part:06}".rstrip("0") if part else ""
    return f"{'-' if micro < 0 else ''}{whole:,}{digits} credit{'' if abs(micro) == MICRO else 's'}"

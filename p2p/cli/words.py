"""Words of the command line as values. Law: a wrong one is named by its option, with what is allowed, and no type of ours is shown.

Options of numbers are read by argparse with `whole` or `number`; argparse names the option and prints the sentence.
"""

from __future__ import annotations

import argparse
import math
import os
from collections.abc import Callable
from decimal import Decimal, InvalidOperation
from pathlib import Path

from p2p.base.errors import ConfigError, InvalidRequest

MAX_AMOUNT = 2**63 - 1
MAX_DIGITS = 40


def whole(low: int, high: int) -> Callable[[str], int]:
    """A reader of whole numbers of plain digits from `low` to `high`."""

    def read(text: str) -> int:
        digits = text[1:] if text.startswith("-") else text
        if not (digits.isascii() and digits.isdigit()) or len(digits) > MAX_DIGITS or not low <= int(text) <= high:
            raise argparse.ArgumentTypeError(f"a whole number from {low} to {high} is wanted, not {text[:60]!r}")
        return int(text)

    return read


def number(low: float, high: float) -> Callable[[str], float]:
    """A reader of finite numbers from `low` to `high`."""

    def read(text: str) -> float:
        try:
            found = float(text) if text.isascii() and len(text) <= MAX_DIGITS else math.nan
        except ValueError:
            found = math.nan
        if not low <= found <= high:
            raise argparse.ArgumentTypeError(f"a number from {low:g} to {high:g} is wanted, not {text[:60]!r}")
        return found

    return read


def thousandths(low: int, high: int) -> Callable[[str], int]:
    """A reader of numbers from `low` to `high` with at most three places after the point, as thousandths: what is signed has no more, and a
    number that would be rounded is not the one that was asked for."""

    def read(text: str) -> int:
        try:
            found = Decimal(text) if text.isascii() and len(text) <= MAX_DIGITS else Decimal("nan")
        except InvalidOperation:
            found = Decimal("nan")
        if not found.is_finite() or not low <= found <= high:
            raise argparse.ArgumentTypeError(f"a number from {low} to {high} is wanted, not {text[:60]!r}")
        if found * 1000 != int(found * 1000):
            raise argparse.ArgumentTypeError(f"at most three places after the point, not {text[:60]!r}: it would be rounded")
        return int(found * 1000)

    return read


def default_dir() -> Path:
    """The folder ~/.folkmoot; of a user without a home, .folkmoot where the command runs."""
    try:
        return Path.home() / ".folkmoot"
    except (RuntimeError, KeyError):
        return Path(".folkmoot")


def text_argument(text: str, field: str) -> str:
    """A word that can be sent as UTF-8. Raises InvalidRequest where the shell gave other bytes."""
    try:
        text.encode()
    except UnicodeEncodeError:
        shown = os.fsencode(text)[:40]
        raise InvalidRequest(f"it is not UTF-8 text ({shown!r}); give it in UTF-8", field=field) from None
    return text


def multiaddr(text: str) -> str:
    """An address with the id of who must answer. Raises ConfigError."""
    if not text.startswith("/") or "/p2p/" not in text:
        raise ConfigError("a multiaddr with /p2p/ID is wanted, such as /ip4/1.2.3.4/tcp/7470/p2p/ID", field="peer")
    return text


def peer_of(address: str) -> str:
    """The peer id at the end of a multiaddr. Raises ConfigError for one that is none."""
    from p2p.base.keys import public_key_of

    peer = multiaddr(address).rsplit("/p2p/", 1)[-1]
    try:
        public_key_of(peer)
    except ConfigError as error:
        raise ConfigError(f"{peer[:80]!r} is no peer id: {error.message}", field="peer") from error
    return peer


def public_key(text: str, field: str) -> bytes:
    """64 hexadecimal digits. Raises ConfigError naming the option."""
    try:
        raw = bytes.fromhex(text)
    except ValueError:
        raw = b""
    if len(raw) != 32:
        raise ConfigError("64 hexadecimal digits are wanted", field=field)
    return raw

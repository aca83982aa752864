"""Reads what a user types: numbers, addresses, keys, the folder's genesis file.

Law: what is wrong is named by its option, with what is allowed, in words of the user and not of Python.

`whole`, `number` and `thousandths` make readers for argparse, which names the option. The others take the option's name
as `field`.
"""

from __future__ import annotations

import argparse
import math
import os
from collections.abc import Callable
from decimal import Decimal, InvalidOperation
from pathlib import Path
from typing import TYPE_CHECKING

from p2p.base.errors import ConfigError, InvalidRequest

if TYPE_CHECKING:
    from p2p.base.genesis import Genesis

MAX_AMOUNT = 2**63 - 1  # micro-credits
MAX_HEIGHT = 2**32 - 1
MAX_DIGITS = 40  # longer numbers are not even parsed
SECONDS_A_DAY = 86_400


def whole(low: int, high: int) -> Callable[[str], int]:
    """A reader of whole numbers from `low` to `high`, written in plain digits."""

    def read(text: str) -> int:
        digits = text[1:] if text.startswith("-") else text
        if not (digits.isascii() and digits.isdigit()) or len(digits) > MAX_DIGITS or not low <= int(text) <= high:
            raise argparse.ArgumentTypeError(f"give a whole number from {low} to {high}, not {text[:60]!r}")
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
            raise argparse.ArgumentTypeError(f"give a number from {low:g} to {high:g}, not {text[:60]!r}")
        return found

    return read


def thousandths(low: int, high: int) -> Callable[[str], int]:
    """A reader of numbers from `low` to `high` with at most three decimal places, as thousandths.

    What is signed has no more places, and a number that would be rounded is not the one that was asked for.
    """

    def read(text: str) -> int:
        try:
            found = Decimal(text) if text.isascii() and len(text) <= MAX_DIGITS else Decimal("nan")
        except InvalidOperation:
            found = Decimal("nan")
        if not found.is_finite() or not low <= found <= high:
            raise argparse.ArgumentTypeError(f"give a number from {low} to {high}, not {text[:60]!r}")
        if found * 1000 != int(found * 1000):
            raise argparse.ArgumentTypeError(f"give at most three decimal places, not {text[:60]!r}")
        return int(found * 1000)

    return read


def default_dir() -> Path:
    """The folder ~/.folkmoot; for a user without a home, .folkmoot in the current folder."""
    try:
        return Path.home() / ".folkmoot"
    except (RuntimeError, KeyError):
        return Path(".folkmoot")


def utf8(text: str, field: str) -> str:
    """`text`, which can be sent as UTF-8. Raises InvalidRequest where the shell gave other bytes."""
    try:
        text.encode()
    except UnicodeEncodeError:
        shown = os.fsencode(text)[:40]
        raise InvalidRequest(f"give it in UTF-8; this is not UTF-8 text: {shown!r}", field=field) from None
    return text


def multiaddr(text: str) -> str:
    """`text`, an address with the id of the peer that must answer there. Raises ConfigError."""
    if not text.startswith("/") or "/p2p/" not in text:
        raise ConfigError("give a multiaddr with the peer's id, such as /ip4/1.2.3.4/tcp/7470/p2p/ID", field="peer")
    return text


def peer_of(address: str) -> str:
    """The peer id at the end of a multiaddr. Raises ConfigError where there is none."""
    from p2p.base.keys import public_key_of

    peer = multiaddr(address).rsplit("/p2p/", 1)[-1]
    try:
        public_key_of(peer)
    except ConfigError as error:
        raise ConfigError(f"{peer[:80]!r} after /p2p/ is no peer id: {error.message}", field="peer") from error
    return peer


def is_id(text: str) -> bool:
    """Whether `text` is 64 hexadecimal digits: a public key, a hash, or an inference id."""
    return len(text) == 64 and set(text.lower()) <= set("0123456789abcdef")


def read_id(text: str, field: str) -> bytes:
    """The 32 bytes of a public key, a hash, or an inference id. Raises ConfigError."""
    if not is_id(text):
        raise ConfigError(f"give 64 hexadecimal digits, not {text[:80]!r}", field=field)
    return bytes.fromhex(text)


def header_id(text: str | None) -> tuple[int, str]:
    """(height, block id in hexadecimal digits) of HEIGHT:BLOCK_ID, the value of --trusted. Raises InvalidRequest."""
    height, _, block_id = (text or "").partition(":")
    plain = height.isascii() and height.isdigit() and len(height) <= 10
    if not plain or not is_id(block_id) or not 1 <= int(height) <= MAX_HEIGHT:
        what = "a height and the 64 hexadecimal digits of its block's id, as `folkmoot block` prints them"
        raise InvalidRequest(f"give HEIGHT:BLOCK_ID, {what}", field="trusted")
    return int(height), block_id.lower()


def read_genesis(directory: Path, use: str, field: str = "dir") -> Genesis:
    """The genesis file in `directory`. use: what it is needed for, for the user. Raises ConfigError."""
    from p2p.base.files import exists
    from p2p.base.genesis import load_genesis

    file = directory / "genesis.cbor"
    if not exists(file):
        advice = "get it with: folkmoot join NETWORK --dir DIR, or copy the network's genesis file there"
        raise ConfigError(f"{file} is missing, which is needed {use}; {advice}", field=field)
    return load_genesis(file)


def add_network(command: argparse.ArgumentParser, folder: str, listen: str, who: str) -> None:
    """Options of a command that serves HTTP over a network: its folder, where it listens, and whom it asks. folder:
    what --dir is; listen: its default; who: asks there."""
    command.add_argument("--dir", type=Path, default=default_dir(), help=f"{folder} (default: %(default)s)")
    command.add_argument(
        "--listen", default=listen, metavar="HOST:PORT", help=f"where {who} ask (default: %(default)s)",
    )
    command.add_argument(
        "--peer", action="append", metavar="MULTIADDR",
        help="a peer to ask; may be given several times (default: the bootstrap of config.toml in --dir)",
    )
    command.add_argument(
        "--network", type=Path, metavar="FILE", help="a network's file, which names its genesis and its first peers",
    )

"""Reads and writes the TOML files that people edit.

Law: a damaged file is a ConfigError that names it; a table that is dumped here is read back as the same table.
"""

from __future__ import annotations

import json
import tomllib
from pathlib import Path
from typing import Any

from p2p.base.errors import ConfigError
from p2p.base.files import read_file
from p2p.base.limits import KIB

MAX_TOML = 256 * KIB  # a configuration has a few KiB


def read_toml(file: Path, *, field: str) -> dict[str, Any]:
    """The table in a file of UTF-8 text, with or without a byte-order mark. Raises ConfigError that names the file."""
    raw = read_file(file, MAX_TOML, field=field)
    try:
        return tomllib.loads(raw.decode("utf-8-sig"))
    except UnicodeDecodeError as error:
        looks = "UTF-16 text" if raw[:2] in (b"\xff\xfe", b"\xfe\xff") else f"not UTF-8 text (byte {error.start})"
        raise ConfigError(f"{file} is {looks}; save it as UTF-8 text", field=field) from error
    except (tomllib.TOMLDecodeError, RecursionError) as error:
        raise ConfigError(f"{file} is not TOML: {error}", field=field) from error


def dump_toml(table: dict[str, Any]) -> str:
    """The text of a flat table of strings, whole numbers and lists of strings."""
    return "".join(f"{name} = {_dump(value)}\n" for name, value in table.items())


def _dump(value: Any) -> str:
    """As JSON does, but characters beyond 16 bits stay as they are and DEL is escaped, as TOML requires."""
    return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")

"""Whether the files of a model's weights are whole. Law: only heads are read, so it is quick for any size.

A download that was cut off is the usual fault, and engines meet it late, with an error of their own format.
"""

from __future__ import annotations

import json
from pathlib import Path

from p2p.base.files import exists

_MAX_HEAD = 64 << 20  # bytes of the JSON that begins a file: as the format itself allows no more than 100 MB
_LENGTH = 8  # bytes of the number that says how long it is


def wrong_with(folder: Path) -> str:
    """A sentence about the first file that is missing or cut off; empty where all are there."""
    for name in ("config.json", "tokenizer.json"):
        if not exists(folder / name):
            return f"{folder / name} is missing"
    files = sorted(folder.glob("*.safetensors"))
    if not files:
        return f"{folder} has no *.safetensors"
    for file in files:
        if wrong := _cut_off(file):
            return wrong
    missing = sorted(_named(folder) - {file.name for file in files})
    return f"{folder / missing[0]} is missing, which the index names" if missing else ""


def _cut_off(file: Path) -> str:
    try:
        size = file.stat().st_size
        with file.open("rb") as data:
            length = int.from_bytes(data.read(_LENGTH), "little")
            if not 2 <= length <= min(_MAX_HEAD, size):
                return f"{file} is no safetensors file, or is cut off ({size} bytes)"
            head = json.loads(data.read(length))
        ends = [int(row["data_offsets"][1]) for name, row in head.items() if name != "__metadata__"]
    except (OSError, ValueError, KeyError, TypeError, IndexError, AttributeError, RecursionError) as error:
        return f"{file} cannot be read as safetensors: {type(error).__name__}"
    wanted = _LENGTH + length + max(ends, default=0)
    return f"{file} is cut off: it has {size} of {wanted} bytes" if size < wanted else ""


def _named(folder: Path) -> set[str]:
    """The files that an index of several names; nothing where there is none."""
    index = folder / "model.safetensors.index.json"
    try:
        return {str(name) for name in json.loads(index.read_text())["weight_map"].values()}
    except (OSError, ValueError, KeyError, AttributeError):
        return set()

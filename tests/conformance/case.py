"""A family is a function from a folder to cases; a case is a name and a check that raises AssertionError. Law:
absent is said, not hidden."""

from __future__ import annotations

import gzip
import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any


class Absent(Exception):
    """The folder holds no vectors of this family."""


@dataclass(frozen=True, slots=True)
class Case:
    name: str
    check: Callable[[], None]


Family = Callable[[Path], Iterator[Case]]


def read(path: Path) -> Any:
    """JSON, gzipped or not."""
    if not path.exists():
        raise Absent(str(path))
    raw = path.read_bytes()
    return json.loads(gzip.decompress(raw) if path.suffix == ".gz" else raw)


def files(folder: Path, pattern: str) -> list[Path]:
    found = sorted(folder.glob(pattern))
    if not found:
        raise Absent(f"{folder}/{pattern}")
    return found

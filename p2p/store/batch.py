"""A write set as a value. Law: one batch is one transaction; None deletes."""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass(slots=True)
class Batch:
    """puts: (database, key) -> value or None to delete."""

    puts: dict[tuple[str, bytes], bytes | None] = field(default_factory=dict)

    def put(self, database: str, key: bytes, value: bytes | None) -> None:
        self.puts[(database, key)] = value

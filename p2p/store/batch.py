"""A set of writes, collected first and committed together.

Law: one batch is one transaction of the store.
"""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass(slots=True)
class Batch:
    """Writes that Store.commit applies as one transaction. A later put of the same key replaces an earlier one."""

    puts: dict[tuple[str, bytes], bytes | None] = field(default_factory=dict)  # (database, key) -> value; None deletes

    def put(self, database: str, key: bytes, value: bytes | None) -> None:
        """Write `value` under `key`, or delete the key where it is None. database: one of keys.DATABASES."""
        self.puts[(database, key)] = value

"""What a token of each model cost when that was last proved.

Law: only a proved price is kept; a file that cannot be read, or holds something else, counts as empty.
"""

from __future__ import annotations

import json
from contextlib import suppress
from pathlib import Path

from p2p.base.errors import FolkmootError
from p2p.base.files import read_file, write_file
from p2p.base.serving_limits import MAX_MODEL_NAME
from p2p.ledger.money.price import MAX_PRICE

MAX_KEPT = 256  # models
_MAX_BYTES = MAX_KEPT * (6 * MAX_MODEL_NAME + 64)


class KnownPrices:
    """In `file`, as JSON: model -> micro-credits, and the height of the draw with which they were proved. Where the
    file cannot be written, the prices of the genesis file are what is known."""

    def __init__(self, file: Path) -> None:
        self._file = file

    def get(self, model: str) -> int | None:
        return self._read().get(model, (None, 0))[0]

    def keep(self, model: str, price_micro: int, height: int = 0) -> None:
        """Not from an older height than the last one: a peer may show an old tip, and a price that was true then."""
        known = self._read()
        if height < known.pop(model, (0, 0))[1]:
            return
        kept = dict(list(known.items())[-(MAX_KEPT - 1):])
        with suppress(FolkmootError):  # a read-only folder
            write_file(self._file, json.dumps({**kept, model: (price_micro, height)}).encode(), field="dir")

    def _read(self) -> dict[str, tuple[int, int]]:
        try:
            found = json.loads(read_file(self._file, _MAX_BYTES, field="dir"))
        except (FolkmootError, ValueError, RecursionError):
            return {}
        if not isinstance(found, dict):
            return {}
        rows = ((model, row) for model, row in found.items() if isinstance(row, list))
        pairs = ((model, row) for model, row in rows if [type(part) for part in row] == [int, int])
        return {model: (price, height) for model, (price, height) in pairs if 1 <= price <= MAX_PRICE}

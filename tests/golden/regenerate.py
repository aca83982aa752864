"""`python -m tests.golden.regenerate` rewrites the golden bytes: only when the wire is meant to change."""

from __future__ import annotations

import json
from pathlib import Path

from p2p.base.codec import encode
from tests.golden.samples import kinds, sample

FILE = Path(__file__).parent / "messages.json"


def main() -> None:
    golden = {name: encode(sample(kind)).hex() for name, kind in sorted(kinds().items())}
    FILE.write_text(json.dumps(golden, indent=1) + "\n")


if __name__ == "__main__":
    main()

"""`python -m tests.golden.regenerate` writes the golden bytes anew: only when the wire is meant to change."""

from __future__ import annotations

import json
from pathlib import Path

from p2p.base.codec import encode
from tests.golden.samples import kinds, sample

FILE = Path(__file__).parent / "messages.json"


def main() -> None:
    FILE.write_text(json.dumps({name: encode(sample(kind)).hex() for name, kind in sorted(kinds().items())}, indent=1) + "\n")


if __name__ == "__main__":
    main()

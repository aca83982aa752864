"""`python -m tests.conformance DIR [-v]`: passed/total per family of vectors; exit code 1 when any case fails."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from p2p.base.errors import FolkmootError
from tests.conformance import crypto, folder, sets, tendermint
from tests.conformance.case import Absent, Family

FAMILIES: dict[str, Family] = {
    "tendermint directed": tendermint.directed, "tendermint random": tendermint.random,
    "vote keeper": tendermint.votekeeper,
    "state machine": tendermint.machine, "thresholds": sets.thresholds, "applied certificate": sets.applied_certificate,
    "proposer selection": sets.proposers, "light client": sets.light_client, "ed25519": crypto.ed25519,
    "ecvrf": crypto.ecvrf,
    "cbor": crypto.cbor, "rfc6962": crypto.rfc6962,
}
WRONG = (AssertionError, FolkmootError, KeyError, TypeError, ValueError, IndexError, AttributeError)


def check(name: str, where: Path) -> tuple[int, int, list[str]]:
    """(passed, total, what failed). Raises Absent."""
    passed, failed = 0, []
    cases = list(FAMILIES[name](where))
    for case in cases:
        try:
            case.check()
            passed += 1
        except WRONG as error:
            failed.append(f"{case.name}: {type(error).__name__}: {error}")
    return passed, len(cases), failed


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.conformance", description=__doc__)
    parser.add_argument("dir", type=Path, nargs="?", default=folder())
    parser.add_argument("-v", "--verbose", action="store_true", help="every failed case, not only the first")
    options = parser.parse_args()
    if not options.dir.is_dir():
        print(f"{options.dir} is no folder; name one laid out like the shared vectors", file=sys.stderr)
        return 2
    bad = 0
    for name in FAMILIES:
        try:
            passed, total, failed = check(name, options.dir)
        except Absent as absent:
            print(f"{name:22} absent ({absent})")
            continue
        bad += len(failed)
        print(f"{name:22} {passed}/{total}" + ("" if passed == total else "  FAILED"))
        for line in failed if options.verbose else failed[:1]:
            print(f"    {line[:400]}")
    print("all that is here passes" if not bad else f"{bad} cases fail")
    return 1 if bad else 0


if __name__ == "__main__":
    sys.exit(main())

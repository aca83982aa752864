"""`make networks`: small networks drawn by chance, one after another: do all checks hold? It prints every seed.

Law: with `--fault NAME` every peer runs a copy of the program in which that one thing is wrong, and then some network's
checks must fail: checks that no fault makes fail are worth nothing.

`python -m tests.tools.random_networks [--count N] [--first SEED] [--fault NAME] [--dir DIR]`
"""

from __future__ import annotations

import argparse
import os
import shutil
import sys
import tempfile
import time
from pathlib import Path

from p2p.base.errors import FolkmootError
from testnet.fabric.fabric import missing
from testnet.manifest.random_manifest import draw
from testnet.manifest.reading import parse
from testnet.runs.run import Options, Run
from tests.tools.mutants.table import Mutant

ROOT = Path(__file__).parents[2]
PARTS = ("p2p", "testnet", "bootstrap")
COUNT = 24
FAULTS = (
    Mutant("records-lost", "p2p/peer/outbox.py", "        self._waiting.append(record)\n        self._bytes",
           "        if record.body[-1] % 3:\n            self._waiting.append(record)\n        self._bytes"),
    Mutant("no-sync", "p2p/chain/sync_client.py", "ASK_EVERY_S = 1.0", "ASK_EVERY_S = 1e9"),
    Mutant("strict-judge", "p2p/verification/check.py", "    if total > limit:", "    if total > limit - 30_000:"),
)


def with_fault(fault: Mutant, place: Path) -> Path:
    """A copy of the program in the folder `place`, with one fault."""
    for part in PARTS:
        shutil.copytree(ROOT / part, place / part, ignore=shutil.ignore_patterns("__pycache__"))
    file = place / fault.file
    text = file.read_text()
    assert text.count(fault.old) == 1, f"{fault.name} fits {text.count(fault.old)} places of {fault.file}"
    file.write_text(text.replace(fault.old, fault.new))
    return place


def one(seed: int, directory: Path, source: Path | None, fault: str) -> list[str]:
    """Run the network of a seed. Returns the names of the checks that fail, or the error that ended it."""
    lines: list[str] = []
    manifest = parse(draw(seed, links=not missing()), f"seed {seed}")
    kinds = ", ".join(perturbation.kind for perturbation in manifest.perturbations)
    try:
        result = Run(manifest, Options(directory, source=source, fault=fault), lines.append).execute()
    except FolkmootError as error:
        return [f"it did not come up: {error.message[:300]}"]
    finally:
        print(f"  seed {seed}: {sum(group.count for group in manifest.peers)} members; {kinds}", flush=True)
    return [f"{check.name}: {'; '.join(check.failures)[:300]}" for check in result.checks if not check.holds]


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.tools.random_networks", description=__doc__)
    parser.add_argument("--count", type=int, default=COUNT, help="networks (default: %(default)s)")
    parser.add_argument("--first", type=int, default=int(time.time()) % 10**6, help="first seed (default: the time)")
    parser.add_argument("--fault", choices=[fault.name for fault in FAULTS], help="run peers with it until it is seen")
    parser.add_argument("--dir", type=Path, help="where failed networks are kept (default: a temporary folder)")
    options = parser.parse_args()
    print(f"seeds {options.first}..{options.first + options.count - 1}; links: {missing() or 'yes'}; "
          f"{os.cpu_count()} processors", flush=True)
    fault = next((fault for fault in FAULTS if fault.name == options.fault), None)
    with tempfile.TemporaryDirectory(prefix="folkmoot-networks-") as place:
        source = with_fault(fault, Path(place) / "source") if fault else None
        failed = []
        for seed in range(options.first, options.first + options.count):
            directory = (options.dir or Path(place)) / f"seed-{seed}"
            wrong = one(seed, directory, source, options.fault or "")
            for sentence in wrong:
                print(f"    {sentence}", flush=True)
            if wrong:
                failed.append(seed)
                if fault:
                    print(f"the fault {fault.name} is seen with seed {seed}")
                    return 0
            elif options.dir is None:
                shutil.rmtree(directory, ignore_errors=True)
    if fault:
        print(f"the fault {fault.name} is NOT seen in {options.count} networks")
        return 1
    print(f"{options.count - len(failed)} of {options.count} networks hold"
          + (f"; failed: {', '.join(map(str, failed))}" if failed else ""))
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())

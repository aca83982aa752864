"""Find the test that fails on a changed copy of the tree.

Law: a killer is a test that was seen to fail on that copy, just now. `killers.json` remembers which one it was the last
time, only so that it is tried first; everything else is tried when it passes.

A killer is written as what it takes to run it again: a test's node id, `conformance`, or `seed N` of the simulation.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

from tests.conformance import folder
from tests.tools.mutants.table import INF, G, Mutant, V

ROOT = Path(__file__).parents[3]
KILLERS = Path(__file__).parent / "killers.json"
CONFORMANCE = "conformance"
PYTEST = ("-m", "pytest", "-x", "-q", "-p", "no:cacheprovider")
FAILED = re.compile(r"^(?:FAILED|ERROR) (\S+?(?:\[.*?\])?)(?: - .*)?$", re.MULTILINE)
SEED = re.compile(r"^seed (\d+): ", re.MULTILINE)
LIMIT_S = 3600.0  # a stage that takes longer hangs

MONEY = ("tests/ledger/money/test_requests.py", "tests/ledger/money/test_price.py",
         "tests/ledger/participants/test_places.py", "tests/ledger/test_governance.py")
# tests that look first for a mutant of verification, inference or a peer
ANSWERS = ("tests/verification/test_check.py", "tests/verification/test_handover.py", "tests/peer/test_executor.py",
           "tests/peer/test_breaking_off.py", "tests/peer/test_start_first.py", "tests/client/test_way.py",
           "tests/verification/test_penalties.py")
# tests that look first for a mutant of the gossip router
GOSSIP = ("tests/gossipsub",)
STRANGERS = (
    "tests/gossip/discovery/test_book.py", "tests/gossip/connections/test_budget.py",
    "tests/gossip/discovery/test_slots.py", "tests/gossip/discovery/test_keeping.py",
    "tests/machine/test_deadlines.py", "tests/wire/test_frame_limits.py",
    "tests/chain/test_transactions.py", "tests/chain/test_account_transactions.py", "tests/chain/test_mempool.py",
    "tests/chain/test_full_registry.py",
    "tests/client/test_tip_proof.py", "tests/base/test_network_id.py",
)
BLAME = (
    "tests/ledger/inferences/test_finish.py", "tests/ledger/inferences/test_withheld.py",
    "tests/ledger/conduct/test_blame.py", "tests/peer/test_agent_credit.py",
    "tests/peer/test_fault_injector.py",
    "tests/peer/test_payload_sources.py",
)
UNIT = ("tests/consensus", "tests/chain/test_chain.py", *STRANGERS, *BLAME, *MONEY)


def remembered() -> dict[str, str]:
    """Mutant's name -> its killer of the last time."""
    return dict(json.loads(KILLERS.read_text())) if KILLERS.exists() else {}


def remember(killers: dict[str, str]) -> None:
    """Write the file whole or not at all."""
    part = KILLERS.with_suffix(".part")
    part.write_text(json.dumps(killers, indent=1, sort_keys=True) + "\n")
    part.replace(KILLERS)


def mirror(file: str) -> list[str]:
    """The test files named after the changed file, in its room's tests."""
    path = Path(file)
    room = ROOT / "tests" / path.parent.relative_to("p2p")
    return sorted(str(one.relative_to(ROOT)) for one in room.glob(f"test_{path.stem.strip('_')}*.py"))


def suites(file: str) -> Iterator[tuple[str, ...]]:
    """Groups of tests, those likeliest to see a change of `file` first."""
    if named := mirror(file):
        yield tuple(named)
    if file.startswith((V, INF, "p2p/peer/")):
        yield ANSWERS
    if file.startswith(G):
        yield GOSSIP
    room = str(Path("tests") / Path(file).parent.relative_to("p2p"))
    yield tuple(sorted(UNIT, key=lambda test: not test.startswith(room)))  # those of the file's room first


def run(tree: Path, *argv: str) -> subprocess.CompletedProcess[str]:
    """`python argv` in a copy of the tree."""
    env = {**os.environ, "PYTHONPATH": str(tree), "FOLKMOOT_VECTORS": str(folder())}
    return subprocess.run(
        [sys.executable, *argv], cwd=tree, env=env, capture_output=True, text=True, timeout=LIMIT_S, check=False
    )


def failing(tree: Path, tests: tuple[str, ...]) -> str:
    """The first of these tests that fails, '' when all pass."""
    done = run(tree, *PYTEST, *tests)
    if not done.returncode:
        return ""
    if found := FAILED.search(done.stdout):
        return found[1]
    raise RuntimeError(f"pytest {' '.join(tests)}: exit {done.returncode}\n{done.stdout[-2000:]}{done.stderr[-2000:]}")


def fails(tree: Path, killer: str) -> bool:
    """Whether that test, case of conformance or seed fails on this tree."""
    if killer == CONFORMANCE:
        return run(tree, "-m", "tests.conformance").returncode != 0
    if killer.startswith("seed "):
        return run(tree, "-m", "tests.sim", "--first", killer.split()[1], "--seeds", "1").returncode != 0
    return (ROOT / killer.split("::")[0]).exists() and run(tree, *PYTEST, killer).returncode == 1


def killer_of(tree: Path, file: str, seeds: int, known: str = "") -> str:
    """What fails on this tree, in which `file` was changed; '' when nothing does. known: what failed the last time."""
    if known and fails(tree, known):
        return known
    for tests in suites(file):
        if found := failing(tree, tests):
            return found
    if fails(tree, CONFORMANCE):
        return CONFORMANCE
    done = run(tree, "-m", "tests.sim", "--fail-fast", "--seeds", str(seeds), "--jobs", "1")
    seed = SEED.search(done.stdout + done.stderr)
    return f"seed {seed[1]}" if done.returncode and seed else ""


def copied(place: Path) -> Path:
    """A copy of the tree in the folder `place`."""
    tree = place / "tree"
    for part in ("p2p", "tests", "testnet", "bootstrap"):
        shutil.copytree(ROOT / part, tree / part, ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(ROOT / "pyproject.toml", tree)
    return tree


def kill(mutant: Mutant, seeds: int, known: str = "") -> str:
    """What fails on a copy of the tree with `mutant` in it, '' when nothing does."""
    with tempfile.TemporaryDirectory(prefix="folkmoot-mutant-") as place:
        file = copied(Path(place)) / mutant.file
        text = file.read_text()
        if text.count(mutant.old) != 1:  # in a second place it would remove another safeguard than it names
            what = f"mutant {mutant.name!r} fits {text.count(mutant.old)} places of {mutant.file}"
            raise SystemExit(f"{what}: bring its quote up to date")
        file.write_text(text.replace(mutant.old, mutant.new, 1))
        return killer_of(Path(place) / "tree", mutant.file, seeds, known)


def liars(killers: set[str]) -> list[str]:
    """Those killers that fail with nothing changed too: of what they killed nothing can be said."""
    tests = sorted(one for one in killers if "::" in one)
    with tempfile.TemporaryDirectory(prefix="folkmoot-mutant-") as place:
        tree = copied(Path(place))
        found = [one for one in sorted(killers.difference(tests)) if fails(tree, one)]
        if not tests or not run(tree, *PYTEST, *tests).returncode:
            return found
        return found + [one for one in tests if fails(tree, one)]

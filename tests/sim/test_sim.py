"""The simulator in the ordinary tests: a few hundred seeds, every villain, determinism, crash points, a set-up that
must fail."""

from __future__ import annotations

import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from p2p.base.errors import StorageError
from p2p.base.outcome import Outcome
from p2p.base.resumable import Resumable
from p2p.chain.chain import Chain
from p2p.consensus.machine import Machine
from p2p.consensus.messages import SignedProposal
from p2p.consensus.proposal_check import ProposalCheck
from p2p.consensus.replay import Judged
from p2p.consensus.timing import Timing
from p2p.store.lmdb import Store
from tests.sim import crash, mesh, twins
from tests.sim.__main__ import attempt, shrink
from tests.sim.checks import Violation
from tests.sim.peer import TIMING
from tests.sim.run import Report, genesis_of, run
from tests.sim.scenario import Scenario, draw
from tests.sim.villains import VILLAINS

ROOT = Path(__file__).parent.parent.parent
SEEDS = 400  # `make sim SEEDS=2000` runs more


def test_seeds() -> None:
    failed = {seed: found for seed in range(SEEDS) if isinstance(found := attempt(draw(seed)), str)}
    assert not failed, f"replay with: python -m tests.sim --seed {min(failed)} --trace\n{failed}"


@pytest.mark.parametrize("seed", [108488, 133604, 139733, 317107, 468620, 841495, 853882, 857239])
def test_seeds_that_failed_once(seed: int) -> None:
    """133604: echoes of a peer's own votes crowded its prevote out of what it repeats, and the others waited for
    ever. 317107: see the next test. 468620: a block id whose body was once seen false was voted nil for ever; the
    gate refuses such a body (decision 022). 841495 and 853882: the check of dates was wrong, for a proposal that is
    judged later than it comes, and for one that was on disk when its maker crashed. 857239: a
    proposer that repeated its proposal kept everybody from asking. The two others took too many rounds, and no longer
    do."""
    found = attempt(draw(seed))
    assert isinstance(found, Report), found


def test_a_polka_that_comes_late_is_proposed_again_at_once() -> None:
    """Shrunk from seed 317107: one peer alone saw the polka in its round and locked; nobody else proposed the block
    again until the locked one's turn, in round 5 (rule O)."""
    scenario = Scenario(
        317107, (5, 1, 3, 1), ((2, "byte_mutator"),), chaos_ms=5000, straggle=0.02, latency_ms=40, write_faults=1
    )
    found = attempt(scenario)
    assert isinstance(found, Report), found
    assert found.worst_round <= 2


BORDER = [Scenario(seed, (1, 1, 1, 1), ((seed % 4, "border"),), chaos_ms=5000, skew_ms=50) for seed in (19, 21, 25, 26)]


def test_a_date_at_the_border_splits_nobody_for_good(monkeypatch: pytest.MonkeyPatch) -> None:
    """With the old rule, which kept "too early" as "invalid", one villain of four stops the chain for ever; the new
    one passes over it."""
    found = [attempt(scenario) for scenario in BORDER]
    assert all(isinstance(one, Report) for one in found), found
    right = ProposalCheck.look_at

    def old_rule(check: ProposalCheck, machine: Machine, signed: SignedProposal, at_ms: int) -> Resumable[Judged]:
        judged = yield from right(check, machine, signed, at_ms)
        return Judged(signed, judged.valid and judged.timely)

    monkeypatch.setattr(ProposalCheck, "look_at", old_rule)
    found = [attempt(scenario) for scenario in BORDER]
    assert any("termination" in one for one in found if isinstance(one, str)), found


@pytest.mark.parametrize("blind", ["too late is believed", "too early is believed"])
def test_the_time_property_sees_each_side_of_rule_y(blind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Who believes any date on one side decides blocks that no right clock could have seen; with the rule whole,
    all pass."""
    scenarios = [Scenario(seed, (1, 1, 1, 1), ((seed % 4, "border"),), chaos_ms=5000, skew_ms=50) for seed in (0, 3, 7)]
    assert all(isinstance(attempt(scenario), Report) for scenario in scenarios)
    whole = Timing.is_timely

    def half(timing: Timing, time_ms: int, received_ms: int, round_: int) -> bool:
        past = time_ms < received_ms
        believed = received_ms if past == (blind == "too late is believed") else time_ms
        return whole(timing, believed, received_ms, round_)

    monkeypatch.setattr(Timing, "is_timely", half)
    found = [attempt(scenario) for scenario in scenarios]
    assert any("time: block" in one for one in found if isinstance(one, str)), found


BEYOND_MS = TIMING.precision_ms + 1


@pytest.mark.parametrize("off_ms", [-30_000, -TIMING.delay_ms - BEYOND_MS, -BEYOND_MS, BEYOND_MS, 30_000])
@pytest.mark.parametrize("every_ms", [0, 500])
def test_an_honest_majority_in_sync_decides_whatever_one_clock_does(off_ms: int, every_ms: int) -> None:
    """Off for good beyond each bound, or jumping about; the rounds that are allowed are its own turns and two."""
    found = attempt(
        Scenario(9, (1, 1, 1, 1), chaos_ms=2000, latency_ms=40, drift_ppm=100, wrong=((1, off_ms, every_ms),))
    )
    assert isinstance(found, Report), found


def test_two_halves_further_apart_than_any_proposal_takes_go_on_in_a_later_round() -> None:
    """Neither half has two thirds. What makes the slower one's blocks pass is that the delay grows with the round."""
    apart_ms = TIMING.delay_ms + TIMING.precision_ms + 400
    found = attempt(Scenario(5, (1, 1, 1, 1), chaos_ms=1000, latency_ms=40, wrong=((1, apart_ms, 0), (3, apart_ms, 0))))
    assert isinstance(found, Report), found
    assert found.worst_round >= 2


def test_clocks_that_all_ran_ahead_and_came_back_wait_and_go_on() -> None:
    """Ten seconds ahead in the chaotic phase: blocks are decided again once time has caught up with the last one."""
    found = attempt(Scenario(11, (1, 1, 1, 1), chaos_ms=3000, skew_ms=10_000, jumps=3))
    assert isinstance(found, Report), found


@pytest.mark.parametrize("name", VILLAINS)
def test_each_villain_alone(name: str) -> None:
    """One of four, one of seven with weight 2 of 8: peers decide, agree, and frame nobody."""
    for scenario in (
        Scenario(1, (1, 1, 1, 1), ((0, name),), loss=0.1, traffic=3),
        Scenario(2, (1, 1, 1, 2, 1, 1, 1), ((3, name),), loss=0.1, epoch_blocks=3, partitions=1, crashes=1),
    ):
        found = attempt(scenario)
        assert isinstance(found, Report), found


@pytest.mark.parametrize("name", ["equivocator", "twin"])
def test_a_double_voter_loses_its_weight(name: str) -> None:
    """Evidence end to end: seen, gossiped, decided in a block; from the next epoch on the set is without it."""
    lines: list[str] = []
    report = run(Scenario(3, (1, 1, 1, 1, 1), ((2, name),), epoch_blocks=4, chaos_ms=6000), trace=lines.append)
    assert (report.punished, report.members) == (1, 4)
    assert report.height > 8


def test_equal_seeds_are_equal_runs_in_any_process() -> None:
    """Another hash seed for Python's sets and dicts must not matter."""
    audits = set()
    for hash_seed in ("1", "2"):
        env = {**os.environ, "PYTHONHASHSEED": hash_seed}
        argv = [sys.executable, "-m", "tests.sim", "--seeds", "12", "--first", "500", "--jobs", "1", "--audit"]
        done = subprocess.run(argv, cwd=ROOT, env=env, capture_output=True, text=True, timeout=300, check=True)
        audits.add(tuple(line for line in done.stdout.splitlines() if " audit " in line))
    assert len(audits) == 1
    assert len(next(iter(audits))) == 12


def test_with_a_third_or_more_faulty_safety_breaks_and_the_guilty_are_named() -> None:
    """The set-up that must fail: were there never a disagreement, the simulator could not see one."""
    disagreed = 0
    for seed in range(40):
        found = attempt(draw(seed, too_many=True))
        assert isinstance(found, Report), f"seed {seed}: {found}"
        disagreed += found.disagreed
    assert disagreed > 0


def test_a_failure_shrinks_to_what_it_needs(monkeypatch: pytest.MonkeyPatch) -> None:
    """A planted fault that needs nothing but the equivocator: everything else is left out."""
    def faulty(scenario: Scenario) -> str:
        return "planted" if any(name == "equivocator" for _, name in scenario.villains) else ""

    monkeypatch.setattr("tests.sim.__main__.attempt", lambda s: faulty(s) or Report(0, "", 0, 0, 0, 0, 0, False))
    full = replace(draw(7), villains=((9, "stale_replayer"), (11, "equivocator")), loss=0.3, crashes=4)
    small = shrink(full)
    assert small.villains == ((11, "equivocator"),)
    assert (small.loss, small.crashes, small.partitions, small.changes) == (0, 0, 0, ())


def test_crash_points() -> None:
    """Every fourth durable write of twenty heights with round changes; `python -m tests.sim.crash` takes every one."""
    tried, worst, wrong = crash.points(crash.HEIGHTS, 4, 2)
    assert not wrong, "\n".join(wrong)
    assert tried >= 45
    assert worst >= 1, "without a round change this proves little"


def test_twins() -> None:
    for case in range(40):
        assert isinstance(twins.play(case), Report)


def test_what_passes_once_per_content_reaches_everybody_through_lossy_links(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody hears everybody, up to three of ten messages are lost for good. Where nothing is passed on, it does
    not go on."""
    def all_cases() -> list[Report]:
        return [mesh.play(case) for case in range(12)]

    assert max(report.worst_round for report in all_cases()) < 10

    def keep_it(node: mesh.Node, source: int, topic: str, data: bytes) -> Outcome:
        hears(node, source, topic, data)
        return Outcome.IGNORE

    hears = mesh.Node.hears
    monkeypatch.setattr(mesh.Node, "hears", keep_it)
    monkeypatch.setattr(mesh, "QUIET_MS", 20_000)
    with pytest.raises(Violation):
        all_cases()


def test_a_log_cut_at_any_byte_is_refused_and_never_repaired(tmp_path: Path) -> None:
    """The store of a peer that has signed, shortened from its end to nothing."""
    crash.leave_store(tmp_path)
    file = tmp_path / "data" / "data.mdb"
    whole = Chain.open(tmp_path, genesis_of(crash.SCENARIO))
    height, last, size = whole.height(), whole.guard.load(), file.stat().st_size
    whole.close()
    assert last is not None
    codes = set()
    for left in range(size, -1, -1):
        os.truncate(file, left)
        try:
            found = Chain.open(tmp_path, genesis_of(crash.SCENARIO))
        except StorageError as error:
            codes.add(error.code)
            continue
        assert (found.height(), found.guard.load()) == (height, last), "opened, so it must be whole"
        found.close()
    os.truncate(file, 0)
    with pytest.raises(StorageError, match="this key has signed"):
        Chain.open(tmp_path, genesis_of(crash.SCENARIO))
    assert "truncated" in codes


def test_a_store_without_its_guard_is_refused(tmp_path: Path) -> None:
    crash.leave_store(tmp_path)
    for file in (tmp_path / "data").iterdir():
        file.unlink()
    with pytest.raises(StorageError, match="could sign twice"):
        Chain.open(tmp_path, genesis_of(crash.SCENARIO))
    Chain.open(tmp_path, genesis_of(crash.SCENARIO), allow_missing_guard=True).close()
    Store(tmp_path / "data").close()

"""The measuring itself: the plan's names are real, results survive the disk, goals are read off curves.

Once, small, on the real model.
"""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from p2p.lab import attacks
from p2p.lab.measure import plan
from p2p.lab.measure.__main__ import SMALL_PROMPTS, SMALL_TOKENS, small
from p2p.lab.measure.epoch import play
from p2p.lab.measure.evaluate import LENGTHS, Curve, Evaluation
from p2p.lab.measure.facts import Evidence
from p2p.lab.measure.goals import GOALS, judged
from p2p.lab.measure.report import markdown
from p2p.lab.measure.store import Answer, Measured
from p2p.verification import profile, prompts
from p2p.verification.calibration import Facts
from p2p.verification.engine import TokenStep
from p2p.verification.statistics import CHOSEN, COLUMNS


def test_every_run_names_a_real_attack_and_names_are_unique() -> None:
    names = [run.name for run in plan.RUNS]
    assert len(set(names)) == len(names)
    for run in plan.RUNS:
        assert not run.attack or attacks.get(run.attack).name == run.attack
    for name in (*plan.EXACT, *plan.LAUNDERED, *plan.FITTED):
        assert attacks.get(name)
    for name in plan.LAUNDERED:
        if name != "altered_system_prompt":
            assert attacks.get(f"laundered_{name}")


def test_a_row_exists_on_the_other_stack_too() -> None:
    other = plan.by_name("int6_torch")
    assert (other.stack, other.attack) == (plan.TORCH, "int6")
    runs = plan.calibration((plan.VLLM, plan.TORCH))
    assert len({r.name for r in runs}) == len(runs)
    assert {r.stack for r in runs} == {plan.VLLM, plan.TORCH}


def test_seeds_differ_by_prompt_and_salt() -> None:
    shipped = prompts.load()
    assert len(
        {run.seed(p) for run in (plan.by_name("honest_b16"), plan.by_name("honest_b4")) for p in shipped}
    ) == 2 * len(shipped)


def test_results_survive_the_disk_and_halves_do_not_exist(tmp_path: Path) -> None:
    measured = Measured(tmp_path)
    answers = [
        Answer("chat-1", "ab", (1, 2), (TokenStep(5, "", -0.25, ((5, -0.25), (6, -2.0))),)),
        Answer("chat-2", "cd", (1,), ()),
    ]
    measured.put_answers("run", answers)
    assert measured.answers("run") == answers
    assert measured.names() == ["run"]
    measured.put_rows("run", "stack", [({5: -0.3, 6: -1.75},), ()])
    assert measured.rows("run", "stack") == [[{5: pytest.approx(-0.3), 6: -1.75}], []]
    assert not measured.has_rows("run", "other")
    measured.note("tables", "a", [1])
    measured.note("tables", "b", 2)
    assert measured.noted("tables") == {"a": [1], "b": 2}
    assert not list(tmp_path.rglob("*.tmp*"))


def test_a_goal_is_met_only_where_the_curve_says_so() -> None:
    goal = next(g for g in GOALS if g.case == "int4")
    for rate, met in ((1.0, True), (0.99, False)):
        flat = tuple([rate] * len(LENGTHS))
        row = judged([goal], [Curve("int4", goal.executor, goal.validator, 10, 1, flat, flat, flat)])[0]
        assert row["met"] is met
    assert judged([goal], [])[0]["ours"] == "not measured"
    rising = tuple(float(n >= 64) for n in LENGTHS)
    assert Curve("x", "a", "b", 1, 1, rising, rising, rising).needed(0.9) == 64


def test_an_epoch_convicts_a_constant_cheat_and_not_an_honest_host() -> None:
    rng = np.random.default_rng(5)
    honest = [int(x) for x in rng.normal(-800, 600, 300)]
    cheating = [5000] * 10
    assert not play(honest, [], 0.0, epochs=50, length=300, seed=1).convicted_at
    assert len(play(honest, cheating, 1.0, epochs=20, length=50, seed=1).convicted_at) == 20
    tenth = play(honest, cheating, 0.1, epochs=20, length=1000, seed=1)
    assert len(tenth.convicted_at) == 20
    assert np.median(tenth.convicted_at) > 10


def test_the_shipped_profile_is_of_the_shipped_model() -> None:
    found = profile.shipped("SmolLM2-135M-Instruct")
    assert found is not None
    for pair, noise in found.pairs.items():
        assert set(noise.thresholds) >= {1000}
        assert len(noise.tables) >= 10, pair
    assert profile.shipped("nobody/../else") is None


def test_a_run_without_any_calibration_prompt_is_no_regime() -> None:
    """With few prompts a run that takes every fourth one may have none of the calibration half: `calibrate --prompts 8`
    met it.
    """

    class Evidence:
        def has(self, case: str, validator: str) -> bool:
            return case in ("honest_b16", "honest_b1")

        def facts(self, case: str, validator: str) -> tuple[tuple[str, ...], Facts]:
            return (("chat-1",) if case == "honest_b16" else ("chat-2",)), Facts(np.zeros((3, len(COLUMNS))), (3,))

    evaluation = Evaluation(Evidence(), frozenset({"chat-1"}), frozenset({"chat-2"}))  # type: ignore[arg-type]
    assert set(evaluation.regimes(plan.VLLM, plan.VLLM, evaluation.calibration)) == {"honest_b16"}


def test_a_table_that_was_not_measured_is_left_out_of_the_report() -> None:
    found = {"about": "x", "goals": judged(GOALS, []), "tables": {"empty": [], "full": [{"a": 1}]}}
    text = markdown(found, [])
    assert "## full" in text
    assert "## empty" not in text
    assert "not measured" in text


@pytest.mark.engine
def test_small_run_on_the_real_model(tmp_path: Path) -> None:
    """Collect, fit, judge and write, with int4 weights really run: a check of the whole way, not a result."""
    argv = [sys.executable, "-m", "p2p.lab.measure", "--small", "--threads", "1", "--dir", str(tmp_path)]
    for only in ("--skip-judging", "--skip-collect"):  # the second process knows only what the first one wrote
        done = subprocess.run([*argv, only], capture_output=True, text=True, timeout=900, check=False)
        assert done.returncode == 0, done.stderr[-2000:]
    found = json.loads((tmp_path / "report" / "results.json").read_text())
    rates = {curve["case"]: curve["rates"][LENGTHS.index(16)] for curve in found["curves"]}
    assert rates["int4_torch"] > 0.9
    assert rates["laundered_int4_torch"] > 0.8
    # a few answers calibrate no tail, so false alarms are far above the wanted rate: only that the two are far apart
    # can be asked for
    assert rates["int4_torch"] - rates["honest_torch_b16"] > 0.5


def test_the_small_run_asks_short_answers_to_prompts_of_both_halves() -> None:
    asked = small(prompts.load())
    assert len(asked) == SMALL_PROMPTS
    assert max(prompt.max_tokens for prompt in asked) <= SMALL_TOKENS
    assert all(len(half) >= 4 for half in prompts.split(asked))


def test_exact_contexts_end_before_the_first_that_is_not() -> None:
    """One answer differs from row 30 on (context 130): what was seen exact below that is the limit. Held-out answers
    are looked at too."""
    class Known(Evidence):
        def __init__(self) -> None:
            self.exact_context = None
            facts = Facts(values, (50, 50, 50, 50))
            self._facts = lambda case, validator: (("a", "b", "c", "d"), facts)  # type: ignore[assignment]

        def has(self, case: str, validator: str) -> bool:
            return case == "honest_b16"

        def is_generated(self, case: str) -> bool:
            return case == "honest_b16"

        def _contexts(self, case: str) -> dict[str, int]:
            return {"a": 90, "b": 120, "c": 150, "d": 140}

    values = np.zeros((200, len(COLUMNS)))
    values[130:150, CHOSEN] = 0.1  # of c, whose prompt has 100 tokens
    values[195:, CHOSEN] = 0.1  # of d, whose prompt has 90 tokens
    evidence = Known()
    assert evidence.find_exact_context() == 120
    values[170:, CHOSEN] = 0.1
    assert evidence.find_exact_context() == 90, "d differs from context 110 on, whatever half its prompt is of"
    evidence.exact_context = 120
    assert evidence.facts("honest_b16", plan.VLLM)[0] == ("a", "b")
    assert evidence.longer("honest_b16", plan.VLLM)[0] == ("c", "d")
    assert evidence.longer("honest_b16", plan.VLLM)[1].lengths == (50, 50)
    assert evidence.facts("honest_b16", plan.TORCH)[0] == ("a", "b", "c", "d"), "other kernels are never exact"


def test_joined_prompts_are_made_of_calibration_prompts_alone() -> None:
    shipped = prompts.load()
    heldout = "\n".join(p.text for p in prompts.split(shipped)[1])
    found = plan.joined(shipped)
    assert found == plan.joined(shipped)
    assert len({p.id for p in found}) == len(found) == plan.JOINED
    assert not {p.id for p in found} & {p.id for p in shipped}
    assert all(line not in heldout for p in found for line in p.text.split("\n")[1:2] if len(line) > 40)

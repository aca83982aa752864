"""The exact tests are carried out only when something counts against a node. A comparison without an outlier, or
records that agree, are no reason to test: each test costs some of the error that is allowed."""

from __future__ import annotations

import pytest
from msgspec.structs import replace

from p2p.ledger.conduct import executor_conduct, validator_conduct
from p2p.ledger.state.records import Partner
from tests.ledger.conduct.test_blame import staked


@pytest.mark.parametrize("outlier", [False, True])
def test_an_outlier_is_tested_at_once_and_others_are_not(outlier: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    lab, asked = staked(), list[int]()
    monkeypatch.setattr(validator_conduct, "convicts", lambda count, *_: asked.append(count))
    node = lab.nodes[2]
    lab.view.put_conduct(node, replace(lab.view.conduct(node), compared=1000, outliers=9))
    validator_conduct.count_outliers(lab.ctx, [node, lab.nodes[3]], frozenset([node] if outlier else []))
    assert asked == ([10] if outlier else [])
    assert lab.view.conduct(node).compared == 1001


@pytest.mark.parametrize("differ", [False, True])
def test_a_pair_of_records_is_tested_only_where_it_differs(differ: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    lab, asked = staked(), list[int]()
    signed = lab.start()
    executor = lab.finish(signed.inference_id)
    lab.view.put_conduct(
        executor, replace(lab.view.conduct(executor), paired=1000, partners=(Partner(lab.nodes[9], 1),))
    )
    monkeypatch.setattr(executor_conduct, "most_of_one_partner", lambda *_: 4)
    monkeypatch.setattr(executor_conduct, "convicts", lambda count, *_: asked.append(count))
    executor_conduct.count_pair(lab.ctx, lab.inference(signed.inference_id), differ=differ)
    assert sorted(asked) == ([1, 2] if differ else [])
    assert lab.view.conduct(executor).paired == 1001

"""Any value in any field of any query gives an answer, or a typed error that names the field. On a real chain; the
owner's queries and the public ones."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from msgspec import to_builtins

from p2p.base.codec import decode, encode
from p2p.base.errors import FolkmootError, InvalidRequest, Unavailable
from p2p.base.genesis import load_genesis
from p2p.chain.account_transactions import AccountTransactions
from p2p.chain.chain import Chain
from p2p.chain.queries import PUBLIC_OPS, Queries
from p2p.gossip.connections.status import Ban, BudgetRow, Links, ReachStatus, TroubleRow
from p2p.machine.status import FailedPart
from testnet.generate import Plan, generate
from tests.wire.statuses import owner_status

TROUBLE = TroubleRow("peer", "refused", "message", 7, by_them=True)
FIELDS = ("account", "since", "epoch", "node", "start", "id", "height", "kind", "model", "x")
EDGES = [
    0, -1, 1, 2**31 - 1, 2**31, 2**32 - 1, 2**32, 2**53, 2**63 - 1, 2**63, 2**64 - 1, 2**64, 2**70, -(2**63), 10**400
]
VALUES = st.one_of(
    st.sampled_from(EDGES), st.integers(), st.none(), st.booleans(), st.floats(), st.text(), st.binary(),
    st.just("ab" * 32), st.just("ab" * 5_000),
    st.sampled_from(["account", "inference", "participant", "toy", "SmolLM2-135M-Instruct", "\ud800", "\x1b[2J"]),
    st.lists(st.integers(), max_size=3), st.dictionaries(st.text(max_size=3), st.integers(), max_size=3),
)


SECRET: dict[str, Any] = {
    "ml_node": "/home/somebody/model", "said": "words", "alone": "why", "twin": "another",
    "failures": (FailedPart("records", 1, "KeyError", runs=True),), "budgets": {"streams": BudgetRow(used=1)},
    "banned": (Ban("peer", 7, "garbage"),), "refused_by": (TROUBLE,), "troubles": (TROUBLE,), "ended": {"lost": 1},
    "links": Links(*[1] * 12, strain=1.0), "gossip": {"delivered": 1},
    "reach": ReachStatus("reachable", "why", 3, 1, (), "why", 1, True, 1, 1, 1, 1, {"places": 1}),
}
TOLD = (  # a stranger: a new field is named here too, or it is the owner's alone
    "peer_id", "node", "network", "state", "addresses", "connections", "base", "height", "registered", "app_hash",
    "last_time_ms", "jobs", "sprint", "consensus",
)


@pytest.fixture(scope="module")
def asked(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Queries]:
    folder: Path = generate(Plan(tmp_path_factory.mktemp("net"), 1))[0]
    chain = Chain.open(folder, load_genesis(folder / "genesis.cbor"))
    yield Queries(chain, lambda: owner_status(**SECRET), tuple, AccountTransactions(chain).fate)
    chain.close()


@settings(max_examples=400, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_every_query_answers_or_says_which_field_is_wrong(asked: Queries, data: st.DataObject) -> None:
    op = data.draw(st.sampled_from(sorted(asked._ops)))
    request = {"op": op, **data.draw(st.dictionaries(st.sampled_from(FIELDS), VALUES, max_size=5))}
    answer, refused = None, FolkmootError("", field="none")
    try:
        answer = asked.answer_public(request) if op in PUBLIC_OPS else asked.answer(request)
    except FolkmootError as error:
        refused = error
    assert refused.code != "internal", "a fault in the code, not a refusal"
    assert refused.field
    assert answer is None or decode(encode(answer)) == json.loads(json.dumps(answer)), "the answer can be encoded"


@given(request=VALUES | st.dictionaries(st.text(max_size=4), VALUES, max_size=3))
@settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_what_is_no_query_is_refused(asked: Queries, request: Any) -> None:
    with pytest.raises(InvalidRequest):
        asked.answer_public(request)


@pytest.mark.parametrize("height", [2**64, 2**63, 2**32, 0, -1, True, 1.5, "1", None])
@pytest.mark.parametrize("op", ["block", "light"])
def test_a_height_that_no_chain_has_is_refused(asked: Queries, op: str, height: object) -> None:
    with pytest.raises(InvalidRequest) as caught:
        asked.answer({"op": op, "height": height})
    assert caught.value.field == "height"


def test_a_fault_in_a_query_is_an_answer(asked: Queries, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(request: object) -> dict[str, Any]:
        raise KeyError("a name of ours")

    monkeypatch.setitem(asked._ops, "prices", broken)
    with pytest.raises(Unavailable) as caught:
        asked.answer({"op": "prices"})
    assert caught.value.code == "internal"
    assert "a name of ours" not in str(caught.value)


def test_a_stranger_is_told_of_the_status_what_is_everybody_s_and_nothing_that_was_added_since(asked: Queries) -> None:
    """Paths, what an ML node says, texts of errors, whom it banned: the owner's affairs, and so is whatever nobody
    has thought about."""
    whole = asked.answer({"op": "status"})
    assert whole == to_builtins(owner_status(**SECRET))
    assert set(SECRET) == whole.keys() - set(TOLD), "each has a value here, so that it would be seen"
    public = asked.answer_public({"op": "status"})
    assert tuple(public) == TOLD
    assert public == {name: whole[name] for name in TOLD}

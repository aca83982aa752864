"""Hosts that can only dial out, behind routers that drop what nobody within asked for (network namespaces, nftables).

They learn it by dial-back, are reached through relays, vote, serve, check, and are paid. A relay that dies is replaced.
The ML node is the named fake; needs root, and says so where it is missing.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from p2p.base.genesis import CheckRules, SprintRules
from p2p.base.types import STANDS
from p2p.gossip.relays.reachability import Verdict
from p2p.peer.config import DEFAULT_MODEL
from p2p.peer.control import call
from testnet.fabric.fabric import missing
from tests.nat_lab import LISTEN, NatNet, machines
from tests.net_lab import until

pytestmark = [pytest.mark.network, pytest.mark.skipif(bool(missing()), reason=missing() or "-")]
EPOCH = 64
SPRINT = SprintRules(blocks=10, open_blocks=8, samples=2, max_tokens=8, unit_tokens=5)
GIFT = 400_000_000
PUBLIC, HIDDEN, NEWCOMER = (0, 1), (2, 3), 4  # numbers of peers
PATIENCE_S = 900


@pytest.fixture(scope="module")
def net(tmp_path_factory: pytest.TempPathFactory) -> Iterator[NatNet]:
    with machines(public=1 + len(PUBLIC), natted=len(HIDDEN) + 2) as made_here:
        made = NatNet(
            tmp_path_factory.mktemp("nat"), made_here, len(HIDDEN), {"empty_block_interval_ms": 500},
            validation_window=8, epoch_blocks=EPOCH, sprint=SPRINT,
            checks=CheckRules(reveal_window=5, appeal_window=0),
        )
        try:
            yield made
        finally:
            made.close()


def participant(net: NatNet, number: int) -> dict[str, Any]:
    rows = call(net.folders[0], {"op": "verification"})["participants"]
    return next((dict(row) for row in rows if row["node"] == net.node(number)), {})


def grows(net: NatNet, without: int | None = None, by: int = 3) -> None:
    """Blocks are decided. without: a peer that is gone."""
    running = [number for number in range(len(net.folders)) if number != without]
    top = max(net.height(number) for number in running)
    until(lambda: min(net.height(number) for number in running) >= top + by, PATIENCE_S)


def test_each_learns_whether_others_can_dial_it_and_the_hidden_ones_find_relays(net: NatNet) -> None:
    for number in PUBLIC:
        found = until(lambda n=number: (r := net.reach(n))["verdict"] == Verdict.OPEN and r, PATIENCE_S)
        assert found["relaying"]
        assert found["places"] == []
        assert net.where[number].address in net.address(number)
    for number in HIDDEN:
        found = until(lambda n=number: len((r := net.reach(n))["places"]) == 2 and r, PATIENCE_S)
        assert found["verdict"] == Verdict.CLOSED
        assert net.where[number].seen_as in found["reason"], "it says which address was tried"
        assert "drops" in found["reason"]
        assert not found["relaying"]
        assert found["clock_ms"] is not None
        assert "/p2p-circuit/" in net.address(number), "what it names first is dialled through a relay"
        assert net.where[number].seen_as not in str(net.status(number)["addresses"])


def test_the_doctor_says_what_is_closed_and_what_leads_there(net: NatNet) -> None:
    for number, states in ((PUBLIC[0], ("ok", "skipped")), (HIDDEN[0], ("note", "ok"))):
        found = net.folkmoot(net.where[number], "doctor", "--dir", str(net.folders[number]))
        checks = {one["name"]: one for one in found["checks"]}
        assert found["running"]
        assert found["ok"], found
        assert (checks["reachable"]["state"], checks["relay"]["state"]) == states
        assert checks["clock"]["state"] == "ok"
    fresh = net.directory / "fresh"
    net.folkmoot(net.spare[0], "init", str(fresh), "--network", "testnet", "--listen", LISTEN)
    (fresh / "genesis.cbor").write_bytes((net.folders[0] / "genesis.cbor").read_bytes())
    found = net.folkmoot(net.spare[0], "doctor", "--dir", str(fresh), "--bootstrap", net.bootstrap)
    checks = {one["name"]: one for one in found["checks"]}
    assert not found["running"]
    assert checks["reachable"]["state"] == "note", "it is tried in the place of a peer that does not run"
    assert net.spare[0].seen_as in checks["reachable"]["text"]
    assert checks["relay"]["state"] == checks["clock"]["state"] == checks["bootstrap"]["state"] == "ok"


def test_two_hidden_validators_exchange_votes_through_a_relay(net: NatNet) -> None:
    """Before, they never met: neither could dial the other."""
    one, two = HIDDEN
    until(lambda: net.peer_id(two) in net.connected(one) and net.peer_id(one) in net.connected(two), PATIENCE_S)
    until(lambda: all(net.status(n)["links"]["partners_missing"] == 0 for n in range(len(net.folders))), PATIENCE_S)
    others = len(net.folders) - 1
    until(lambda: all(net.status(n)["consensus"]["vote_streams"] >= others for n in HIDDEN), PATIENCE_S)
    assert all(net.reach(number)["relayed"] >= 1 for number in HIDDEN)
    grows(net)


def test_a_hidden_newcomer_joins_is_found_serves_checks_and_is_paid(net: NatNet) -> None:
    host, client = net.spare
    made = net.newcomer(host)
    until(lambda: len(net.reach(NEWCOMER)["places"]) == 2, PATIENCE_S)
    until(lambda: net.height(NEWCOMER) >= net.height(0) - 2, PATIENCE_S)
    purse, own = str(net.directory / "client"), net.address(NEWCOMER)
    assert "/p2p-circuit/p2p/" in own
    gift = ("account", "transfer", made["account"], str(GIFT))
    paid = net.folkmoot(client, *gift, "--peer", net.address(0), "--dir", purse)
    assert paid["state"] == "done"
    place = ("account", "register", "--model", DEFAULT_MODEL)
    taken = net.folkmoot(host, *place, "--peer", net.address(1), "--dir", str(net.folders[NEWCOMER]))
    assert (taken["kind"], taken["state"]) == ("register", "done"), taken
    until(lambda: participant(net, NEWCOMER).get("weight"), PATIENCE_S)

    served = net.ask_first(client, NEWCOMER, net.address(0))
    assert (served["executor"], served["problems"]) == (made["node"], [])
    found = net.final(served["id"])
    assert found["status"] in STANDS, found
    epochs = range(net.height(0) // EPOCH + 1)
    asked = {"op": "earnings", "node": made["node"], "start": 0}
    earned = [call(net.folders[0], {**asked, "epoch": epoch}) for epoch in epochs]
    assert sum(int(one["own"]["fees_micro"]) for one in earned) > 0, "its first answer is booked"

    through = net.ask_first(client, HIDDEN[0], net.address(NEWCOMER))
    assert through["problems"] == [], "a client reaches it by its relay, and by that another hidden host"
    assert through["executor"] == net.node(HIDDEN[0])

    def checks() -> bool:
        """Each of them checks too. Nobody checks its own answers, so two of them answer."""
        for number in (HIDDEN[0], NEWCOMER):
            net.ask_first(client, number, net.address(0))
        return all(participant(net, number)["duties"] for number in (NEWCOMER, *HIDDEN))

    until(checks, PATIENCE_S)


def test_a_relay_that_dies_is_replaced(net: NatNet) -> None:
    """After the tests above: a public peer goes which a hidden one has as relay. One at least has, of two out of the
    seed and two peers."""
    hidden = (*HIDDEN, NEWCOMER)
    places = str(net.reach(HIDDEN[0])["places"])
    gone, dead = next((number, net.peer_id(number)) for number in PUBLIC if net.peer_id(number) in places)
    net.stop_peer(net.folders[gone].name)
    for number in hidden:
        until(lambda n=number: len(p := net.reach(n)["places"]) == 2 and dead not in str(p), PATIENCE_S)  # type: ignore[misc]
    ids = {number: net.peer_id(number) for number in hidden}
    for number in hidden:
        others = {ids[other] for other in hidden if other != number}
        try:
            until(lambda n=number, o=others: o <= net.connected(n), PATIENCE_S)  # type: ignore[misc]
        except AssertionError as error:
            facts = {n: (ids[n], net.reach(n), net.connected(n), net.status(n)["links"]) for n in hidden}
            raise AssertionError(f"peer {number} does not meet the others: {facts}") from error
    grows(net, gone)
    for folder in net.folders:
        for log in (folder / "log").glob("*.log"):
            assert "banned" not in log.read_text(errors="replace"), f"{log} speaks of a ban"

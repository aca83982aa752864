"""The domain of every signature: the network's name and the hash of its genesis file (decision 036)."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec
import pytest
from msgspec.structs import replace

from p2p.base.codec import unpack
from p2p.base.errors import ConfigError, InvalidRequest, RemoteProtocolError
from p2p.base.genesis import (
    HASH_DIGITS,
    CheckRules,
    EconomyRules,
    Genesis,
    GenesisAccount,
    GenesisChange,
    GenesisPeer,
    ModelSpec,
    SprintRules,
)
from p2p.base.keys import Key, digest
from p2p.base.serving_limits import MAX_NETWORK_NAME
from p2p.base.types import VERSION, NetworkField
from p2p.consensus.evidence import check_evidence, evidence_of_votes
from p2p.consensus.messages import Vote, VoteType, sign_vote
from p2p.consensus.validators import ValidatorSet
from p2p.gossip.connections.topics import topic_name
from p2p.gossip.discovery.handshake import pack_hello, parse_opening
from p2p.ledger.apply_operation import carry_out
from p2p.ledger.genesis import check_genesis, first_state
from p2p.ledger.rules.context import Context
from p2p.ledger.rules.ops import Transfer, sign_op
from p2p.ledger.state.view import View
from p2p.peer.config import check_network, load_config, make_config
from p2p.peer.node import Node
from testnet.generate import Plan, generate
from tests.golden.samples import kinds

KEYS = [Key(digest(b"network id", bytes([at]))) for at in range(4)]
CLIENT = Key(digest(b"network id", b"client"))
OLD = Genesis(
    VERSION, "fair", 1000, tuple(GenesisPeer(key.public, key.public, 10, ("toy",)) for key in KEYS),
    (GenesisAccount(CLIENT.public, 10_000),),
    (ModelSpec("toy", bytes(32), bytes(32), "x", 1, 1, 2048),),
)
NEW = replace(OLD, time_ms=2000)  # begun again under its old name
CHANGED: dict[str, Any] = {
    "version": VERSION + 1, "name": "fairer", "time_ms": 1001, "peers": OLD.peers[:3], "accounts": (), "models": (),
    "committee": 4, "validation_delay": 2, "validation_window": 61, "epoch_blocks": 201,
    "changes": (GenesisChange(1, KEYS[0].public, 1),), "checks": CheckRules(plant_every=21),
    "economy": EconomyRules(keep_epochs=3), "sprint": SprintRules(blocks=1),
}


def test_every_field_of_the_genesis_file_makes_another_network() -> None:
    assert set(CHANGED) == {field.name for field in msgspec.structs.fields(Genesis)}, "a field came or went"
    ids = {replace(OLD, **{name: value}).network for name, value in CHANGED.items()}
    assert len(ids | {OLD.network}) == len(CHANGED) + 1
    assert OLD.network == f"fair@{OLD.hash.hex()[:HASH_DIGITS]}"
    assert replace(OLD).network == OLD.network, "and nothing else does"


def test_an_order_of_the_network_before_is_not_paid_again() -> None:
    """When a network starts again, its nonces do too: only the domain of signatures tells the two apart."""
    view = View(lambda key: None)
    first_state(view, NEW, bytes(32))
    order = Transfer(KEYS[0].public, 7)
    carry_out(Context(view, NEW, 1), sign_op(CLIENT, NEW.network, 1, order))
    old = sign_op(CLIENT, OLD.network, 1, order)
    for signed, field in ((old, "network"), (replace(old, op=replace(old.op, network=NEW.network)), "signature")):
        with pytest.raises(InvalidRequest) as caught:
            carry_out(Context(view, NEW, 1), signed)
        assert caught.value.field == field


def test_votes_on_both_sides_of_a_restart_convict_nobody() -> None:
    """Height 1 comes twice, and an honest validator votes for another block each time."""
    members = ValidatorSet.of([(key.public, 10) for key in KEYS])

    def vote(genesis: Genesis, block_id: bytes) -> Any:
        return sign_vote(KEYS[0], Vote(genesis.network, VoteType.PRECOMMIT, 1, 0, block_id, -1, KEYS[0].public))

    pair = vote(OLD, b"a" * 32), vote(NEW, b"b" * 32)
    for genesis in (OLD, NEW):
        assert check_evidence(evidence_of_votes(pair), genesis.network, members, 1) is None
    twice = vote(NEW, b"a" * 32), vote(NEW, b"b" * 32)
    assert check_evidence(evidence_of_votes(twice), NEW.network, members, 1) == KEYS[0].public


def test_peers_of_the_two_do_not_meet() -> None:
    with pytest.raises(RemoteProtocolError) as caught:
        parse_opening(pack_hello(OLD.network, ()), NEW.network)
    assert caught.value.code == "other_genesis", "the name is the same"
    assert topic_name(OLD.network, "votes") != topic_name(NEW.network, "votes")


def test_what_names_a_network_names_its_id() -> None:
    """Wire messages that say for which network they are: their field is a NetworkId, which only a genesis file
    makes."""
    naming = {name: kind for name, kind in kinds().items() if "network" in kind.__struct_fields__}
    assert len(naming) >= 6
    for name, kind in naming.items():
        assert msgspec.inspect._get_class_annotations(kind)["network"] == NetworkField, name


@pytest.mark.parametrize("name", ["", "with blank", "a" * (MAX_NETWORK_NAME + 1), "\U0001f525", "a@b", "-a"])
def test_a_name_that_no_topic_can_have_is_refused(name: str, tmp_path: Path) -> None:
    with pytest.raises(ConfigError) as caught:
        check_genesis(replace(OLD, name=name))
    assert caught.value.field == "name"
    if name and name != "a@b":  # none at all: the genesis file says it; with a hash: an id
        with pytest.raises(ConfigError) as caught:
            make_config(tmp_path, {"network": name})
        assert caught.value.field == "network"


def test_the_longest_name_makes_an_id_that_topics_and_messages_take() -> None:
    found = replace(OLD, name="a" * MAX_NETWORK_NAME).network
    assert topic_name(found, "votes")
    parse_opening(pack_hello(found, ()), found)


def test_a_configuration_for_another_network_than_its_genesis_file_is_refused(tmp_path: Path) -> None:
    folder = generate(Plan(tmp_path / "net", 1, serving=False))[0]
    for said in ("", OLD.name, OLD.network):
        check_network(make_config(folder, {"network": said} if said else {}), OLD)
    for other in ("unfair", NEW.network, f"fair@{'0' * HASH_DIGITS}"):
        with pytest.raises(ConfigError) as caught:
            check_network(make_config(folder, {"network": other}), OLD)
        assert caught.value.field == "network"
        assert all(part in caught.value.message for part in (other, OLD.network, "config.toml", "genesis.cbor"))


def test_a_peer_needs_no_name_in_its_configuration(tmp_path: Path) -> None:
    """Before: without a name in its configuration a peer kept joining for ever."""
    folder = generate(Plan(tmp_path / "net", 1, serving=False))[0]
    lines = (folder / "config.toml").read_text().splitlines()
    (folder / "config.toml").write_text("\n".join(line for line in lines if not line.startswith("network")))
    genesis = unpack(Genesis, (folder / "genesis.cbor").read_bytes())
    node = Node(load_config(folder), genesis, lambda state, text: None)
    try:
        assert node.config.network == ""
        assert (node.network_config().network, node.status().network) == (genesis.network, genesis.network)
    finally:
        node.chain.close()
    (folder / "config.toml").write_text('network = "unfair"')
    with pytest.raises(ConfigError, match="unfair"):
        Node(load_config(folder), genesis, lambda state, text: None)

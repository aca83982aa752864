"""What a client accepts as the set that its draw was made from: only the serving set of the draw's height, by
certificates and proofs, whatever the agent claims. The beacon is proved before the request is signed:
tests/client/test_tip_proof.py."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from msgspec.structs import replace

from p2p.base.codec import encode, unpack
from p2p.base.errors import InvalidRequest, RemoteProtocolError
from p2p.chain.chain import Chain
from p2p.chain.proofs.serving import ServingProof, open_serving, prove_serving
from p2p.client.draw_check import DrawCheck, Known
from p2p.client.tip_proof import QueryPeer
from p2p.ledger.participants.serving import ServingSet
from tests.chains import extend
from tests.consensus.test_light import BY_KEY, NOW, SCENARIO
from tests.sim.run import MODEL, genesis_of


@pytest.fixture(scope="module")
def chain(tmp_path_factory: pytest.TempPathFactory) -> Chain:
    """A chain whose genesis is long past, and whose validator set changes on the way."""
    made = Chain.open(tmp_path_factory.mktemp("chain"), genesis_of(SCENARIO))
    extend(made, 18, BY_KEY, lambda height: NOW + height * 1000)
    return made


def asks(chain: Chain, lie: str = "") -> QueryPeer:
    async def question(body: dict[str, Any]) -> dict[str, Any]:
        if body["op"] == "serving":
            return serving(chain, body, lie)
        found = chain.blocks.light_block(body["height"])
        if found is None or lie == "nothing":
            raise InvalidRequest("no such block", field="height")
        if lie == "app hash":
            found = replace(found, header=replace(found.header, app_hash=b"\x05" * 32))
        if lie == "another":
            found = chain.blocks.light_block(body["height"] - 1) or found
        light = "zz" if lie == "not hexadecimal" else 7 if lie == "a number" else encode(found).hex()
        return {"height": body["height"], "light": light} if lie != "no field" else {}

    return question


async def asked(chain: Chain, height: int, lie: str = "", model: str = MODEL) -> DrawCheck:
    drawn = DrawCheck(chain.genesis, model, height)
    await drawn.look(asks(chain, lie))
    await drawn.settle(asks(chain, lie))
    return drawn


def serving(chain: Chain, body: dict[str, Any], lie: str) -> dict[str, Any]:
    """An answer to the query `serving` from the state after the top height, and what a liar makes of it."""
    top = chain.height()
    proof = prove_serving(chain.state.prove, top, body["model"], body["height"])
    if lie == "set":
        nodes = unpack(ServingSet, proof.nodes).nodes
        proof = replace(proof, nodes=encode(ServingSet(nodes[1:])))
    if lie == "old state":
        proof = replace(proof, height=top - 1)
    return {"height": proof.height, "proof": encode(proof).hex() if lie != "no set" else ""}


@pytest.mark.parametrize("height", [0, 1, 7, 18])
async def test_the_set_of_a_height_is_found(chain: Chain, height: int) -> None:
    found = await asked(chain, height)
    assert found.known is Known.SAID, "the header with the hash of the newest state is not there yet"
    assert found.serving is not None
    assert found.serving.pairs() == chain.reader.serving_at(MODEL, height).pairs() != []


async def test_a_height_that_is_not_there(chain: Chain) -> None:
    found = await asked(chain, 2**62)
    assert (found.serving, found.known) == (None, Known.UNKNOWN)


@pytest.mark.parametrize("lie", ["set", "no set", "old state"])
async def test_a_set_that_is_not_in_the_state_is_none(chain: Chain, lie: str) -> None:
    found = await asked(chain, 7, lie)
    assert (found.serving, found.known) == (None, Known.UNKNOWN)
    assert (await asked(chain, 7, model="another")).serving is None


@pytest.mark.parametrize(("lie", "known"), [
    ("", Known.PROVED),
    *((lie, Known.SAID) for lie in ("nothing", "app hash", "another", "not hexadecimal", "a number", "no field")),
])
async def test_a_set_is_proved_by_the_header_after_its_state_and_by_nothing_else(
    tmp_path: Path, lie: str, known: Known
) -> None:
    chain = Chain.open(tmp_path, genesis_of(SCENARIO))
    extend(chain, 4, BY_KEY, lambda height: NOW + height * 1000)
    drawn = DrawCheck(chain.genesis, MODEL, 3)
    await drawn.look(asks(chain))
    extend(chain, 5, BY_KEY, lambda height: NOW + height * 1000)
    await drawn.settle(asks(chain, lie))
    assert drawn.known is known
    chain.close()


async def test_a_proof_of_another_height_or_model_is_refused(chain: Chain) -> None:
    proof = prove_serving(chain.state.prove, chain.height(), MODEL, 7)
    assert open_serving(proof, MODEL, 7)[1] == chain.app_hash()
    for model, height in (("another", 7), (MODEL, chain.height() + 1)):
        with pytest.raises(RemoteProtocolError):
            open_serving(proof, model, height)
    assert unpack(ServingProof, encode(proof)) == proof

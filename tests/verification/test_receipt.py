"""The height of a draw: the client believes its beacon behind certificates only, whatever the agent shows or does not show."""

from __future__ import annotations

from typing import Any

import pytest
from msgspec.structs import replace

from p2p import client
from p2p.chain import Chain
from p2p.chain_sync import light_block
from p2p.codec import encode
from p2p.errors import InvalidRequest
from tests.chains import extend
from tests.consensus.test_light import BY_KEY, NOW, SCENARIO
from tests.sim.run import genesis_of


@pytest.fixture(scope="module")
def chain(tmp_path_factory: pytest.TempPathFactory) -> Chain:
    """Long past, and the set of validators changes on the way."""
    made = Chain.open(tmp_path_factory.mktemp("chain"), genesis_of(SCENARIO))
    extend(made, 18, BY_KEY, lambda height: NOW + height * 1000)
    return made


async def asked(monkeypatch: pytest.MonkeyPatch, chain: Chain, height: int, lie: str = "") -> bytes:
    async def query(network: object, peer: str, body: dict[str, Any]) -> dict[str, Any]:
        found = light_block(chain, body["height"])
        if found is None or lie == "nothing":
            raise InvalidRequest("no such block", field="height")
        if lie == "beacon":
            found = replace(found, header=replace(found.header, beacon=b"\x05" * 32))
        if lie == "another":
            found = light_block(chain, body["height"] - 1) or found
        return {"light": "zz" if lie == "not hexadecimal" else 7 if lie == "a number" else encode(found).hex()} if lie != "no field" else {}

    monkeypatch.setattr(client, "query", query)
    return await client._draw_beacon(None, "peer", chain.genesis, height)  # type: ignore[arg-type]


@pytest.mark.parametrize("height", [0, 1, 7, 18])
async def test_the_beacon_of_a_height_is_found(monkeypatch: pytest.MonkeyPatch, chain: Chain, height: int) -> None:
    assert await asked(monkeypatch, chain, height) == chain.beacon_at(height)


@pytest.mark.parametrize("lie", ["nothing", "beacon", "another", "not hexadecimal", "a number", "no field"])
async def test_what_no_certificate_stands_behind_is_no_beacon(monkeypatch: pytest.MonkeyPatch, chain: Chain, lie: str) -> None:
    assert await asked(monkeypatch, chain, 7, lie) == b""


async def test_a_height_that_is_not_there_and_no_genesis(monkeypatch: pytest.MonkeyPatch, chain: Chain) -> None:
    assert await asked(monkeypatch, chain, 2**62) == b""
    assert await client._draw_beacon(None, "peer", None, 7) == b""  # type: ignore[arg-type]

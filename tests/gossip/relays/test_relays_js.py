"""js-libp2p and a relay of ours: it visits our hidden peer, and is visited behind our relay."""

from __future__ import annotations

import json

import pytest

from p2p.base.limits import CIRCUIT_BYTES, CIRCUIT_S
from p2p.base.types import VERSION
from tests.gossip.lab import peers, started
from tests.gossip.relays.test_relays_net import hidden, relay, visitor, ways
from tests.interop.node_js import PEER, program

pytestmark = pytest.mark.network
ECHO = "/folkmoot/echo/1"


def command() -> list[str]:
    return program(PEER, "relay.mjs")


async def test_it_dials_our_hidden_peer_and_sees_the_limits() -> None:
    node = command()
    async with peers(relay("relay")) as (way,), peers(hidden("hidden", way)) as (host,):
        address = (await ways(host))[0]
        async with started([*node, json.dumps({})]) as (theirs,):
            said = await theirs.tell("echo", address=address, data="c0ffee")
    assert (said["echoed"], said["peer"]) == ("c0ffee", host.id)
    assert CIRCUIT_S - 600 < said["seconds"] <= CIRCUIT_S, "what is left of it"
    assert CIRCUIT_BYTES - 10_000 < said["bytes"] < CIRCUIT_BYTES, "what is left after the handshake"


async def test_it_has_a_place_at_our_relay_and_we_dial_it_there() -> None:
    node = command()
    async with peers(relay("relay")) as (way,):
        words = {"relay": way.address, "network": "lab", "version": VERSION}
        async with started([*node, json.dumps(words)]) as (theirs,):
            await way.until(lambda state: state["status"]["reach"]["lodgers"] == 1)
            where = (await theirs.until(lambda state: state["way"]))["way"]
            assert where == f"{way.address}/p2p-circuit/p2p/{theirs.id}"
            async with visitor() as net:
                ours = net._discovery  # it answers no greeting, so connect() would fail
                await ours.dialler.connect(theirs.id, (where.rpartition("/p2p/")[0],))
                for said in (b"hello", b"hello again"):  # the second stream does not wait until it has agreed
                    stream = await ours.open_raw(theirs.id, ECHO)
                    await stream.send(said)
                    assert await stream.receive() == said
                    await stream.close()

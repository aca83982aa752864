"""Strangers in a live network of real peers: the TypeScript client, and a js-libp2p peer, both ways.

The peers' ML node is the named fake (tests/simulated_engine.py); everything else is real.
"""

from __future__ import annotations

import json
import signal
import subprocess
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import trio
from libp2p.host.ping import PingService
from libp2p.peer.id import ID
from msgspec.structs import replace

from p2p.base.codec import decode, encode, unpack
from p2p.base.errors import RemoteProtocolError
from p2p.base.genesis import GenesisAccount
from p2p.base.keys import Key, NetworkId
from p2p.base.types import RecordKind, SignedBatch, StartRecord
from p2p.gossip.connections.topics import topic_name
from p2p.gossip.host import NetworkConfig, open_network
from p2p.ledger.rules.ops import Transfer, sign_op
from p2p.ledger.transactions import pack_operation, read
from p2p.peer.control import call
from testnet.processes import start_peer, stop, wait_until
from tests import warm
from tests.gossip.lab import PATIENCE_S, Peer, started
from tests.interop.node_js import CLIENT, PEER, program
from tests.net_lab import Net, until

pytestmark = pytest.mark.network
PAYER, PAYEE = Key(b"\x31" * 32), Key(b"\x32" * 32)
STOOD = ("VALIDATED", "SETTLED", "UPHELD")


@pytest.fixture(scope="module")
def net(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Net]:
    program(PEER, "peer.ts")  # skips before anything is started
    made = Net(tmp_path_factory.mktemp("net"), window=6, accounts=(GenesisAccount(PAYER.public, 1_000_000),))
    yield made
    made.close()


# -- the TypeScript client ---------------------------------------------------------------------------------------------


def ask(net: Net, *extra: str, folder: Path | None = None) -> subprocess.CompletedProcess[str]:
    command = [
        *program(CLIENT, "ask.ts"), "--peer", net.address(0), "--dir", str(folder or net.directory / "client"), *extra,
    ]
    return warm.run(command, PATIENCE_S)


def events(net: Net, *extra: str) -> list[dict[str, Any]]:
    done = ask(net, "--json", *extra)
    assert done.returncode == 0, done.stderr
    return list(map(json.loads, done.stdout.splitlines()))


def test_the_typescript_client_gets_an_answer_and_checks_its_receipt(net: Net) -> None:
    told = events(net, "--max-tokens", "20", "hello")
    receipt = told[-1]["receipt"]
    assert (receipt["checked"], receipt["problems"], receipt["output_tokens"]) == (True, [], 20)
    assert [one["event"] for one in told[:2]] == ["accepted", "executor"]
    assert "".join(one["text"] for one in told if one["event"] == "token") == told[-1]["text"]
    assert sum(one["event"] == "token" for one in told) == 20
    found = net.final(receipt["inference_id"])
    assert found["status"] in STOOD, found
    assert (found["executor"], found["agent"]) == (receipt["executor"], net.node(0))
    assert found["charged_micro"] == (receipt["prompt_tokens"] + 20) * found["price_micro"]


def test_its_lines_are_those_of_the_command_and_it_shares_the_folder(net: Net) -> None:
    """Python, TypeScript, Python: each request has a nonce of its own, so all three count."""
    told = [net.events("hello", max_tokens="5"), events(net, "--max-tokens", "5", "hello"), net.events(max_tokens="5")]
    receipts = [one[-1]["receipt"] for one in told]
    assert [one.keys() for one in receipts] == [receipts[0].keys()] * 3
    for kind in ("accepted", "token", "done"):
        first, second = (next(event for event in one if event["event"] == kind) for one in told[:2])
        assert first.keys() == second.keys(), kind
    assert all(net.final(one["inference_id"])["status"] in STOOD for one in receipts)


def test_people_are_shown_the_price_the_answer_and_the_receipt(net: Net) -> None:
    done = ask(net, "--max-tokens", "5", "hello")
    assert done.returncode == 0, done.stderr
    assert done.stdout
    assert "micro-credits a token" in done.stderr
    assert "checked          true" in done.stderr


@pytest.mark.parametrize(("arguments", "field"), [
    (["--max-tokens", "100000", "hello"], "max_tokens"), (["--model", "gpt-9", "hello"], "model"),
    (["--max-price", "1", "hello"], "max_price"), ([" "], "prompt"), ([], "arguments"),
])
def test_what_the_user_gave_wrong_is_named(net: Net, arguments: list[str], field: str) -> None:
    done = ask(net, "--json", *arguments)
    assert done.returncode == 2, (done.stdout, done.stderr)
    assert json.loads(done.stderr.splitlines()[-1])["error"]["field"] == field


@pytest.mark.parametrize(("name", "code", "sentence"), [
    ("testnet", "other_genesis", "another genesis under the same name 'testnet'"),
    ("elsewhere", "wrong_network", "this peer serves network 'testnet', not 'elsewhere'"),
])
def test_a_client_of_another_network_is_told_so(
    net: Net, tmp_path: Path, name: str, code: str, sentence: str
) -> None:
    PAYER.save(tmp_path / "account.key")
    other = replace(net.genesis, name=name, time_ms=net.genesis.time_ms + 1)
    (tmp_path / "genesis.cbor").write_bytes(encode(other))
    done = ask(net, "--json", "hello", folder=tmp_path)
    assert done.returncode == 3
    error = json.loads(done.stderr.splitlines()[-1])["error"]
    assert (error["code"], sentence in error["message"]) == (code, True), error


# -- a js-libp2p peer --------------------------------------------------------------------------------------------------


@asynccontextmanager
async def js_peer(net: Net, *, dials: bool = True, network: str = "") -> AsyncIterator[Peer]:
    """On the topic of transactions, greeted by the network that it names."""
    settings = {
        "topic": topic_name(net.genesis.network, "transactions"), "backoff_s": 3,
        "network": network or net.genesis.network, "folder": str(net.directory / "client"),
    }
    dial = {"dial": net.address(0)} if dials else {}
    async with started([*program(PEER, "peer.ts"), json.dumps({**settings, **dial})]) as (their,):
        yield their


def peer_id(net: Net, peer: int) -> str:
    return net.address(peer).rsplit("/p2p/", 1)[1]


async def test_it_is_identified_pings_greets_queries_and_asks(net: Net) -> None:
    async with js_peer(net) as their:
        identified = (await their.tell("identify"))["identified"]
        assert identified["peer"] == peer_id(net, 0)
        spoken = {"/ipfs/ping/1.0.0", "/ipfs/kad/1.0.0", "/meshsub/1.2.0", "/folkmoot/query/1", "/folkmoot/infer/1"}
        assert spoken <= {*identified["protocols"]}
        assert (await their.tell("ping", peer=peer_id(net, 0)))["ms"] >= 0
        state = await their.tell("state")
        assert (state["refused"], {peer_id(net, n) for n in (1, 2, 3)} <= {*state["welcomed"]}) == ("", True)
        status = (await their.tell("query", question={"op": "status"}))["answer"]
        assert (status["network"], status["node"]) == (net.genesis.network, net.node(0))
        refused = await their.tell("query", question={"op": "brew"})
        assert "no operation 'brew'; there are account," in refused["error"]
        receipt = (await their.tell("ask", prompt="hello"))["receipt"]
        assert (receipt["checked"], receipt["problems"]) == (True, [])
        assert net.final(receipt["inference_id"])["status"] in STOOD


async def test_it_hears_the_records_of_its_own_question_by_gossip(net: Net) -> None:
    async with js_peer(net) as their:
        await their.until(lambda state: state["meshed"])
        wanted = (await their.tell("ask", prompt="hello"))["receipt"]["inference_id"]
        await their.until(lambda state: wanted in started_in(state["got"]))
        assert not net.status(0)["banned"]


def started_in(messages: list[str]) -> set[str]:
    """The inferences whose Start is among these gossip messages."""
    found = set()
    for message in messages:
        _, raw = decode(bytes.fromhex(message))
        batch = read(raw)
        if isinstance(batch, SignedBatch):
            starts = [one.body for one in batch.batch.records if one.kind is RecordKind.START]
            found |= {unpack(StartRecord, body).signed_request.inference_id.hex() for body in starts}
    return found


async def test_what_it_publishes_comes_on_chain(net: Net) -> None:
    """It tells nobody but its gossip mesh."""
    signed = sign_op(PAYER, net.genesis.network, 1, Transfer(PAYEE.public, 12_345))
    async with js_peer(net) as their:
        await their.until(lambda state: state["meshed"])
        await their.tell("publish", data=encode([1, pack_operation(signed)]).hex())
        await trio.to_thread.run_sync(until, lambda: net.balance(PAYEE) == 12_345, PATIENCE_S)
        told = call(net.folders[2], {"op": "transaction", "id": signed.op_id.hex()})
        assert told["state"] == "done"


async def test_the_dht_finds_peers_for_it_and_keeps_nothing(net: Net) -> None:
    async with js_peer(net) as their:
        found = (await their.tell("find", peer=peer_id(net, 2)))["found"]
        assert net.address(2) in found
        sent = (await their.tell("put"))["events"]
        assert "PEER_RESPONSE FIND_NODE" in sent, "it is told which peers are nearest to its key"
        assert "QUERY_ERROR The stream has been reset" in sent, "and none of them takes a value"
        assert "PEER_RESPONSE PUT_VALUE" not in sent
        assert (await their.tell("ping", peer=peer_id(net, 0)))["ms"] >= 0
        assert not net.status(0)["banned"], "to ask is no offence"


async def test_we_dial_it_greet_it_and_ping_it(net: Net) -> None:
    config = NetworkConfig(Key.generate(), net.genesis.network, ("/ip4/127.0.0.1/tcp/0",), (), min_connections=0)
    async with js_peer(net, dials=False) as their, open_network(config, topic_handlers={}, stream_handlers={}) as ours:
        await ours.connect(their.address)
        assert ours.connected() == (their.id,)
        state = await their.until(lambda state: ours.peer_id in state["greeted"])
        assert state["connected"] == [ours.peer_id]
        host = ours._discovery.host
        with trio.fail_after(PATIENCE_S):
            times = await PingService(host).ping(ID.from_string(their.id), 3)
        assert len(times) == 3
        assert (await their.tell("ping", peer=ours.peer_id))["ms"] >= 0


async def test_a_peer_that_knows_only_the_js_peer_finds_the_network_through_it(net: Net) -> None:
    folder = net.folders[3]
    async with js_peer(net) as their:
        await trio.to_thread.run_sync(partial(stop, net.directory, [folder.name], sign=signal.SIGKILL))
        (folder / "peers").unlink(missing_ok=True)
        start_peer(net.directory, folder, their.address, net.urls[folder.name])
        ready = partial(wait_until, net.directory, folder, lambda s: s["state"] == "ready" and s["connections"] >= 4)
        status = await trio.to_thread.run_sync(ready, "ready, with all peers and the js peer")
        assert status["peer_id"] in (await their.tell("state"))["greeted"]


@pytest.mark.parametrize(("other", "sentence"), [
    ("testnet@" + "0" * 32, "another genesis under the same name 'testnet'"),
    ("elsewhere@" + "0" * 32, "this peer serves network 'testnet', not 'elsewhere'"),
])
async def test_another_network_is_refused_by_both_sides_with_a_sentence(net: Net, other: str, sentence: str) -> None:
    async with js_peer(net, network=other) as their:
        state = await their.until(lambda state: not state["connected"])
        assert sentence in state["refused"]
        assert state["welcomed"] == []
    config = NetworkConfig(Key.generate(), NetworkId(other), (), (), min_connections=0)
    async with js_peer(net, dials=False) as their, open_network(config, topic_handlers={}, stream_handlers={}) as ours:
        with pytest.raises(RemoteProtocolError, match=sentence):
            await ours.connect(their.address)
        assert (await their.tell("state"))["greeted"] == []
        assert ours.connected() == ()

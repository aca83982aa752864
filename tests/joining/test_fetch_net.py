"""A newcomer among peers that lie, over real connections: a forged file, endless parts, silence; one that is honest."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack
from pathlib import Path

import msgspec
import pytest
import trio

from p2p.base.codec import decode, encode
from p2p.base.errors import FolkmootError, RemoteProtocolError
from p2p.base.genesis import Genesis, GenesisAccount, load_genesis
from p2p.base.keys import Key
from p2p.gossip.connections.streams import Stream
from p2p.gossip.host import NetworkConfig, open_network
from p2p.joining import genesis_fetch
from p2p.joining.genesis_fetch import fetch_genesis
from p2p.joining.identity import Identity
from p2p.wire.answers.genesis import GENESIS_CHUNK, MAX_GENESIS, genesis_answer
from p2p.wire.frames import Answer, Query, pack_frame, receive_frame
from testnet.generate import Plan, generate

pytestmark = pytest.mark.network
Serve = Callable[[Stream], Awaitable[None]]


@pytest.fixture(scope="module")
def genesis(tmp_path_factory: pytest.TempPathFactory) -> Genesis:
    folder: Path = generate(Plan(tmp_path_factory.mktemp("net"), 1))[0]
    return load_genesis(folder / "genesis.cbor")


def gives(raw: bytes) -> Serve:
    """A peer that gives these bytes as the genesis file."""

    async def serve(stream: Stream) -> None:
        offset = decode((await receive_frame(stream, Query)).body)["offset"]  # type: ignore[union-attr]
        await stream.send(pack_frame(Answer(encode(msgspec.to_builtins(genesis_answer(raw, offset))))))

    return serve


async def byte_by_byte(stream: Stream) -> None:
    offset = decode((await receive_frame(stream, Query)).body)["offset"]  # type: ignore[union-attr]
    await stream.send(pack_frame(Answer(encode({"size": MAX_GENESIS, "offset": offset, "data": "00"}))))


async def silent(stream: Stream) -> None:
    await receive_frame(stream, Query)
    await trio.sleep_forever()


async def opened(stack: AsyncExitStack, genesis: Genesis, serve: Serve) -> str:
    """A peer of this network that answers queries so; its address."""
    config = NetworkConfig(Key.generate(), genesis.network, ("/ip4/127.0.0.1/tcp/0",), (), min_connections=0)
    network = await stack.enter_async_context(open_network(config, topic_handlers={}, stream_handlers={"query": serve}))
    return network.addresses()[0]


def forged(genesis: Genesis) -> bytes:
    return encode(msgspec.structs.replace(genesis, accounts=(GenesisAccount(b"\x07" * 32, 10**12),)))


async def test_liars_are_left_and_the_honest_one_is_believed(
    genesis: Genesis, monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(genesis_fetch, "PEER_S", 3.0)  # for the silent one
    said: list[str] = []
    async with AsyncExitStack() as stack:
        liars = [await opened(stack, genesis, one) for one in (gives(forged(genesis)), byte_by_byte, silent)]
        identity = Identity(genesis.network)
        honest = await opened(stack, genesis, gives(encode(genesis)))
        found, peer = await fetch_genesis([*liars, honest], identity, said.append)
        assert (found, peer) == (genesis, honest.rpartition("/")[2])
        # by a hash alone, without a greeting, they are asked in the order in which they are named
        known = Identity(digits=genesis.hash.hex())
        said.clear()
        found, peer = await fetch_genesis([liars[0], liars[1], honest], known, said.append)
        assert (found, peer) == (genesis, honest.rpartition("/")[2])
        assert len(said) == 2
        assert "is wanted" in said[0]
        for liar, words in zip(liars, ("is wanted", "do not fit together", "within 3 s"), strict=True):
            with pytest.raises(FolkmootError, match=words):
                await fetch_genesis([liar], known)


async def test_a_peer_of_another_network_is_refused_in_the_greeting(genesis: Genesis) -> None:
    other = msgspec.structs.replace(genesis, name="elsewhere")
    async with AsyncExitStack() as stack:
        address = await opened(stack, other, gives(encode(genesis)))
        with pytest.raises(RemoteProtocolError, match="serves network 'elsewhere'"):
            await fetch_genesis([address], Identity(genesis.network))


async def test_a_file_of_several_parts_arrives_whole(genesis: Genesis) -> None:
    accounts = tuple(GenesisAccount(at.to_bytes(32, "big"), 1) for at in range(1, GENESIS_CHUNK // 24))
    large = msgspec.structs.replace(genesis, accounts=accounts)
    assert len(encode(large)) > GENESIS_CHUNK
    async with AsyncExitStack() as stack:
        address = await opened(stack, large, gives(encode(large)))
        assert (await fetch_genesis([address], Identity(large.network)))[0] == large

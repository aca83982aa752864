"""The library over real connections: with trio, without an event loop, and under asyncio."""

from __future__ import annotations

import asyncio
import inspect
import random
import sys
from collections.abc import AsyncIterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
import trio

import p2p.client.aio
import p2p.client.sync
from p2p.base.codec import encode
from p2p.base.errors import ConfigError, InvalidRequest, Unavailable
from p2p.client import Client, Done, Event, PeerFailed, Resumed, Session, TermsShown, Token
from p2p.client.aio import Client as AsyncioClient
from p2p.client.client import ChatOptions, TextOptions
from p2p.client.sync import Client as SyncClient
from tests.client.liar import Liar
from tests.client.scripted import Script, ScriptedPeer
from tests.client.scripted_net import listening
from tests.client.test_client import KEYS, genesis, question, wanted
from tests.held import held
from tests.sim.traffic import CLIENT, MODEL


class Place:
    """Scripted peers, their addresses, and a folder for a client."""

    def __init__(self, peers: list[ScriptedPeer], addresses: tuple[str, ...], folder: Path) -> None:
        self.peers, self.addresses, self.folder = peers, addresses, folder
        folder.mkdir()
        CLIENT.save(folder / "account.key")
        (folder / "genesis.cbor").write_bytes(encode(peers[0].liar.chain.genesis))


@pytest.fixture
async def place(tmp_path: Path) -> AsyncIterator[Place]:
    liar = Liar(tmp_path, genesis())
    peers = [ScriptedPeer(liar, key, rng=random.Random(at)) for at, key in enumerate(KEYS[:2])]
    async with listening(peers) as addresses:
        yield Place(peers, addresses, tmp_path / "client")
    liar.chain.close()


async def test_a_client_asks_whom_it_is_given_and_goes_on_where_one_dies(place: Place) -> None:
    for peer in place.peers:
        peer.script = [Script(dies_after=2, waits_s=0.2)]  # what is not read before a reset is lost
    asked = question()
    async with Client.open(place.folder, peers=place.addresses) as client:
        answer = await client.complete(asked)
    assert (list(answer.tokens), answer.problems) == (wanted(asked)[0], ())
    assert answer.resumed == len(answer.receipt.continues) == 2


@pytest.mark.network
async def test_an_agent_whose_process_is_killed_ends_no_answer(place: Place, tmp_path: Path) -> None:
    """It streams a token every 0.1 s, and would need seconds; the other one has the rest at once."""
    (tmp_path / "dying").mkdir()
    (tmp_path / "dying" / "genesis.cbor").write_bytes((place.folder / "genesis.cbor").read_bytes())
    command = [sys.executable, "-m", "tests.client.scripted_process", str(tmp_path / "dying"), KEYS[2].seed.hex()]
    asked = question("killed", 3)
    seen: list[Event] = []
    with held(command) as dying:
        assert dying.stdout is not None
        first = (await trio.to_thread.run_sync(dying.stdout.readline)).strip()
        other = place.peers[0].key.peer_id
        async with Client.open(place.folder, peers=[first]) as client:
            await client.links.network.connect(place.addresses[0])
            client.links.choice.answered(other, 9.0, trio.current_time())
            async with client.answer(asked) as events:
                async for event in events:
                    seen.append(event)
                    if isinstance(event, Token):
                        dying.kill()
    assert [event.token for event in seen if isinstance(event, Token)] == wanted(asked)[0]
    assert [event.peer for event in seen if isinstance(event, PeerFailed)] == [KEYS[2].peer_id]
    assert [event.peer for event in seen if isinstance(event, Resumed)] == [other]
    assert isinstance(seen[-1], Done)
    assert seen[-1].receipt.problems == ()


async def test_a_client_without_a_peer_or_a_key_says_what_is_missing(place: Place, tmp_path: Path) -> None:
    for settings, field in (
        ({"directory": tmp_path / "nowhere", "peers": place.addresses}, ""), ({"directory": place.folder}, "peers"),
        ({"directory": place.folder, "peers": ["/ip4/127.0.0.1/tcp/1"]}, "peers"),
    ):
        opened: dict[str, Any] = settings
        with pytest.raises(ConfigError) as caught:
            async with Client.open(**opened):
                raise AssertionError("it opened")
        assert field in (caught.value.field, "")
    nobody = f"/ip4/127.0.0.1/tcp/1/p2p/{KEYS[2].peer_id}"
    with pytest.raises(Unavailable, match="none of 1 peers"):
        async with Client.open(place.folder, peers=[nobody]):
            raise AssertionError("it opened")


# -- without an event loop ---------------------------------------------------------------------------------------------


async def test_the_same_without_an_event_loop(place: Place) -> None:
    asked = question(rows=True)

    def program() -> None:
        with SyncClient(place.folder, peers=place.addresses) as client:
            assert [card.name for card in client.models()] == [MODEL]
            assert client.complete(asked).tokens == tuple(wanted(asked)[0])
            with client.answer(asked) as events:
                seen = list(events)
                assert list(events) == [], "it is over"
            assert [event.token for event in seen if isinstance(event, Token)] == wanted(asked)[0]
            assert isinstance(seen[-1], Done)
            assert client.chat(MODEL, "hi", max_tokens=3, session=Session()).checked
            assert client.account().account == CLIENT.public.hex()
            with pytest.raises(InvalidRequest):
                client.inference(bytes(32))
        with pytest.raises(Unavailable, match="closed"):
            client.models()

    await trio.to_thread.run_sync(program)


async def test_leaving_a_loop_ends_the_answer_and_at_the_terms_nothing_is_signed(place: Place) -> None:
    slow = Script(waits_s=0.02)
    for peer in place.peers:
        peer.script = [slow]

    def program() -> None:
        with SyncClient(place.folder, peers=place.addresses) as client:
            with client.answer(question()) as events:
                assert isinstance(next(events), TermsShown)
                client.models()  # time enough to go on, were that allowed
            assert not (place.folder / "nonces").exists()
            assert [peer.asked for peer in place.peers] == [[], []]
            with client.answer(question()) as events:
                for event in events:
                    if isinstance(event, Token):
                        break

    await trio.to_thread.run_sync(program)
    with trio.fail_after(30):
        while sum(peer.running for peer in place.peers):
            await trio.sleep(0.05)
    assert sum(peer.gone for peer in place.peers) == 1


# -- asyncio -----------------------------------------------------------------------------------------------------------


async def test_the_same_under_asyncio(place: Place) -> None:
    asked = question()

    async def program() -> None:
        async with AsyncioClient(place.folder, peers=place.addresses) as client:
            assert [card.name for card in await client.models()] == [MODEL]
            answers = await asyncio.gather(*(client.complete(question(str(at), at)) for at in range(4)))
            assert [answer.tokens for answer in answers] == [
                tuple(wanted(question(str(at), at))[0]) for at in range(4)
            ]
            async with client.answer(asked) as events:
                seen = [event async for event in events]
            assert [event.token for event in seen if isinstance(event, Token)] == wanted(asked)[0]
            with pytest.raises(InvalidRequest):
                await client.inference(bytes(32))
        with pytest.raises(Unavailable, match="closed"):
            await client.models()

    await trio.to_thread.run_sync(asyncio.run, program())


async def test_a_task_that_is_cancelled_ends_what_it_asked_for(place: Place) -> None:
    for peer in place.peers:
        peer.script = [Script(hangs=True)] * 3

    async def read(client: AsyncioClient) -> None:
        async with client.answer(question()) as events:
            async for _ in events:
                pass

    async def program() -> None:
        async with AsyncioClient(place.folder, peers=place.addresses) as client:
            task = asyncio.create_task(client.complete(question()))
            while not sum(peer.running for peer in place.peers):
                await asyncio.sleep(0.01)
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
            with pytest.raises(TimeoutError):
                await asyncio.wait_for(read(client), 1.0)
            with pytest.raises(Unavailable) as caught:
                await client.complete(question(), timeout_s=0.2)
            assert caught.value.code == "timeout"

    await trio.to_thread.run_sync(asyncio.run, program())


async def test_a_client_that_closes_ends_what_waits_for_it(place: Place) -> None:
    for peer in place.peers:
        peer.script = [Script(hangs=True)] * 4

    async def program() -> None:
        async with AsyncioClient(place.folder, peers=place.addresses) as client:
            task = asyncio.create_task(client.complete(question()))
            while not sum(peer.running for peer in place.peers):
                await asyncio.sleep(0.01)
        with pytest.raises(Unavailable, match="closed"):
            await task

    await trio.to_thread.run_sync(asyncio.run, program())


async def test_errors_of_opening_reach_who_opens(tmp_path: Path) -> None:
    def program() -> None:
        with pytest.raises(ConfigError), SyncClient(tmp_path / "nowhere", peers=[]):
            raise AssertionError("it opened")

    async def other() -> None:
        with pytest.raises(ConfigError):
            async with AsyncioClient(tmp_path / "nowhere", peers=[]):
                raise AssertionError("it opened")

    await trio.to_thread.run_sync(program)
    await trio.to_thread.run_sync(asyncio.run, other())


def test_all_three_have_the_same_calls() -> None:
    for room in (p2p.client.sync.Client, p2p.client.aio.Client):
        for call in ("answer", "complete", "chat", "text", "models", "account", "inference", "model_text",
                     "counted"):
            assert callable(getattr(room, call))


def test_a_client_that_is_not_open_says_so() -> None:
    client = SyncClient("nowhere")
    with pytest.raises(ConfigError, match="not open"):
        client.models()
    with pytest.raises(ConfigError, match="not open"), client.answer(question()):
        pass
    for _ in range(2):
        with pytest.raises(ConfigError) as caught, client:
            raise AssertionError("it opened")
    assert "once" in caught.value.message


def fail(event: Event) -> None:
    raise ValueError("mine")


async def test_two_threads_ask_at_once_and_an_error_of_their_own_stays_theirs(place: Place) -> None:
    def program() -> None:
        with SyncClient(place.folder, peers=place.addresses) as client, ThreadPoolExecutor(4) as threads:
            asked = [question(str(at), at) for at in range(4)]
            found = list(threads.map(client.complete, asked))
            assert [list(answer.tokens) for answer in found] == [wanted(one)[0] for one in asked]
            with pytest.raises(ValueError, match="mine"), client.answer(question()) as events:
                fail(next(events))
            with pytest.raises(Unavailable, match="left"):
                next(events)

    await trio.to_thread.run_sync(program)
    with pytest.raises(ValueError, match="mine"):
        async with Client.open(place.folder, peers=place.addresses):
            raise ValueError("mine")


@pytest.mark.parametrize("kind", [SyncClient, AsyncioClient])
@pytest.mark.parametrize(("call", "takes"), [("chat", ChatOptions), ("text", TextOptions)])
def test_all_three_take_the_same_options(kind: type[Any], call: str, takes: type[Any]) -> None:
    """A type checker sees a wrong one in each."""
    options = list(inspect.signature(getattr(kind, call)).parameters.values())[-1]
    assert options.annotation == f"Unpack[{takes.__name__}]"
    named = inspect.signature(getattr(Client, call)).parameters.values()
    assert {one.name for one in named if one.kind is one.KEYWORD_ONLY} == set(takes.__annotations__)

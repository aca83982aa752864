"""Scenarios of real peers over real libp2p; only the ML node is the named fake."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator
from typing import Any

import pytest
import trio

from p2p.base.body import one_message
from p2p.base.codec import encode
from p2p.base.errors import Overloaded
from p2p.base.genesis import GenesisAccount
from p2p.base.keys import Key
from p2p.base.types import VERSION
from p2p.client.events import Accepted, Done, Event, Trying
from p2p.peer.control import call
from p2p.wire import frames
from p2p.wire.frames import Failure, Forward
from tests.net_lab import Net, accepted, only, until
from tests.peer.scenarios.clients import ask_raw, asked, connected, leave_when, run, say, signed_for, tokens

pytestmark = pytest.mark.network

DIES, REFUSED = (Key(bytes([at]) * 32) for at in (211, 212))  # accounts that one test alone uses
# an executor that gives four tokens a second; an agent that gives an account 400 tokens in 400 heights
SLOW, NARROW = 1, 3
WINDOW = 400  # heights, of that quota: more than pass while an account waits for what returns


@pytest.fixture(scope="module")
def net(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Net]:
    purses = tuple(GenesisAccount(key.public, 10**9) for key in (DIES, REFUSED))
    narrow = {"account_tokens": 400, "limit_window": WINDOW}
    made = Net(
        tmp_path_factory.mktemp("net"), 4, {SLOW: ["--delay-s", "0.25"]}, window=20, own={NARROW: narrow},
        accounts=purses
    )
    yield made
    made.close()


# -- a client that leaves --------------------------------------------------------------------------------------------


def left(net: Net, agent: int, wanted: int) -> list[Event]:
    """Events up to where the client broke off; asked again when the beacon moved and the draw went to another."""

    def enough(events: list[Event]) -> bool:
        return any(isinstance(event, Accepted) for event in events) and tokens(events) >= wanted

    async def work() -> list[Event]:
        for _ in range(10):
            async with connected(net, agent) as network:
                events = await leave_when(network, asked(net, agent, SLOW, max_tokens=60), enough)
            if only(Accepted, events).candidates[0].hex() == net.node(SLOW):
                return events
        raise AssertionError("ten draws went to others")

    found: list[Event] = run(work)
    return found


def test_a_client_that_leaves_pays_for_what_was_streamed(net: Net) -> None:
    """It resets its stream: executor and agent say the same, the validators find nothing wrong, the rest of the escrow
    is back."""
    events = left(net, 0, 4)
    found = net.final(only(Accepted, events).inference_id.hex())
    assert found["status"] in ("VALIDATED", "SETTLED"), found
    assert (found["executor"], found["finish_reason"], found["output_matches"]) == (net.node(SLOW), "stopped", True)
    assert 4 <= found["output_tokens"] == found["streamed_tokens"] < 20, "not the 60 that were asked for"
    assert found["charged_micro"] == found["paid_micro"] == (
        found["prompt_tokens"] + found["output_tokens"]
    ) * found["price_micro"]
    assert found["charged_micro"] < found["escrow_micro"]
    until(lambda: net.status(SLOW)["jobs"] == 0)


def test_a_client_that_leaves_before_the_first_token_pays_for_little_and_nobody_is_blamed(net: Net) -> None:
    found = net.final(only(Accepted, left(net, 0, 0)).inference_id.hex())
    assert found["status"] in ("VALIDATED", "SETTLED"), found
    assert found["finish_reason"] == "stopped"
    assert 1 <= found["output_tokens"] == found["streamed_tokens"] < 10


def test_a_client_that_dies_pays_for_what_was_streamed(net: Net) -> None:
    for _ in range(20):
        before = net.balance(DIES)
        found = killed(net)
        # four tokens a second: what comes after the Stop is what was on its way
        if found["executor"] == net.node(SLOW):
            break
    else:
        raise AssertionError("twenty draws went to others")
    assert found["status"] in ("VALIDATED", "SETTLED"), found
    assert found["output_matches"]
    assert 1 <= found["output_tokens"] < 60, "not the 120 that were asked for"
    assert net.balance(DIES) == before - found["charged_micro"], "nothing is held any more"


def killed(net: Net) -> dict[str, Any]:
    """A client process that is killed at the first token; what the chain says in the end."""
    command = net.ask_command("a long answer please", 0, {"max_tokens": "120"}, net.purse(DIES))
    child = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    assert child.stdout is not None
    taken = accepted(child.stdout)
    while json.loads(child.stdout.readline())["event"] != "token":
        pass
    child.kill()
    child.wait()
    child.stdout.close()
    return net.final(taken["inference_id"])


# -- replay, and work without an agent -------------------------------------------------------------------------------


def test_a_replayed_request_is_refused_by_every_agent(net: Net) -> None:
    async def work() -> list[str]:
        async with connected(net, 0) as network:
            await network.connect(net.address(2))
            signed = await signed_for(network, asked(net, 0, max_tokens=4))
            first = await ask_raw(network, net.address(0), signed, "hello")
            assert isinstance(first[-1], frames.Done)
            at_once = await ask_raw(network, net.address(0), signed, "hello")  # before the chain has it
            until(lambda: call(net.folders[2], {"op": "inference", "id": signed.inference_id.hex()}))
            elsewhere = await ask_raw(network, net.address(2), signed, "hello")
            return [frame.field for frame in (at_once[-1], elsewhere[-1]) if isinstance(frame, Failure)]

    assert run(work) == ["client_nonce", "agent"], "it names the one it was signed for"


def test_no_executor_works_for_a_client_that_poses_as_an_agent(net: Net) -> None:
    """Under its own key it cannot put a Start on chain; under an agent's key the stream is not its own. No token
    comes."""

    async def work() -> list[Failure]:
        answers: list[Failure] = []
        async with connected(net, 2) as network:
            signed = await signed_for(network, asked(net, 2, max_tokens=4))
        own = Key.generate()
        for agent in (own.public, bytes.fromhex(net.node(0))):
            async with connected(net, 2, own) as network:
                forward = Forward(VERSION, signed, encode(one_message("hello")), agent, b"")
                (answer,) = await say(network, net.address(2), forward)
                assert isinstance(answer, Failure)
                answers.append(answer)
        return answers

    mine, anothers = run(work)
    assert (mine.code, mine.field) == ("remote_protocol", "agent")
    assert "only participants" in mine.message
    assert (anothers.code, anothers.field) == ("remote_protocol", "agent")
    assert "another peer" in anothers.message


# -- max_tokens ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("given", [0, 2048, 4097, 2**32 - 1])
def test_max_tokens_that_cannot_be_is_refused_before_any_work(net: Net, given: int) -> None:
    before = net.balance(REFUSED)
    done = net.ask(folder=net.purse(REFUSED), max_tokens=str(given))
    assert done.returncode == 2, done.stderr
    assert json.loads(done.stderr.splitlines()[-1])["error"]["field"] == "max_tokens"
    assert net.balance(REFUSED) == before


def test_max_tokens_of_one_and_absent_hold_and_charge_what_they_say(net: Net) -> None:
    for extra, held in (({"max_tokens": "1"}, 1), ({}, 128)):
        receipt = net.events(**extra)[-1]["receipt"]
        found = net.final(receipt["inference_id"])
        assert found["escrow_micro"] == (5 + 64 + held) * found["price_micro"]
        assert 1 <= found["output_tokens"] <= held
        assert found["charged_micro"] == (found["prompt_tokens"] + found["output_tokens"]) * found["price_micro"]


def test_max_tokens_to_the_last_place_of_the_context_is_served_and_one_more_is_refused_without_blame(net: Net) -> None:
    """The prompt has 1,901 tokens of 2,048. Only an executor can count them: it says so on chain, and is not blamed for
    the deadline."""
    prompt = "x" * 1900
    assert net.events(prompt, max_tokens="147")[-1]["receipt"]["checked"]
    done = net.ask(prompt, max_tokens="148")
    assert done.returncode == 2, done.stderr
    assert json.loads(done.stderr.splitlines()[-1])["error"]["field"] == "max_tokens"
    inference_id = accepted(done.stdout.splitlines())["inference_id"]

    def said() -> bool:
        found = call(net.folders[0], {"op": "inference", "id": inference_id})
        return bool(found["status"] == "STARTED" and set(found["busy"]) == set(found["candidates"]))

    until(said)


# -- quotas ----------------------------------------------------------------------------------------------------------


async def two_at_once(net: Net) -> tuple[Overloaded, Done]:
    """While one answer runs a second one is refused; when the client has left the first, the second is served. The
    slow executor's answer runs for a minute, and all of it and the second are within the quota."""
    async with connected(net, NARROW) as network:
        long, short = asked(net, NARROW, SLOW, max_tokens=250), asked(net, NARROW, max_tokens=20)
        first = long.over(network)
        async for event in first:
            if isinstance(event, Trying):
                break
        with pytest.raises(Overloaded) as caught:
            await leave_when(network, short, lambda events: False)
        await first.aclose()
        with trio.fail_after(60):
            while True:
                try:
                    return caught.value, only(Done, await leave_when(network, short, lambda events: False))
                except Overloaded:
                    await trio.sleep(0.2)


def test_the_quota_is_answered_with_an_error_and_what_is_not_used_returns(net: Net) -> None:
    height = net.height(NARROW)
    refused, served = run(lambda: two_at_once(net))
    assert (refused.code, refused.field) == ("overloaded", "max_tokens")
    assert 0 < refused.retry_after <= WINDOW
    assert served.receipt.checked
    assert net.height(NARROW) < height + WINDOW, "by what returned, not by the window's end"

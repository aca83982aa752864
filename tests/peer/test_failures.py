"""What breaks while a request runs: each ends as a typed answer or as the same answer from another executor; money is
whole."""

from __future__ import annotations

import signal
from collections.abc import Iterator

import pytest

from p2p.client.draw_check import Known
from p2p.client.events import Busy, Declined, Done, Event, Token
from testnet.processes import stop
from tests.net_lab import Net, only
from tests.peer.scenarios.clients import tokens

pytestmark = pytest.mark.network

FAST = {"first_token_timeout_ms": 6000, "token_timeout_ms": 6000}


@pytest.fixture(scope="module")
def net(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Net]:
    """peer2's ML node answers 500, peer3's never answers, peer4's is slow; peer5 and the agent, peer1, are well."""
    flags = {1: ["--fail", "500"], 2: ["--fail", "silent"], 3: ["--delay-s", "0.25"]}
    made = Net(tmp_path_factory.mktemp("net"), 5, flags, FAST, window=15)
    yield made
    made.close()


@pytest.mark.parametrize(("peer", "words"), [(1, "answers 500"), (2, "nothing came from the peer")])
def test_the_next_executor_takes_over_from_one_that_fails(net: Net, peer: int, words: str) -> None:
    events = net.ask_executor(peer)
    passed = next(event for event in events if isinstance(event, Busy | Declined))
    assert passed.node.hex() == net.node(peer)
    assert words in passed.reason, passed
    receipt = only(Done, events).receipt
    assert receipt.checked
    assert receipt.executor != passed.node


def test_an_executor_killed_in_mid_stream_is_continued_by_the_next(net: Net) -> None:
    seen: list[Event] = []

    def kill_after_four(event: Event) -> None:
        seen.append(event)
        if isinstance(event, Token) and tokens(seen) == 4:
            stop(net.directory, [net.folders[3].name], sign=signal.SIGKILL)

    events = net.ask_executor(3, 24, kill_after_four)
    try:
        receipt = only(Done, events).receipt
        assert receipt.checked, receipt.problems
        assert receipt.draw in (Known.PROVED, Known.SAID)
        assert net.node(3) in [event.node.hex() for event in events if isinstance(event, Declined)]
        assert tokens(events) == receipt.output_tokens == 24
        assert receipt.executor.hex() != net.node(3)
    finally:
        net.restart(3)
    # by the votes of those whose ML node answers, at the latest at the last call
    final = net.final(receipt.inference_id.hex())
    assert final["status"] == "VALIDATED", final
    assert 4 <= final["taken_over"] < 24, "what the dead one had streamed when the agent lost it"
    made = 24 - final["taken_over"]  # what was taken over is paid to nobody (decision 035)
    assert final["charged_micro"] == final["paid_micro"] == (final["prompt_tokens"] + made) * final["price_micro"]
